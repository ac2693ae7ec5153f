"""Pages whose tables and pictures a benchmark writes between markers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Mapping, Union

from mms_plugin.utils.files import write_atomically


def fill_blocks(text: str, blocks: Mapping[str, str]) -> str:
    """Put content between the markers of a page, and leave all else as it is.

    A block lies between ``<!-- begin NAME -->`` and ``<!-- end NAME -->``. One that
    the page lacks is appended.

    Args:
        text: The page.
        blocks: Content by name.
    """
    for name, content in blocks.items():
        begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
        block = f"{begin}\n{content.strip()}\n{end}"
        pattern = re.compile(re.escape(begin) + r".*?" + re.escape(end), re.DOTALL)
        if pattern.search(text):
            text = pattern.sub(block.replace("\\", r"\\"), text, count=1)
        else:
            text = f"{text.rstrip()}\n\n{block}\n"
    return text


def update_page(path: Union[str, Path], title: str, blocks: Mapping[str, str]) -> None:
    """Fill the blocks of a page on the disk; a missing page starts with its title."""
    path = Path(path)
    text = path.read_text() if path.exists() else f"# {title}\n"
    write_atomically(fill_blocks(text, blocks).encode(), path)
