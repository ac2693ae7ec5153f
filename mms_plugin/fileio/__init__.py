"""Files that are whole or not there."""

from .atomic_local_backend import (
    BACKEND_NAME,
    AtomicLocalBackend,
    NotWrittenError,
    remove_leftovers,
    write_atomically,
)

__all__ = [
    "BACKEND_NAME",
    "AtomicLocalBackend",
    "NotWrittenError",
    "remove_leftovers",
    "write_atomically",
]
