"""Checkpoints: finding, reading safely, writing atomically, and what a resume needs."""

from .atomic_local_backend import (
    BACKEND_NAME,
    AtomicLocalBackend,
    NotWrittenError,
    remove_leftovers,
    write_atomically,
)

__all__ = [
    "AtomicLocalBackend",
    "BACKEND_NAME",
    "NotWrittenError",
    "remove_leftovers",
    "write_atomically",
]
