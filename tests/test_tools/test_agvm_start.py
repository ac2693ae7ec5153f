"""The table of the first updates; its training runs in the smoke test."""

import sys
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools" / "benchmarks"))

import agvm_start


def test_ratios_of_each_point_and_what_lies_outside():
    def point(update, neck, head):
        return dict(
            update=update, phi={"backbone": 0.4, "neck": neck, "rpn_head": head}
        )

    outcome = SimpleNamespace(
        loss=[2.5, 1.0, 0.8],
        agvm=[point(2, 0.2, 0.01), point(4, 0.8, 0.04), point(6, 1.6, 0.0)],
    )
    lines = agvm_start.ratio_table(outcome).splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert [rows[0], *rows[2:]] == [
        ["updates", "loss", "neck", "RPN"],
        ["1 to 2", "2.50", "2.0", "40 !"],
        ["3 to 4", "1.00", "0.5", "10"],
        ["5 to 6", "0.80", "0.2 !", "400000 !"],
    ]
