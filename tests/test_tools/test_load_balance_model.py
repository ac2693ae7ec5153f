import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pytest

from mms_plugin.cli import UserError
from tools.benchmarks.load_balance_model import load_balance

ROOT = Path(__file__).resolve().parents[2]
SIZES = dict(batch_size=32, base_size=224, sizes=dict(min=128, max=320, num=7))


@pytest.fixture(scope="module")
def tool():
    path = ROOT / "tools" / "benchmarks" / "load_balance.py"
    spec = importlib.util.spec_from_file_location("load_balance_tool", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_by_hand():
    # Images of 10 and of 5 pixels; the second rank has two images less in the end.
    balance = load_balance(np.array([10, 5]), np.array([[1, 4], [1, 2]]))
    assert balance.iterations == 2 and balance.images == 8
    assert (balance.fewest_images, balance.most_images) == (3, 5)
    assert balance.pixels_ratio == 20 / 30
    assert balance.uneven_iterations == 1
    # The second waits for 10 pixels of the 60 that both have time for.
    assert balance.waiting == pytest.approx(10 / 60)


@pytest.mark.parametrize(
    "pixels, batch_sizes",
    [
        (np.ones(2), np.ones((3, 1))),
        (np.ones(2), np.ones(2)),
        (np.ones(2), np.ones((0, 2))),
        (np.ones(0), np.ones((3, 0))),
    ],
)
def test_shapes_that_cannot_be(pixels, batch_sizes):
    with pytest.raises(ValueError, match="batch_sizes must have"):
        load_balance(pixels, batch_sizes)


@pytest.mark.parametrize("ranks", [1, 2, 8, 64, 512])
@pytest.mark.parametrize(
    "round_up, drop_last", [(True, False), (True, True), (False, True)]
)
def test_ranks_with_as_many_images_are_even(tool, ranks, round_up, drop_last):
    dataset = tool._Sizes(200_003, 0.7)
    pixels, batch_sizes = tool.all_ranks(
        dataset, ranks, round_up, drop_last=drop_last, **SIZES
    )
    balance = load_balance(pixels, batch_sizes)
    assert balance.fewest_images == balance.most_images
    assert balance.uneven_iterations == 0 and balance.waiting == 0
    if not drop_last:
        assert balance.most_images == -(-200_003 // ranks)


@pytest.mark.parametrize("ranks", [1, 2, 8, 64, 1024])
def test_without_rounding_up_ranks_differ_by_one_image(tool, ranks):
    dataset = tool._Sizes(200_003, 0.7)
    balance = load_balance(*tool.all_ranks(dataset, ranks, False, **SIZES))
    assert balance.images == 200_003
    assert balance.most_images - balance.fewest_images == (200_003 % ranks > 0)
    # One image of the last batch, or of the two last ones if the last had one image.
    assert balance.uneven_iterations == (200_003 % ranks > 0)


@pytest.mark.parametrize("ranks", [2, 8, 64])
def test_groups_make_only_the_last_batches_uneven(tool, ranks):
    dataset = tool._Sizes(50_000, 0.7)
    kwargs = dict(SIZES, group_by_aspect_ratio=True)
    pixels, batch_sizes = tool.all_ranks(dataset, ranks, True, **kwargs)
    balance = load_balance(pixels, batch_sizes)
    assert balance.fewest_images == balance.most_images
    # Full batches are those of most ranks; fewer images than two of the largest hold
    # are missing on each.
    full = np.maximum(1, 32 * 224 * 224 // pixels)
    assert ((full - batch_sizes).sum(axis=1) < 2 * (32 * 224**2 // 128**2)).all()
    even = tool.all_ranks(dataset, ranks, True, drop_last=True, **kwargs)
    assert load_balance(*even).uneven_iterations == 0


def test_the_command(tool, capfd):
    arguments = ["--num-samples", "100", "--ranks", "1", "2", "200"]
    tool.main([*arguments, "--json"])
    rows = json.loads(capfd.readouterr().out)["rows"]
    assert len(rows) == 24
    # Two hundred ranks for a hundred images: refused where some would have none.
    refused = [row for row in rows if "refused" in row]
    assert refused and all(row["ranks"] == 200 or row["grouped"] for row in refused)
    assert [r["images"] for r in rows[:2]] == [100, 100]
    tool.main(arguments)
    assert "| no | no | yes | 2 |" in re.sub(" +", " ", capfd.readouterr().out)
    for wrong in (["--ranks", "0"], ["--landscape", "1.5"]):
        with pytest.raises(UserError, match=wrong[0]):
            tool.main(wrong)
