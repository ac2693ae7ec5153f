"""Checkpoints: find them, read them safely, write them whole, and resume from them."""

from .atomic_local_backend import BACKEND_NAME, AtomicLocalBackend

__all__ = ["BACKEND_NAME", "AtomicLocalBackend"]
