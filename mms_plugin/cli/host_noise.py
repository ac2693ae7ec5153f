"""Keep warnings of the host libraries from burying what a command shows."""

from __future__ import annotations

import sys
import warnings
from typing import Any, Callable, Set, Tuple, Type

# Warnings to the libraries' authors, which no user can act on: how each begins.
_NOISE: Tuple[str, ...] = (
    "pkg_resources is deprecated as an API",
    r"Deprecated call to `pkg_resources\.declare_namespace",
    r"`torch\.cuda\.amp\.",
    r"torch\.meshgrid: in an upcoming release",
)


class _ShowOnce:
    """Python's ``warnings.showwarning``, but each text of a category only once.

    Python's own action "once" counts per module, and starts anew whenever code changes
    the filters.
    """

    def __init__(self, show: Callable[..., Any]) -> None:
        self._show = show
        self._shown: Set[Tuple[Type[Warning], str]] = set()

    def __call__(
        self, message: Any, category: Type[Warning], *args: Any, **kwargs: Any
    ) -> None:
        key = (category, str(message))
        if key not in self._shown:
            self._shown.add(key)
            self._show(message, category, *args, **kwargs)


def quiet_hosts() -> None:
    """Hide known noise of the host libraries, and show every other warning once.

    For a command's own process; importing the package changes no filter. Python's
    option ``-W`` and the variable ``PYTHONWARNINGS`` take precedence: nothing is done
    where one of them is set. Calling it again changes nothing.
    """
    if sys.warnoptions:
        return
    if not isinstance(warnings.showwarning, _ShowOnce):
        warnings.showwarning = _ShowOnce(warnings.showwarning)
    for message in _NOISE:
        warnings.filterwarnings("ignore", message=message)
