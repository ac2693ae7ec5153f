"""Which versions of Python and of the host libraries the package supports.

Versions are read from the installed packages' metadata; no host library is
imported to learn its version, so that the check comes before anything that an
unsupported version could break.
"""

from __future__ import annotations

import importlib
import re
import sys
from importlib import metadata
from types import ModuleType
from typing import Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

__all__ = [
    "HOSTS",
    "Host",
    "MissingHostError",
    "UnsupportedVersionError",
    "check_host_versions",
    "check_versions",
    "require",
]


class UnsupportedVersionError(ImportError):
    """An installed package is outside the supported range."""


class MissingHostError(ImportError):
    """An optional host library is needed and is not installed."""


class Host(NamedTuple):
    """One host library and the range ``minimum <= version < below``.

    Attributes:
        name: Name that is imported.
        minimum: First supported version.
        below: First version that is not supported, or None for no end.
        distributions: Names under which it is published, tried in order.
    """

    name: str
    minimum: str
    below: Optional[str]
    distributions: Tuple[str, ...]

    @property
    def supported(self) -> str:
        """The range as pip writes it, such as ``>=3.0.0,<4.0.0``."""
        end = "" if self.below is None else f",<{self.below}"
        return f">={self.minimum}{end}"

    @property
    def pip_command(self) -> str:
        return f'pip install "{self.distributions[0]}{self.supported}"'


MINIMUM_PYTHON = (3, 8)
HOSTS: Tuple[Host, ...] = (
    Host("torch", "2.0.0", None, ("torch",)),
    Host("mmengine", "0.10.0", "1.0.0", ("mmengine", "mmengine-lite")),
    Host("mmcv", "2.0.0", "2.3.0", ("mmcv", "mmcv-lite")),
    Host("mmdet", "3.0.0", "4.0.0", ("mmdet",)),
    Host("mmpretrain", "1.0.0", "2.0.0", ("mmpretrain",)),
    Host("mmseg", "1.0.0", "2.0.0", ("mmsegmentation",)),
)


def _release(version: str) -> Optional[Tuple[int, ...]]:
    """``'2.11.0+cpu'`` -> ``(2, 11, 0)``; None where no number leads.

    A release candidate counts as its release: 2.0.0rc4 is taken for 2.0.0.
    """
    match = re.match(r"\d+(?:\.\d+)*", version)
    if match is None:
        return None
    numbers = [int(part) for part in match.group().split(".")]
    # 2.0 and 2.0.0 are the same release.
    return tuple(numbers + [0] * (3 - len(numbers)))


def check_versions(
    versions: Mapping[str, str],
    python: Sequence[int],
    hosts: Sequence[Host] = HOSTS,
) -> None:
    """Refuse unsupported versions; a pure function of its arguments.

    Args:
        versions: Version of each installed host by import name; a host that is
            not in it is not installed and is not checked, nor is one whose
            version starts with no number (a build from a branch).
        python: Version of the interpreter, ``(major, minor, ...)``.
        hosts: What is supported.

    Raises:
        UnsupportedVersionError: One line that names the package, the version
            that was found, the supported range and the pip command.
    """
    if tuple(python[:2]) < MINIMUM_PYTHON:
        found = ".".join(str(part) for part in python[:3])
        wanted = ".".join(str(part) for part in MINIMUM_PYTHON)
        raise UnsupportedVersionError(
            f"mms_plugin supports Python >={wanted}, but this is Python {found}; "
            f"make an environment with a newer one: python3 -m venv .venv && "
            f".venv/bin/pip install -e ."
        )
    for host in hosts:
        version = versions.get(host.name)
        release = None if version is None else _release(version)
        if release is None:
            continue
        below = None if host.below is None else _release(host.below)
        minimum = _release(host.minimum)
        if (minimum is not None and release < minimum) or (
            below is not None and release >= below
        ):
            raise UnsupportedVersionError(
                f"mms_plugin supports {host.name} {host.supported}, but {host.name} "
                f"{version} is installed; run: {host.pip_command}"
            )


def installed_versions(hosts: Sequence[Host] = HOSTS) -> Dict[str, str]:
    """Versions of the installed hosts by import name, from their metadata."""
    versions: Dict[str, str] = {}
    for host in hosts:
        for distribution in host.distributions:
            try:
                versions[host.name] = metadata.version(distribution)
            except metadata.PackageNotFoundError:
                continue
            break
    return versions


def check_host_versions() -> None:
    """Check this interpreter and what is installed in it.

    Raises:
        UnsupportedVersionError: See :func:`check_versions`.
    """
    check_versions(installed_versions(), sys.version_info[:3])


def require(name: str, purpose: str = "") -> ModuleType:
    """Import an optional host library at the point where it is used.

    Args:
        name: Module to import, such as ``'mmdet'`` or ``'mmcv.transforms'``.
        purpose: What needs it, for the error, such as ``'FooTransform'``.

    Returns:
        The module.

    Raises:
        MissingHostError: The library is not installed. An import that fails
            inside an installed library is passed on as it is.
    """
    top = name.partition(".")[0]
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != top:
            raise
        commands: List[str] = [
            host.pip_command for host in HOSTS if host.name == top
        ] or [f"pip install {top}"]
        user = f"{purpose} needs" if purpose else "this needs"
        raise MissingHostError(
            f"{user} the package {top}, which is not installed; run: {commands[0]}"
        ) from error
