"""A file backend that never leaves a partly written file."""

from __future__ import annotations

from pathlib import Path
from typing import Union

from mmengine.fileio import LocalBackend, register_backend

from ..utils.files import write_atomically

BACKEND_NAME = "atomic_local"


@register_backend(BACKEND_NAME)
class AtomicLocalBackend(LocalBackend):
    """MMEngine's local backend, whose files are whole or as they were before.

    Use it wherever MMEngine takes ``backend_args``, with
    ``backend_args=dict(backend='atomic_local')``. See :func:`write_atomically`.
    """

    def put(self, obj: bytes, filepath: Union[str, Path]) -> None:
        """Write bytes; if it raises ``NotWrittenError``, the file is as before."""
        write_atomically(obj, filepath)

    def put_text(
        self, obj: str, filepath: Union[str, Path], encoding: str = "utf-8"
    ) -> None:
        """Write text; if it raises ``NotWrittenError``, the file is as before."""
        write_atomically(obj.encode(encoding), filepath)
