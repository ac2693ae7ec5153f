"""tools/train.py --recipe vbs-cur with a budget: mmpretrain's ResNet, small."""

import re

import pytest

pytestmark = pytest.mark.timeout(300)


def test_a_training_costs_its_budget_and_ends_at_the_base_size(
    config_file, run_tool, tmp_path
):
    done = run_tool(
        "train.py", config_file, "--work-dir", tmp_path, "--recipe", "vbs-cur",
        "--recipe-options", "budget=0.7", "estimate=pixels", "sizes=[32,48,64]",
        "--cfg-options", "train_cfg.max_epochs=8", "train_cfg.val_interval=8",
        "default_hooks.checkpoint.interval=8",
        "train_dataloader.dataset.pipeline.1.scale=64",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    (predicted,) = re.findall(r"predicted cost: (\S+) of the config", done.stderr)
    (log,) = tmp_path.glob("*/*.log")
    batches = [
        tuple(int(float(value)) for value in found)
        for found in re.findall(
            r"Epoch\(train\).* height: (\S+) +width: (\S+) +batch_size: (\S+)",
            log.read_text(),
        )
    ]
    # Twelve pictures in each of eight epochs, at 64 in the config's own.
    assert sum(images for *_, images in batches) == 8 * 12
    cost = sum(height * width * images for height, width, images in batches)
    share = cost / (8 * 12 * 64 * 64)
    assert share == pytest.approx(float(predicted), abs=0.001)
    assert share == pytest.approx(0.7, abs=0.05)
    assert batches[-1][:2] == (64, 64)
    sides = [height for height, _, _ in batches]
    assert min(sides) < 64 and set(sides) <= {32, 48, 64}
