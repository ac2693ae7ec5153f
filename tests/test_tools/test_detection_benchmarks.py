"""The benchmarks of detection's data: that they run and count right, not how fast."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / "tools" / "benchmarks"


def _run(name, *arguments):
    return subprocess.run(
        [sys.executable, str(TOOLS / name), *map(str, arguments)],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
    )


def test_aspect_ratios_are_read_and_workers_get_no_more():
    results = {}
    for arm in ("ours", "unpickling"):
        done = _run("aspect_ratios.py", "--num-images", 400, "--arm", arm)
        assert done.returncode == 0, done.stderr
        results[arm] = json.loads(done.stdout.splitlines()[-1])
    # The wrapper itself, and no sizes: 400 of them are 3,200 bytes.
    ours, unpickling = (results[arm]["pickle_bytes"] for arm in results)
    assert ours < unpickling + 1000
    assert all(result["read_seconds"] > 0 for result in results.values())


def test_padding_of_a_tiny_data_set(tmp_path):
    cv2 = pytest.importorskip("cv2")
    np = pytest.importorskip("numpy")
    pytest.importorskip("mmdet")
    # As wide as high, and twice as high as wide: alone each fills its batch.
    images = [dict(id=i, height=64, width=64 >> i % 2) for i in range(8)]
    for image in images:
        image["file_name"] = f"{image['id']}.png"
        picture = np.zeros((image["height"], image["width"], 3), np.uint8)
        cv2.imwrite(str(tmp_path / image["file_name"]), picture)
    boxes = [
        dict(id=i + 1, image_id=i, category_id=1, bbox=[0, 0, 9, 9], area=81, iscrowd=0)
        for i in range(8)
    ]
    categories = [dict(id=1, name="person")]
    content = dict(images=images, annotations=boxes, categories=categories)
    (tmp_path / "a.json").write_text(json.dumps(content))
    done = _run(
        *("padding.py", "--data-root", tmp_path, "--annotations", "a.json", "--json"),
        *("--images", ".", "--base-size", 64, "--sizes", 64, 128, 2),
        *("--batch-size", 3, "--seeds", 1, "--epochs", 1),
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["fixed, ours"]["wasted"] == result["many, ours"]["wasted"] == 0
    # Four of each kind in threes: one of each is left, and mmdet puts them together.
    assert result["fixed, mmdet"]["mixed_batches"] == 1
    # That batch of two has 64 x 64 each, of which one image covers a half.
    covered = 4 * 64 * 64 + 4 * 64 * 32
    assert result["fixed, mmdet"]["wasted"] == pytest.approx(
        1 - covered / (covered + 64 * 32)
    )


@pytest.mark.parametrize(
    "name, arguments, words",
    [
        ("aspect_ratios.py", ["--num-images", "0"], "--num-images must be at least 1"),
        ("padding.py", ["--data-root", "nowhere"], "nowhere.*is missing"),
        (
            "padding.py",
            ["--data-root", ".", "--batch-size", "0"],
            "--batch-size must be at least 1",
        ),
    ],
)
def test_bad_input(name, arguments, words):
    done = _run(name, *arguments)
    assert done.returncode == 2 and not done.stdout
    assert re.search(words, done.stderr)
