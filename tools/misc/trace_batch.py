"""Count the files and functions that one batch passes on its way to the pixels.

A batch is planned, its indices are drawn, and its samples are loaded at its size: once
for a whole epoch of a sampler that has just been built, and once for the next batch of
the same epoch. Only functions of this package count, each once.

    python tools/misc/trace_batch.py [--json]
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from types import FrameType
from typing import Any, Callable, Dict, List, Set

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
from mmengine.dataset import BaseDataset, DefaultSampler  # noqa: E402
from mmengine.registry import DATASETS, TRANSFORMS  # noqa: E402

import mms_plugin  # noqa: E402

PACKAGE = str(Path(mms_plugin.__file__).parent)


@DATASETS.register_module()
class TracedImages(BaseDataset):
    """Images of random noise."""

    def load_data_list(self) -> List[Dict[str, Any]]:
        """Return one record for each of 64 images."""
        return [dict(seed=index) for index in range(64)]


@TRANSFORMS.register_module()
class TracedResize:
    """Make an image of the given size.

    Args:
        scale: ``(width, height)`` in pixels.
    """

    def __init__(self, scale: Any) -> None:
        self.scale = scale

    def __call__(self, results: Dict[str, Any]) -> Dict[str, Any]:
        """Put an image into the sample."""
        results["img"] = np.zeros((self.scale[1], self.scale[0], 3), np.uint8)
        return results


def functions_called(function: Callable[[], Any]) -> Set[str]:
    """Return ``file:function`` of everything of the package that a call runs."""
    seen: Set[str] = set()

    def note(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event != "call" or not code.co_filename.startswith(PACKAGE):
            return
        # A comprehension or lambda belongs to the function around it.
        if not code.co_name.startswith("<"):
            file = code.co_filename[len(PACKAGE) + 1 :]
            seen.add(f"{file}:{getattr(code, 'co_qualname', code.co_name)}")

    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(None)
    return seen


def trace() -> Dict[str, Any]:
    """Return what one batch passes, for the first and for the next batch."""
    dataset = DATASETS.build(
        dict(
            type="MultiScaleDataset",
            dataset=dict(
                type="TracedImages",
                pipeline=[
                    dict(
                        type="MultiScaleTransform",
                        transform=dict(type="TracedResize"),
                        size_arg="scale",
                    )
                ],
            ),
        )
    )
    sampler = mms_plugin.MultiScaleVariableBatchSampler(
        DefaultSampler(dataset, shuffle=True, seed=0),
        batch_size=8,
        base_size=64,
        sizes=[32, 48, 64],
        seed=0,
    )
    batches = iter(sampler)

    def next_batch() -> None:
        for index in next(batches):
            sample = dataset[index]
            assert sample["img"].shape[:2] == index.size

    report: Dict[str, Any] = {}
    for name in ("first", "next"):
        functions = functions_called(next_batch)
        report[name] = dict(
            files=len({each.partition(":")[0] for each in functions}),
            functions=len(functions),
            names=sorted(functions),
        )
    return report


def main(argv: List[str]) -> None:
    """Print the counts and the names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print JSON only")
    parser.add_argument(
        "--smoke", action="store_true", help="accepted, without effect: it is quick"
    )
    args = parser.parse_args(argv)
    report = trace()
    if args.json:
        print(json.dumps(report))
        return
    for name, counts in report.items():
        print(f"{name} batch: {counts['functions']} functions, {counts['files']} files")
        print("\n".join(f"  {each}" for each in counts["names"]))


if __name__ == "__main__":
    main(sys.argv[1:])
