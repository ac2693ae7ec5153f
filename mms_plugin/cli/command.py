"""A command from its first line to its exit code."""

from __future__ import annotations

import os
import os.path as osp
import select
import sys
import traceback
from typing import Callable, List, NoReturn

import torch

from ..checkpoints.safe_globals import check_by_default
from ..utils.error_text import on_one_line
from ..utils.files import NotWrittenError
from .errors import UserError, debugging
from .host_noise import quiet_hosts
from .launching import leave_process_group


def run_command(main: Callable[[List[str]], None]) -> NoReturn:
    """Run a command's ``main`` on the command line's arguments and exit.

    Exit code 0; 2 after bad input and 1 after a known fault of a run, with one line
    on standard error.
    """
    quiet_hosts()
    try:
        _check_checkpoints()
        main(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        if not _reader_has_left():  # another pipe, such as one of a visualizer
            traceback.print_exc()
            _leave(1)
        # The reader, such as `head`, has seen enough; nothing is left to be flushed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        _leave(0)
    except (UserError, NotWrittenError) as error:
        if debugging():
            raise
        text = on_one_line(error)
        if error.__cause__ is not None:
            text += " (MMS_DEBUG=1 shows the traceback)"
        print(f"{osp.basename(sys.argv[0])}: error: {text}", file=sys.stderr)
        _leave(getattr(error, "exit_code", 1))
    except KeyboardInterrupt:
        print(f"{osp.basename(sys.argv[0])}: interrupted", file=sys.stderr)
        _leave(130)
    _leave(0)


def _check_checkpoints() -> None:
    try:
        check_by_default()
    except RuntimeError as error:
        raise UserError(str(error)) from error


def _reader_has_left() -> bool:
    """Return whether standard output is a pipe that nobody reads any more."""
    poll = select.poll()
    poll.register(1, select.POLLERR)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _leave(code: int) -> NoReturn:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        # A rank that fails must not wait for the others.
        if code == 0:
            leave_process_group()
        else:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    sys.exit(code)
