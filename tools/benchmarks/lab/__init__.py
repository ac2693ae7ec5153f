"""Laboratory of the training benchmarks: data, models, and resumable arms.

The scripts beside this folder import it: ``large_batch.py`` and ``multi_scale.py``.
"""
