"""Columns are aligned, text to the left and numbers to the right."""

from mms_plugin.utils.tables import markdown_table, plain_table

ROWS = [("size", "images"), ("4x4", "16"), ("128x128", "2")]


def test_markdown():
    assert markdown_table(ROWS).splitlines() == [
        "| size    | images |",
        "| ------- | -----: |",
        "| 4x4     |     16 |",
        "| 128x128 |      2 |",
    ]


def test_plain():
    assert plain_table(ROWS).splitlines() == [
        "size     images",
        "4x4          16",
        "128x128       2",
    ]


def test_other_columns_of_text():
    assert plain_table(ROWS, text_columns=(1,)).splitlines() == [
        "   size  images",
        "    4x4  16",
        "128x128  2",
    ]
    assert markdown_table([("a", "b")], text_columns=()).splitlines() == [
        "| a | b |",
        "| : | : |",
    ]
