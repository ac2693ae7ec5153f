"""Find the checkpoint to resume from, and say why a file is not valid."""

from __future__ import annotations

import os
import os.path as osp
import pickle
import re
import zipfile
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import torch

__all__ = [
    "LAST_CHECKPOINT",
    "LatestCheckpoint",
    "UnreadableCheckpointError",
    "checkpoint_progress",
    "latest_checkpoint",
    "unreadable_reason",
]

LAST_CHECKPOINT = "last_checkpoint"
TEMPLATES = ("epoch_{}.pth", "iter_{}.pth")
"""Names of MMEngine's checkpoints, by epoch and by iteration."""
_ZIP_START = b"PK\x03\x04"


class UnreadableCheckpointError(ValueError):
    """A file cannot be read, or cannot be resumed from; the text says why."""


class LatestCheckpoint(NamedTuple):
    """The result of :func:`latest_checkpoint`.

    Attributes:
        path: The checkpoint to resume from; ``None`` if there is none.
        named: The content of ``last_checkpoint``; ``None`` without such a file.
        passed_over: ``(path, reason)`` of files that are not valid, in the order tried.
    """

    path: Optional[str]
    named: Optional[str]
    passed_over: Tuple[Tuple[str, str], ...]


def latest_checkpoint(
    work_dir: str,
    folder: Optional[str] = None,
    templates: Sequence[str] = TEMPLATES,
) -> LatestCheckpoint:
    """Return the checkpoint that ``last_checkpoint`` names, else the newest valid one.

    The newest is the one with the most iterations. Best and published checkpoints are
    not considered: they lack the optimizer's state.

    Args:
        work_dir: Folder of ``last_checkpoint``.
        folder: Folder of the checkpoints. Defaults to ``work_dir``.
        templates: File names of checkpoints, with ``{}`` in the place of the number.
            Defaults to MMEngine's.
    """
    passed_over: List[Tuple[str, str]] = []
    file = osp.join(work_dir, LAST_CHECKPOINT)
    try:
        named = _named(file)
    except OSError as error:
        named = None
        passed_over.append((file, error.strerror or str(error)))
    if named == "":
        passed_over.append((file, "it is empty"))
    elif named is not None:
        if "://" in named or osp.isdir(named):
            return LatestCheckpoint(named, named, ())  # another backend, DeepSpeed
        try:
            checkpoint_progress(named)
            return LatestCheckpoint(named, named, ())
        except UnreadableCheckpointError as error:
            passed_over.append((named, str(error)))
    best: Tuple[Tuple[int, int], Optional[str]] = ((-1, -1), None)
    for template in dict.fromkeys(templates):
        for path in _by_number(folder or work_dir, template):
            if named and osp.abspath(path) == osp.abspath(named):
                continue
            try:
                best = max(best, (checkpoint_progress(path), path))
                break
            except UnreadableCheckpointError as error:
                passed_over.append((path, str(error)))
    return LatestCheckpoint(best[1], named, tuple(passed_over))


def checkpoint_progress(path: str) -> Tuple[int, int]:
    """Return the iterations and the epochs that were done when it was saved.

    Raises:
        UnreadableCheckpointError: The file cannot be read, or holds weights only.
    """
    meta = read_checkpoint(path).get("meta")
    if not isinstance(meta, dict) or not {"iter", "epoch"} <= meta.keys():
        raise UnreadableCheckpointError(
            "it holds weights, but no training to resume (its meta has no epoch and "
            "iter); to start from its weights set load_from"
        )
    return int(meta["iter"]), int(meta["epoch"])


def unreadable_reason(path: str) -> Optional[str]:
    """Return why a file cannot be read as a checkpoint; ``None`` if it can be."""
    try:
        read_checkpoint(path)
    except UnreadableCheckpointError as error:
        return str(error)
    return None


def read_checkpoint(path: str) -> Dict[str, Any]:
    """Read a checkpoint; its tensors stay on the disk if the format allows it.

    As MMEngine does, with torch's ``weights_only`` check where that is on.

    Raises:
        UnreadableCheckpointError: It cannot be read. The text is short and does not
            name the path.
    """
    path = osp.expanduser(path)
    if osp.isdir(path):
        raise UnreadableCheckpointError("it is a folder")
    if not osp.isfile(path):
        raise UnreadableCheckpointError("it does not exist")
    try:
        if osp.getsize(path) == 0:
            raise UnreadableCheckpointError("it is empty")
        is_zip = zipfile.is_zipfile(path)
        if not is_zip:
            with open(path, "rb") as stream:
                if stream.read(len(_ZIP_START)) == _ZIP_START:
                    raise UnreadableCheckpointError("it is cut short")
        checkpoint = torch.load(path, map_location="cpu", mmap=is_zip)
    except UnreadableCheckpointError:
        raise
    except OSError as error:
        raise UnreadableCheckpointError(error.strerror or str(error)) from error
    except Exception as error:  # a damaged file can raise anything
        raise UnreadableCheckpointError(_in_short(error)) from error
    if not isinstance(checkpoint, dict):
        raise UnreadableCheckpointError(
            f"it holds a {type(checkpoint).__name__}, not a checkpoint's dict"
        )
    return checkpoint


def _in_short(error: Exception) -> str:
    """Return the reason of an error of ``torch.load`` in a few words."""
    text = str(error)
    if isinstance(error, EOFError) or "unexpected EOF" in text:
        return "it is cut short"
    if "PytorchStreamReader" in text:
        return "it is damaged"
    refused = re.search(r"GLOBAL ([\w.]+) was not an allowed global", text)
    if refused is not None:
        return (
            f"it holds {refused[1]}, which torch's weights_only check refuses; if you "
            "trust the file, allow it with torch.serialization.add_safe_globals"
        )
    ours = re.search(r"WeightsUnpickler error:\s*(.*a checkpoint may .*)", text)
    if isinstance(error, pickle.UnpicklingError) and ours is not None:
        return ours[1]
    return "it is no checkpoint that torch can read"


def _named(file: str) -> Optional[str]:
    """Return the content of ``last_checkpoint``; ``None`` if there is no such file."""
    try:
        with open(file, encoding="utf-8", errors="replace") as stream:
            return stream.read().strip()
    except FileNotFoundError:
        return None


def _by_number(folder: str, template: str) -> List[str]:
    """Return a folder's files with such names, the highest number first."""
    before, _, after = template.partition("{}")
    pattern = re.compile(re.escape(before) + r"(\d+)" + re.escape(after))
    found = []
    for name in os.listdir(folder) if osp.isdir(folder) else ():
        match = pattern.fullmatch(name)
        if match is not None:
            found.append((int(match[1]), osp.join(folder, name)))
    return [path for _, path in sorted(found, reverse=True)]
