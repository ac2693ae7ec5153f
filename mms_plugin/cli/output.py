"""JSON documents, on standard output and in files."""

from __future__ import annotations

import json
import math
import os
import sys
from contextlib import contextmanager
from typing import Any, Callable, Iterator, Mapping

import mmengine

from ..utils.files import write_atomically


@contextmanager
def json_on_stdout(enabled: bool) -> Iterator[Callable[[Any], None]]:
    """Keep standard output for one JSON document.

    Args:
        enabled: If False, standard output stays as it is, and the function does
            nothing.

    Yields:
        A function that prints its argument as JSON. Everything else that is
        written to standard output meanwhile, by C code too, goes to standard
        error.
    """
    if not enabled:
        yield lambda document: None
        return
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)

    def emit(document: Any) -> None:
        text = json.dumps(plain(document), indent=2, allow_nan=False) + "\n"
        sys.stdout.flush()
        with os.fdopen(os.dup(kept), "w") as stream:
            stream.write(text)

    try:
        yield emit
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def write_json(document: Any, path: str) -> None:
    """Write a document as a JSON file that is never half written."""
    text = mmengine.dump(plain(document), file_format="json")
    write_atomically(text.encode(), path)


def plain(value: Any) -> Any:
    """Return NumPy and torch numbers as Python's; NaN and infinities as None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
