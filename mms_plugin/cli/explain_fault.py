"""Explain what ended a run, in one line that says what to do."""

from __future__ import annotations

import errno
import re
from typing import NamedTuple, Optional

from mmengine.dist import get_world_size

from ..checkpoints.not_saved_error import CheckpointNotSavedError
from ..utils.error_text import message_lines
from ..utils.files import NotWrittenError
from ..utils.setting_error import SettingError
from .launching import launched_world_size

__all__ = ["Fault", "explain_fault"]


class Fault(NamedTuple):
    """A known fault.

    Attributes:
        text: What happened, and what to do before the run is started again.
        outside: Whether it came from outside the program: no traceback tells more.
    """

    text: str
    outside: bool


def explain_fault(error: BaseException) -> Optional[Fault]:
    """Explain a known fault; return ``None`` for any other error."""
    text = str(error)
    if isinstance(error, NotWrittenError):
        what = "make room" if error.errno == errno.ENOSPC else "let it be written"
        return Fault(f"{text}; {what}", True)
    if isinstance(error, CheckpointNotSavedError):
        return Fault(text, True)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Fault(f"the disk is full: {text}; make room", True)
    found = _killed_worker(text) or _slow_worker(text) or _bad_sample(error)
    return found or _lost_rank(error)


def _killed_worker(text: str) -> Optional[Fault]:
    match = re.search(
        r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\)[^\n]*?"
        r"(exited unexpectedly|is killed by signal: (\w+)|is aborted)",
        text,
    )
    if match is None:
        return None
    how = f"was killed (signal {match[3]})" if match[3] else "has died"
    return Fault(
        f"a DataLoader worker, process {match[1]}, {how}; often the memory was full "
        "(of the machine, or /dev/shm): lower num_workers or prefetch_factor",
        True,
    )


def _slow_worker(text: str) -> Optional[Fault]:
    match = re.search(r"DataLoader timed out after ([\d.]+) seconds", text)
    if match is None:
        return None
    return Fault(
        f"the DataLoader's workers gave no batch within {match[1]} s, its timeout: the "
        "storage hangs or is slow, or a batch takes longer; raise timeout or "
        "num_workers of the dataloader, or set timeout=0",
        True,
    )


# What gloo, NCCL and the store say of a rank that is gone.
_LOST = re.compile(
    r"Connection closed by peer|Connection reset by peer|Broken pipe"
    r"|[Tt]imed out (?:waiting|after)|remote process exited"
    r"|Socket Timeout|[Ww]ait timeout|[Ff]ailed to (?:recv|send),"
    r"|Application timeout|gloo/transport"
)


def _lost_rank(error: BaseException) -> Optional[Fault]:
    if not isinstance(error, RuntimeError) or _LOST.search(str(error)) is None:
        return None
    # The processes may not have been connected yet.
    if max(get_world_size(), launched_world_size("pytorch")) == 1:
        return None
    lines = message_lines(str(error))
    return Fault(
        "another rank has ended or no longer responds, so this rank ends too; see the "
        f"messages of that rank for the cause (this rank: {lines[0]})",
        True,
    )


def _bad_sample(error: BaseException) -> Optional[Fault]:
    """Explain an error inside the dataset, in this process or in a worker."""
    text = str(error)
    in_worker = "in DataLoader worker process" in text
    if not in_worker and not _passed_through(error, _FETCHING):
        return None
    lines = message_lines(text)
    said = lines[-1] if lines else ""
    if isinstance(error, SettingError):
        # A worker's begins with the name of its class.
        said = said.rpartition(f"{SettingError.__name__}: ")[2]
        return Fault(f"the settings give no sample: {said}", True)
    if not in_worker:
        said = f"{type(error).__name__}: {said}"
    return Fault(
        f"failed to load a sample: {said}; fix or remove what it names (in training, "
        "LoadImageFromFile(ignore_empty=True) takes others in place of broken images)",
        False,
    )


# Where torch's data loaders ask the dataset for samples.
_FETCHING = "/torch/utils/data/_utils/fetch.py"


def _passed_through(error: BaseException, file: str) -> bool:
    frame = error.__traceback__
    while frame is not None:
        name = frame.tb_frame.f_code.co_filename
        if name.replace("\\", "/").endswith(file):
            return True
        frame = frame.tb_next
    return False
