"""Arguments that the commands share, and how they are read."""

from __future__ import annotations

import argparse
import re
from typing import Any, Callable, Dict, NoReturn, Optional, Tuple

from mmengine.config import DictAction

from .launching import LAUNCHERS


class ArgumentParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Show the error as one line, and exit with code 2."""
        self.exit(2, f"{self.prog}: error: {message} (--help lists the arguments)\n")


class _ConfigOptions(DictAction):
    """MMEngine's ``k=v`` action, with an error that shows the bad option."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: Optional[str] = None,
    ) -> None:
        options: Dict[str, Any] = {}
        for value in values:
            key, equals, text = value.partition("=")
            if not equals or not key.strip(". "):
                parser.error(f"{option_string} takes key=value pairs, not {value!r}")
            try:
                options[key] = self._parse_iterable(text)
            except (
                AssertionError, ValueError, SyntaxError, IndexError, RecursionError,
            ):  # fmt: skip
                parser.error(
                    f"{option_string}: the value of {value!r} does not parse; write "
                    'lists as key="[a,b]" or key=a,b, and a dict key by key: key.a=1'
                )
        previous = getattr(namespace, self.dest, None) or {}
        setattr(namespace, self.dest, {**previous, **options})


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the config, and settings that override it."""
    parser.add_argument(
        "config",
        help="config file, or a config of a library: mmdet::<folder>/<name>.py, "
        "mmpretrain::<folder>/<name>.py, mms_plugin::<folder>/<name>.py",
    )
    add_options_argument(
        parser,
        "--cfg-options",
        'settings that override the config\'s, such as key="[a,b]" or a.b=1',
    )


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of every command that builds a runner from a config."""
    add_config_arguments(parser)
    parser.add_argument(
        "--work-dir",
        help="folder for logs and checkpoints (default: the config's, else "
        "work_dirs/<config name>)",
    )
    parser.add_argument(
        "--launcher",
        choices=LAUNCHERS,
        default="none",
        help="what started the processes (default: none, a single process)",
    )
    # torch.distributed.launch passes it; torchrun only sets the variable.
    parser.add_argument(
        "--local_rank", "--local-rank", type=int, default=0, help=argparse.SUPPRESS
    )


def add_options_argument(
    parser: argparse.ArgumentParser, flag: str, description: str
) -> None:
    """Add an argument of ``KEY=VALUE`` pairs, parsed to a dict by dotted keys."""
    parser.add_argument(
        flag,
        nargs="+",
        action=_ConfigOptions,
        metavar="KEY=VALUE",
        help=description,
    )


def add_amp_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--amp``, for :func:`enable_amp`."""
    parser.add_argument(
        "--amp",
        action="store_true",
        help="mixed precision: float16 on an accelerator, bfloat16 on the CPU (not for "
        "detectors with RoI heads on the CPU, since mmcv's NMS needs float32 there)",
    )


def size_argument(text: str) -> Tuple[int, int]:
    """Parse ``'224'`` or ``'224x320'`` to ``(height, width)``, for ``type=``."""
    match = re.fullmatch(r"([1-9]\d*)(?:x([1-9]\d*))?", text)
    if match is None:
        raise argparse.ArgumentTypeError(
            f"a size is a side in pixels or HEIGHTxWIDTH, not {text!r}"
        )
    return int(match[1]), int(match[2] or match[1])


def whole_number(least: int) -> Callable[[str], int]:
    """Return a reader of integers of at least ``least``, for ``type=``."""

    def parse(text: str) -> int:
        if not text.isdigit() or int(text) < least:
            raise argparse.ArgumentTypeError(
                f"must be a whole number of at least {least}, not {text!r}"
            )
        return int(text)

    return parse
