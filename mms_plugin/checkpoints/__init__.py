"""Find, check, write and resume from checkpoints (map: docs/resume.md)."""

from .atomic_local_backend import BACKEND_NAME, AtomicLocalBackend

__all__ = ["BACKEND_NAME", "AtomicLocalBackend"]
