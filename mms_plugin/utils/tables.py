"""Lay out rows of text as a table with aligned columns."""

from __future__ import annotations

from typing import Collection, Sequence

__all__ = ["markdown_table", "plain_table"]


def markdown_table(
    rows: Sequence[Sequence[str]], text_columns: Collection[int] = (0,)
) -> str:
    """Return a Markdown table that also reads well as plain text.

    Args:
        rows: Cells of every row; the first row is the header.
        text_columns: Columns aligned to the left; the others, numbers, go to the
            right. Defaults to the first column only.

    Returns:
        Lines without a final line break.
    """
    widths = _widths(rows)
    rule = [
        "-" * width if column in text_columns else "-" * (width - 1) + ":"
        for column, width in enumerate(widths)
    ]
    lines = [_aligned(row, widths, text_columns) for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in [lines[0], rule, *lines[1:]])


def plain_table(
    rows: Sequence[Sequence[str]], text_columns: Collection[int] = (0,)
) -> str:
    """Return the rows with two spaces between the columns, for logs.

    Args:
        rows: Cells of every row.
        text_columns: See :func:`markdown_table`.

    Returns:
        Lines without a final line break.
    """
    widths = _widths(rows)
    return "\n".join(
        "  ".join(_aligned(row, widths, text_columns)).rstrip() for row in rows
    )


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(len(cell) for cell in column) for column in zip(*rows)]


def _aligned(
    row: Sequence[str], widths: Sequence[int], text_columns: Collection[int]
) -> list[str]:
    return [
        cell.ljust(width) if column in text_columns else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(row, widths))
    ]
