"""Write and move files so that no process sees a partly written one."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from typing import List, Union

_PART = ".part"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class NotWrittenError(OSError):
    """A file could not be written; it is as it was before."""

    def __str__(self) -> str:
        """Return the message without the number of the error."""
        return str(self.strerror)


def write_atomically(content: bytes, path: Union[str, os.PathLike[str]]) -> None:
    """Write a file; if the process dies meanwhile, the file is as it was before.

    The content is written to a hidden file in the same folder,
    ``.<name>.<process id>.part``, flushed to the disk, and renamed. Missing folders are
    created. :func:`remove_leftovers` removes the hidden files of killed processes.

    Args:
        content: Content of the file.
        path: Path of the file. If it is a link, its target is replaced.

    Raises:
        NotWrittenError: The file cannot be written, on a full disk for example. The
            text names the path, and the bytes that are needed and free. The file is as
            it was before, and the hidden file is removed.
    """
    target = os.path.realpath(path)
    folder, name = os.path.split(target)
    part = os.path.join(folder, f".{name}.{os.getpid()}{_PART}")
    try:
        os.makedirs(folder, exist_ok=True)
        with open(part, "wb") as stream:
            stream.write(content)
            stream.flush()
            # Else the renamed file can be empty after a power cut.
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


def move_atomically(
    source: Union[str, os.PathLike[str]], target: Union[str, os.PathLike[str]]
) -> None:
    """Flush a file to the disk and rename it, within a file system.

    Args:
        source: Path of the file.
        target: Its new path. A file that is there is replaced.
    """
    with open(source, "rb") as stream:
        os.fsync(stream.fileno())
    os.replace(source, target)


def remove_leftovers(folder: str) -> List[str]:
    """Remove the hidden files that killed processes have left.

    Args:
        folder: Where :func:`write_atomically` wrote to.

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
    """Flush the names of a folder to the disk, if its file system supports it."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
