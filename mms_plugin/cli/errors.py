"""Errors as one line; with ``MMS_DEBUG``, as tracebacks."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import Iterator

from ..utils.error_text import message_lines, place_of


class UserError(Exception):
    """Bad input on a command's line; its text is shown as one line."""

    exit_code = 2


class RunError(UserError):
    """A fault that ended a run after it began; its text is shown as one line."""

    exit_code = 1


def debugging() -> bool:
    """Return whether every error keeps its traceback."""
    return bool(os.environ.get("MMS_DEBUG"))


def one_line(error: BaseException) -> str:
    """Return an error in one line; where a failed import has caused it, that import.

    A slip in the code, such as a KeyError, with its place.
    """
    cause: BaseException = error
    while True:
        below = cause.__cause__ or (
            None if cause.__suppress_context__ else cause.__context__
        )
        # Of other causes, such as the KeyErrors of registries, the error tells more.
        if below is None or not isinstance(below, ImportError):
            break
        cause = below
    text = str(cause.args[0]) if isinstance(cause, KeyError) and cause.args else ""
    text = text or str(cause)
    text = " ".join(message_lines(text))
    name = type(cause).__name__
    text = text or name
    if isinstance(cause, (ValueError, UserError, ImportError, OSError)):
        return text
    text = text if text.startswith(name) else f"{name}: {text}"
    place = place_of(cause)
    return f"{text} ({place})" if place else text


@contextmanager
def setting_up(what: str) -> Iterator[None]:
    """Show errors while a run is set up as the user's input: one line, exit code 2."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if debugging():
            raise
        raise UserError(f"{what}: {one_line(error)}") from error
