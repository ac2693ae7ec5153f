"""Write files so that they are whole, or as they were before."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from typing import List, Union

_PART = ".part"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class NotWrittenError(OSError):
    """A file could not be written, and is as it was before."""

    def __str__(self) -> str:
        return str(self.strerror)


def write_atomically(content: bytes, path: Union[str, os.PathLike[str]]) -> None:
    """Write a file that is whole, or as it was before, whenever the process dies.

    The content goes to a hidden file beside, ``.<name>.<process id>.part``, reaches
    the disk, and then takes the name in one step. Folders are made. What a process
    that was killed has left beside is found by :func:`remove_leftovers`.

    Args:
        content: What the file shall hold.
        path: Where. A link keeps being one; what it points to is replaced.

    Raises:
        NotWrittenError: An ``OSError``, as of a full disk. Its text names the path, and
            the bytes that were needed and free. The path is as it was before; nothing
            is left beside.
    """
    target = os.path.realpath(path)
    folder, name = os.path.split(target)
    part = os.path.join(folder, f".{name}.{os.getpid()}{_PART}")
    try:
        os.makedirs(folder, exist_ok=True)
        with open(part, "wb") as stream:
            stream.write(content)
            stream.flush()
            # Renamed before its content is on the disk, a file can be found empty
            # after a power cut.
            os.fsync(stream.fileno())
        os.replace(part, target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.remove(part)
        if isinstance(error, OSError):
            text = _explain(error, str(path), folder, len(content))
            raise NotWrittenError(error.errno, text) from error
        raise
    _sync_folder(folder)


def remove_leftovers(folder: str) -> List[str]:
    """Remove what killed processes left beside files that they were writing.

    Returns:
        The names of the files that were removed.
    """
    removed = []
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
        # .<name>.<process id>.part
        owner = name[: -len(_PART)].rpartition(".")[2]
        if name.startswith(".") and name.endswith(_PART) and owner.isdigit():
            with contextlib.suppress(OSError):
                os.remove(os.path.join(folder, name))
                removed.append(name)
    return removed


def _explain(error: OSError, path: str, folder: str, needed: int) -> str:
    text = f"{path} cannot be written: {error.strerror}"
    if error.errno not in _NO_ROOM:
        return text
    text += f"; it needs {needed:,} bytes"
    with contextlib.suppress(OSError):
        text += f", and {shutil.disk_usage(folder).free:,} are free in {folder}"
    return text


def _sync_folder(folder: str) -> None:
    # The new name itself; some file systems know no such thing.
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
