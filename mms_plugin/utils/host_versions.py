"""Check the versions of Python and of the host libraries.

Versions are read from the installed packages' metadata, and no host library is
imported: an unsupported version could fail to import.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from importlib import metadata
from types import ModuleType
from typing import Dict, Mapping, NamedTuple, Optional, Sequence, Tuple

__all__ = [
    "CONFLICTS",
    "FORKS",
    "HOSTS",
    "Conflict",
    "Host",
    "Installed",
    "MissingHostError",
    "UnsupportedVersionError",
    "check_combination",
    "check_host_versions",
    "check_versions",
    "install_command",
    "installed_hosts",
    "require",
]


class UnsupportedVersionError(ImportError):
    """An installed package is outside the supported range."""


class MissingHostError(ImportError):
    """An optional host library is needed and is not installed."""


def pip_install(distribution: str, versions: str) -> str:
    """Return the command that installs a distribution in a range of versions.

    mmcv is published as source only. Its build imports torch and ``pkg_resources``,
    neither of which pip's isolated build environment has.
    """
    command = f'pip install "{distribution}{versions}"'
    if distribution != "mmcv":
        return command
    isolated = command.replace("install", "install --no-build-isolation")
    return f'pip install "setuptools<81" wheel && {isolated}'


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
        """The range as pip writes it, such as ``>=3.2.0,<4.0.0``."""
        end = "" if self.below is None else f",<{self.below}"
        return f">={self.minimum}{end}"

    @property
    def pip_command(self) -> str:
        """The command that installs a supported version."""
        return pip_install(self.distributions[0], self.supported)


class Installed(NamedTuple):
    """One installed host library.

    Attributes:
        distribution: Name under which it is published, such as ``onedl-mmcv``.
        version: Its version.
    """

    distribution: str
    version: str


class Conflict(NamedTuple):
    """Versions of a library that do not load with newer versions of mmcv.

    Attributes:
        name: Import name of the library.
        below: The conflict ends with this version of the library.
        mmcv_below: First version of mmcv that the library refuses.
    """

    name: str
    below: str
    mmcv_below: str


MINIMUM_PYTHON = (3, 9)
HOSTS: Tuple[Host, ...] = (
    Host("torch", "2.1.0", None, ("torch",)),
    Host("mmengine", "0.10.3", "1.0.0", ("mmengine", "mmengine-lite")),
    Host("mmcv", "2.0.0", "2.3.0", ("mmcv", "mmcv-lite")),
    Host("mmdet", "3.2.0", "4.0.0", ("mmdet",)),
    Host("mmpretrain", "1.0.0", "2.0.0", ("mmpretrain",)),
    Host("mmseg", "1.0.0", "2.0.0", ("mmsegmentation",)),
)
# The maintained forks: the same import names, other distributions and versions.
FORKS: Tuple[Host, ...] = (
    Host("mmengine", "0.10.12", "1.0.0", ("onedl-mmengine",)),
    Host("mmcv", "2.3.6", "2.4.0", ("onedl-mmcv",)),
    Host("mmdet", "3.5.1", "4.0.0", ("onedl-mmdetection",)),
    Host("mmpretrain", "1.3.6", "2.0.0", ("onedl-mmpretrain",)),
)
# What the originals assert when they are imported, the narrowest range first. The forks
# of mmdet and mmpretrain accept every mmcv that is supported.
CONFLICTS: Tuple[Conflict, ...] = (
    Conflict("mmdet", "4.0.0", "2.2.0"),
    Conflict("mmpretrain", "1.1.0", "2.1.0"),
    Conflict("mmpretrain", "1.2.0", "2.2.0"),
    Conflict("mmseg", "2.0.0", "2.2.0"),
)


def _release(version: str) -> Optional[Tuple[int, ...]]:
    """Return ``(2, 11, 0)`` for ``'2.11.0+cpu'``; ``None`` if it begins with no number.

    A release candidate counts as its release: 2.0.0rc4 as 2.0.0.
    """
    match = re.match(r"\d+(?:\.\d+)*", version)
    if match is None:
        return None
    numbers = [int(part) for part in match.group().split(".")]
    # 2.0 and 2.0.0 are the same release.
    return tuple(numbers + [0] * (3 - len(numbers)))


def _host_of(name: str, distribution: str) -> Optional[Host]:
    """Return the entry for an import name: the fork's where that is installed."""
    for host in HOSTS + FORKS:
        if host.name == name and distribution in host.distributions:
            return host
    return None


