"""The commands with a small segmentor of mmsegmentation, its config converted."""

import json
import sys
from pathlib import Path

import pytest
import torch

from mms_plugin import cli
from mms_plugin.analysis.training_iterations import (
    SyntheticBatches,
    TrainingIterations,
)
from mms_plugin.commands import test as evaluate
from mms_plugin.commands import train
from mms_plugin.commands.calibrate_batch_sizes import let_batches_keep_their_size

pytest.importorskip("mmseg")
sys.path.insert(0, str(Path(__file__).parents[1] / "test_recipes"))
import families
import made_data

pytestmark = pytest.mark.timeout(300)

RECIPE = [
    "--recipe", "vbs+agvm",
    "--recipe-options", "sizes=[32,64]", "interval=1", "start_iter=1",
]  # fmt: skip


@pytest.fixture(scope="module")
def config_file(tmp_path_factory):
    """UPerNet at 64 pixels, three iterations, with test data."""
    root = tmp_path_factory.mktemp("segmentation")
    data = made_data.write_images(root / "data")
    config = families.small_config("UPerNet", data)
    config.val_dataloader.update(num_workers=0, persistent_workers=False)
    families.on_made_data(config.val_dataloader.dataset, data)
    config.test_dataloader = config.val_dataloader
    config.train_cfg.update(max_iters=3, val_interval=100)
    config.val_cfg = config.val_dataloader = config.val_evaluator = None
    config.default_hooks.checkpoint.interval = 3
    config.default_hooks.logger.interval = 1
    config.randomness = dict(seed=0)
    config.dump(root / "upernet.py")
    return root / "upernet.py"


@pytest.fixture(scope="module")
def trained(config_file, run_tool, tmp_path_factory):
    work_dir = tmp_path_factory.mktemp("work")
    done = run_tool("train.py", config_file, "--work-dir", work_dir, *RECIPE)
    assert done.returncode == 0, done.stderr[-3000:]
    return work_dir


def test_the_heads_are_modules_of_agvm(trained):
    agvm = torch.load(trained / "iter_3.pth")["optimizer"]["agvm"]
    assert agvm["num_measured"] >= 1
    (log,) = trained.glob("*/vis_data/scalars.json")
    logged = {}
    for line in log.read_text().splitlines():
        logged.update(json.loads(line))
    for module in ("backbone", "decode_head", "auxiliary_head"):
        assert logged[f"agvm/phi/{module}"] > 0 and logged[f"agvm/mu/{module}"] > 0


def test_sizes_of_the_evaluation(config_file, trained, tmp_path):
    out, checkpoint = tmp_path / "sizes.json", tmp_path / "checkpoint.pth"
    saved = torch.load(trained / "iter_3.pth")
    # Not one class everywhere: each place sees what lies there.
    saved["state_dict"]["decode_head.conv_seg.weight"] *= 100
    torch.save(saved, checkpoint)
    command = [config_file, checkpoint, "--sizes", 32, 64, "--out", out]
    evaluate.main([str(item) for item in [*command, "--work-dir", tmp_path]])
    report = json.loads(out.read_text())
    assert report["transforms"]["32"].startswith("Resize(")
    found = {item["size"]: item["metrics"] for item in report["results"]}
    assert list(found) == [32, 64] and found[32] != found[64]
    assert all(0 <= metrics["mIoU"] <= 100 for metrics in found.values())


def test_a_transform_that_sets_another_size_stops_the_training(
    config_file, tmp_path, capfd
):
    """The first batch is checked before the training."""
    (tmp_path / "enlarging.py").write_text(
        "from mmengine.registry import TRANSFORMS\n"
        "@TRANSFORMS.register_module(force=True)\n"
        "class Enlarge:\n"
        "    def __call__(self, results):\n"
        "        results['img'] = results['img'].repeat(2, 0).repeat(2, 1)\n"
        "        seg = results['gt_seg_map'].repeat(2, 0).repeat(2, 1)\n"
        "        results['gt_seg_map'] = seg\n"
        "        return results\n"
    )
    config = cli.load_config(str(config_file))
    config.train_dataloader.dataset.pipeline.insert(-1, dict(type="Enlarge"))
    config.custom_imports = dict(imports=["enlarging"], allow_failed_imports=False)
    config.dump(tmp_path / "enlarged.py")
    sys.path.insert(0, str(tmp_path))
    try:
        with pytest.raises((cli.UserError, ValueError)) as error:
            train.main(
                [str(tmp_path / "enlarged.py"), "--work-dir", str(tmp_path), *RECIPE]
            )
    finally:
        sys.path.remove(str(tmp_path))
    assert "does not follow the batch's" in str(error.value)
    assert not list(tmp_path.glob("iter_*.pth"))


@pytest.mark.parametrize("converted", [False, True])
def test_calibration_measures_the_sizes_that_are_asked_for(
    config_file, trained, tmp_path, converted
):
    """The preprocessor pads to 64 x 64 by itself."""
    config = cli.load_config(str(trained / "upernet.py" if converted else config_file))
    let_batches_keep_their_size(config, (48, 48))
    iterations = TrainingIterations(config, str(tmp_path))
    make_batch = SyntheticBatches(iterations.model)
    shapes = []
    iterations.model.backbone.register_forward_pre_hook(
        lambda module, inputs: shapes.append(tuple(inputs[0].shape[2:]))
    )
    for side in (32, 96):
        iterations.prepare(make_batch(side, side, 2))()
    # AGVM runs some batches twice.
    assert list(dict.fromkeys(shapes)) == [(32, 32), (96, 96)]
