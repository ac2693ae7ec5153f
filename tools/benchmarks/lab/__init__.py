"""Laboratory of the training benchmarks: data, models, and resumable arms.

The scripts beside this folder import it: ``large_batch.py`` and ``multi_scale.py``.
"""

import sys
from pathlib import Path

# The checkout that this folder lies in, installed or not: for ``tools.demo``.
sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