def check_versions(
    versions: Mapping[str, str],
    python: Sequence[int],
    hosts: Sequence[Host] = HOSTS,
) -> None:
    """Refuse unsupported versions; a pure function of its arguments.

    Args:
        versions: Version of each installed host by import name. A version that begins
            with no number (a build from a branch) is not checked.
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
            fork = host.distributions[0] if host in FORKS else host.name
            raise UnsupportedVersionError(
                f"mms_plugin supports {fork} {host.supported}, but {fork} "
                f"{version} is installed; run: {host.pip_command}"
            )


def check_combination(installed: Mapping[str, Installed]) -> None:
    """Refuse libraries that do not load together; a pure function.

    Args:
        installed: Installed hosts by import name.

    Raises:
        UnsupportedVersionError: One line that names both packages, their versions and
            the pip command.
    """
    mmcv = installed.get("mmcv")
    mmcv_release = None if mmcv is None else _release(mmcv.version)
    if mmcv is None or mmcv_release is None:
        return
    for conflict in CONFLICTS:
        library = installed.get(conflict.name)
        # The forks have no such limit.
        if library is None or library.distribution.startswith("onedl-"):
            continue
        release, end = _release(library.version), _release(conflict.below)
        first_refused = _release(conflict.mmcv_below)
        if release is None or end is None or first_refused is None:
            continue
        if release < end and mmcv_release >= first_refused:
            remedy = pip_install(mmcv.distribution, f">=2.0.0,<{conflict.mmcv_below}")
            if mmcv.distribution.startswith("onedl-"):
                forks = [host for host in FORKS if host.name == conflict.name]
                install = [host.pip_command for host in forks]
                uninstall = f"pip uninstall -y {library.distribution}"
                remedy = " && ".join([uninstall, *install])
            raise UnsupportedVersionError(
                f"{conflict.name} {library.version} needs mmcv "
                f">=2.0.0,<{conflict.mmcv_below}, but {mmcv.distribution} "
                f"{mmcv.version} is installed; run: {remedy}"
            )


def installed_hosts() -> Dict[str, Installed]:
    """Return the installed hosts by import name, from their metadata.

    Raises:
        UnsupportedVersionError: A fork and its original are both installed: they
            overwrite each other's files.
    """
    found: Dict[str, Installed] = {}
    for host in HOSTS + FORKS:
        for distribution in host.distributions:
            try:
                version = metadata.version(distribution)
            except metadata.PackageNotFoundError:
                continue
            if host.name in found:
                other = found[host.name].distribution
                raise UnsupportedVersionError(
                    f"{other} and {distribution} are both installed and overwrite each "
                    f"other's files; run: pip uninstall -y {other} {distribution}, "
                    f"then install one of them"
                )
            found[host.name] = Installed(distribution, version)
            break
    return found


def check_host_versions() -> None:
    """Check this interpreter and what is installed in it.

    Raises:
        UnsupportedVersionError: See :func:`check_versions` and
            :func:`check_combination`.
        MissingHostError: MMEngine is not installed.
    """
    installed = installed_hosts()
    hosts = [_host_of(name, host.distribution) for name, host in installed.items()]
    versions = {name: host.version for name, host in installed.items()}
    check_versions(
        versions, sys.version_info[:3], [host for host in hosts if host is not None]
    )
    check_combination(installed)
    if importlib.util.find_spec("mmengine") is None:
        commands = [
            host.pip_command for host in HOSTS + FORKS if host.name == "mmengine"
        ]
        raise MissingHostError(
            "mms_plugin needs MMEngine, which is not installed; run: "
            f"{commands[0]}, or for the maintained fork: {commands[1]}"
        )


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
        user = f"{purpose} needs" if purpose else "this needs"
        raise MissingHostError(
            f"{user} the package {top}, which is not installed; run: "
            f"{install_command(top)}"
        ) from error


def install_command(name: str) -> str:
    """Return the pip command for a library: the fork's beside a fork of MMEngine."""
    engine = installed_hosts().get("mmengine")
    forks = engine is not None and engine.distribution.startswith("onedl-")
    for host in FORKS + HOSTS if forks else HOSTS:
        if host.name == name:
            return host.pip_command
    return f"pip install {name}"
