"""The parts of ``tools/setup_env.sh`` that are easier in Python; stdlib only.

``list PART`` prints the pins of one part of requirements/env.txt, ``unite FOLDER``
makes mmcv's sources quick to compile, and ``verify`` checks the finished environment.
"""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path
from typing import Dict

REQUIREMENTS = Path(__file__).resolve().parents[1] / "requirements" / "env.txt"
# In csrc/pytorch/cpu. They define the same helpers, or macros that break others.
NOT_UNITED = (
    "psamask.cpp",
    "roi_align.cpp",
    "roi_align_rotated.cpp",
    "bezier_align.cpp",
    "rotated_feature_align.cpp",
)


def pins(part: str = "") -> Dict[str, str]:
    """Return the version of each package in one ``[part]``, or in all of them."""
    found: Dict[str, str] = {}
    current = ""
    for line in REQUIREMENTS.read_text(encoding="utf-8").splitlines():
        if line.startswith("# ["):
            current = line[3 : line.index("]")]
        name, _, version = line.partition("#")[0].strip().partition("==")
        if name and part in ("", current):
            found[name] = version
    if not found:
        raise SystemExit(f"{REQUIREMENTS} has no part [{part}]")
    return found


def unite(sources: Path) -> None:
    """Include nearly all of mmcv's 77 files for the CPU in two.

    Two large files and five small ones compile in a tenth of the time.
    """
    csrc = sources / "mmcv" / "ops" / "csrc" / "pytorch"
    for folder, apart in ((csrc, ()), (csrc / "cpu", NOT_UNITED)):
        files = [p for p in sorted(folder.glob("*.cpp")) if p.name not in apart]
        for file in files:
            file.rename(f"{file}.inc")
        united = "".join(f'#include "{file.name}.inc"\n' for file in files)
        (folder / "united.cpp").write_text(united, encoding="utf-8")


def installed(name: str) -> str:
    """Return the version of an installed package without its local part."""
    try:
        return importlib.metadata.version(name).partition("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return "nothing"


def verify() -> None:
    """Check that every pin is installed, and that the libraries load and work."""
    wrong = [
        f"{name} {installed(name)} in place of {version}"
        for name, version in pins().items()
        if installed(name) != version
        # Its place is taken where no compiler was found.
        and not (name == "mmcv" and installed("mmcv-lite") == version)
    ]
    if wrong:
        raise SystemExit("error: " + "; ".join(wrong))
    import cv2  # noqa: F401
    import matplotlib  # noqa: F401
    import mmcv.ops
    import mmdet  # noqa: F401
    import mmpretrain  # noqa: F401
    import pycocotools.mask  # noqa: F401
    import torch

    import mms_plugin  # noqa: F401

    boxes = torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 8], [20, 20, 30, 30]])
    kept = mmcv.ops.nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.5)[1].tolist()
    if kept != [0, 2]:
        raise SystemExit(f"error: mmcv's nms kept {kept} in place of [0, 2]")


if __name__ == "__main__":
    if sys.argv[1] == "list":
        print(
            *(f"{name}=={version}" for name, version in pins(sys.argv[2]).items()),
            sep="\n",
        )
    elif sys.argv[1] == "unite":
        unite(Path(sys.argv[2]))
    else:
        verify()
