"""Parts of ``large_batch.py``: which arms, how they train, and the page about them."""
