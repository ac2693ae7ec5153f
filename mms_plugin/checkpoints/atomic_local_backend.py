"""The file backend that never leaves half a file under its name."""

from __future__ import annotations

from pathlib import Path
from typing import Union

from mmengine.fileio import LocalBackend, register_backend

from ..utils.files import write_atomically

BACKEND_NAME = "atomic_local"


@register_backend(BACKEND_NAME)
class AtomicLocalBackend(LocalBackend):
    """MMEngine's local backend, with writes that are all or nothing.

    Registered as ``'atomic_local'``: ``backend_args=dict(backend='atomic_local')``
    wherever MMEngine takes ``backend_args``. See :func:`write_atomically`.
    """

    def put(self, obj: bytes, filepath: Union[str, Path]) -> None:
        """Write bytes; a ``NotWrittenError`` leaves the path as it was."""
        write_atomically(obj, filepath)

    def put_text(
        self, obj: str, filepath: Union[str, Path], encoding: str = "utf-8"
    ) -> None:
        """Write text; a ``NotWrittenError`` leaves the path as it was."""
        write_atomically(obj.encode(encoding), filepath)
