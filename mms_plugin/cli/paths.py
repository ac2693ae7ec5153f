"""Files and folders that the command line names: there, or writable."""

from __future__ import annotations

import os
import os.path as osp
from typing import Optional, Tuple

from mmengine.config import Config

from .errors import UserError


def check_checkpoint(name: str, argument: str = "checkpoint") -> None:
    """Refuse a checkpoint file that is not there; addresses are not looked up.

    Raises:
        UserError: There is no such file.
    """
    if "://" in name:
        return
    path = osp.expanduser(name)
    if not osp.exists(path):
        raise UserError(f"{argument} {name} does not exist")
    if not osp.isfile(path):
        raise UserError(f"{argument} {name} is not a file")


def set_work_dir(config: Config, work_dir: Optional[str]) -> None:
    """Set ``config.work_dir``, and create the folder.

    It is that of the command line, else of the config, else
    ``work_dirs/<config name>``.

    Raises:
        UserError: The folder cannot be created or written to.
    """
    if work_dir is not None:
        config.work_dir = work_dir
    elif config.get("work_dir") is None:
        stem = osp.splitext(osp.basename(config.filename))[0]
        config.work_dir = osp.join("work_dirs", stem)
    make_folder(config.work_dir, "--work-dir")


def name_for_test(config: Config) -> None:
    """Let the runner write the config as ``<name>_test.py``.

    A test uses the work dir of the training, whose config it would replace: with
    ``--recipe`` that is the only converted one.
    """
    stem, ending = osp.splitext(config.filename)
    # MMEngine writes the config under the name of its file, which has no setter.
    vars(config)["_filename"] = f"{stem}_test{ending}"


def make_folder(folder: str, argument: str) -> None:
    """Make a folder that is written to.

    Raises:
        UserError: It cannot be created or written to; names the argument.
    """
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{argument} {folder} cannot be created: {error.strerror}"
        ) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"{argument} {folder} is not writable")


def check_out(out: str, endings: Tuple[str, ...], argument: str = "--out") -> None:
    """Check the ending of a file to be written, and that its folder is writable.

    Raises:
        UserError: It ends in none of ``endings`` or is a folder, or its folder does not
            exist or is not writable; names the argument.
    """
    if not out.endswith(endings):
        raise UserError(f"{argument} {out} must end in {' or '.join(endings)}")
    if osp.isdir(out):
        raise UserError(f"{argument} {out} is a folder, not a file")
    folder = osp.dirname(osp.abspath(out))
    if not osp.isdir(folder):
        raise UserError(f"{argument} {out}: the folder {folder} does not exist")
    if not os.access(folder, os.W_OK):
        raise UserError(f"{argument} {out}: the folder {folder} is not writable")
