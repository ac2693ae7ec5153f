"""tools/analysis_tools/plot_training.py on real and on written work dirs."""

import json
import sys
from pathlib import Path

import cv2
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch.utils.flop_counter import FlopCounterMode

pytest.importorskip("matplotlib")
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "test_analysis"))

from run_files import drawn, train, validation, write_start  # noqa: E402

from mms_plugin import cli  # noqa: E402
from mms_plugin.commands import plot_training as tool  # noqa: E402

TOOL = "analysis_tools/plot_training.py"


def readable(path):
    return cv2.imread(str(path)).shape[0] > 100


def counted_by_hand(config):
    """FLOPs of an image by the flop counter on the real training step."""
    init_default_scope("mmpretrain")
    model = dict(config.model, data_preprocessor=config.data_preprocessor)
    model = MODELS.build(model)
    with FlopCounterMode(display=False) as counter:
        features = model.head(model.neck(model.backbone(torch.ones(4, 3, 32, 32))))
        features.sum().backward()
    return counter.get_total_flops() / 4


def test_a_real_training(trained, run_tool, tmp_path):
    """12 images of 32 x 32 in batches of 4, two epochs."""
    done = run_tool(TOOL, trained, "--out", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr[-3000:]
    document = json.loads(done.stdout)
    (run,) = document["runs"]
    assert (run["iterations"], run["epochs"], run["by_epoch"]) == (6, 2, True)
    assert run["sizes"] == [dict(height=32, width=32, iterations=6, images=24)]
    assert document["cost"] == "flops"
    per_image = counted_by_hand(Config.fromfile(str(next(trained.glob("*.py")))))
    assert run["train_flops"] == pytest.approx(24 * per_image, rel=1e-6)
    top1 = run["metrics"]["accuracy/top1"]
    assert [(one["epoch"], one["iteration"]) for one in top1] == [(1, 3), (2, 6)]
    assert top1[0]["train_flops"] == pytest.approx(12 * per_image, rel=1e-6)
    assert run["learning_rate"]["lr"] == dict(first=0.05, last=0.05, min=0.05, max=0.05)
    assert set(document["pictures"]) == {"sizes", "losses", "metrics"}
    for path in document["pictures"].values():
        assert Path(path).parent == tmp_path / "out"
        assert readable(path)
    assert len(list((tmp_path / "out").iterdir())) == 3


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Two trainings with AGVM, one of them by iterations; no config."""
    root = tmp_path_factory.mktemp("written")
    for name, epoch in (("epochs", 1), ("iterations", None)):
        records = []
        for step in range(1, 21):
            records.append(drawn(step, 8, 4, 2))
            agvm = {"agvm/mu/neck": 1 + step / 10, "agvm/phi/neck": 0.5}
            losses = dict(loss_cls=float("nan"), loss_box=0.5)
            records.append(train(step, epoch, **agvm, **losses))
        metrics = {"coco/mAP": 0.3, "coco/mAP_50": 0.5, "coco/mAP_l": -1.0}
        records.append(validation(1, **metrics))
        write_start(root / name, "20260101_000000", records)
    return root


def test_several_side_by_side(written, tmp_path, capfd):
    runs = [str(written / name) for name in ("epochs", "iterations")]
    tool.main([*runs, "--labels", "a", "b", "--out", str(tmp_path), "--json"])
    out, err = capfd.readouterr()
    document = json.loads(out)
    assert "the axis shows pixels instead" in err
    assert document["cost"] == "pixels"
    first, second = document["runs"]
    assert (first["label"], second["label"]) == ("a", "b")
    assert (first["epochs"], second["epochs"]) == (1, None)
    assert first["train_pixels"] == 20 * 2 * 8 * 4
    assert first["train_flops"] is None
    assert first["agvm"] == dict(mu=dict(neck=3.0), phi=dict(neck=0.5))
    # Nothing to measure, and what is no number.
    assert first["metrics"]["coco/mAP_l"][0]["value"] is None
    assert first["losses"]["loss_cls"]["last"] is None
    assert set(document["pictures"]) == {"sizes", "losses", "metrics", "agvm"}
    assert all(map(readable, document["pictures"].values()))


def test_metrics_that_detail_another_are_left_to_the_user(written):
    runs = tool.read_runs(tool.parse_args([str(written / "epochs")]))
    assert tool.chosen_metrics(runs, None) == ["coco/mAP"]
    assert tool.chosen_metrics(runs, ["coco/mAP_50"]) == ["coco/mAP_50"]
    with pytest.raises(cli.UserError, match="--metrics top1 .* coco/mAP, coco/mAP_50"):
        tool.chosen_metrics(runs, ["top1"])


def test_pictures_go_to_the_work_dir(tmp_path, capsys):
    write_start(tmp_path, "20260101_000000", [train(1), train(2)])
    tool.main([str(tmp_path), "--cost", "pixels"])
    assert "training_losses.png" in capsys.readouterr().out
    assert [p.name for p in tmp_path.glob("*.png")] == ["training_losses.png"]


def test_only_finite_losses_have_a_least_and_a_largest(tmp_path, capfd):
    nan = float("nan")
    losses = [nan, 0.5, 0.3, nan, 0.4, float("inf")]
    records = [
        dict(train(step, 1), loss=loss, loss_cls=None, loss_box=nan)
        for step, loss in enumerate(losses, 1)
    ]
    write_start(tmp_path, "20260101_000000", records)
    tool.main([str(tmp_path), "--cost", "pixels", "--json"])
    (run,) = json.loads(capfd.readouterr().out)["runs"]
    nothing = dict(first=None, last=None, min=None, max=None)
    assert run["losses"] == dict(
        loss=dict(first=None, last=None, min=0.3, max=0.5), loss_box=nothing
    )


def test_iterations_of_another_work_dir_are_left_out_with_a_note(tmp_path, capfd):
    records = [*(drawn(step, 8, 4, 2) for step in range(31, 46)), train(45)]
    write_start(tmp_path, "20260101_000000", records, config="resume = True")
    tool.main([str(tmp_path), "--labels", "a", "--cost", "pixels", "--json"])
    out, err = capfd.readouterr()
    document = json.loads(out)
    (run,) = document["runs"]
    assert run["iterations"] == 45
    assert run["sizes"] == [dict(height=8, width=4, iterations=15, images=30)]
    assert run["train_pixels"] == 15 * 2 * 8 * 4
    assert document["note"].startswith("a: iterations 1 to 30 are not in the log")
    assert document["note"] in err


def test_sizes_that_are_only_in_the_config_have_a_note(tmp_path, capfd):
    """32 images of 32 x 32 and 8 of 64 x 64 have as many pixels."""
    pytest.importorskip("mmcv")
    config = """
train_dataloader = dict(
    batch_size=8,
    batch_sampler=dict(
        type='MultiScaleVariableBatchSampler', base_size=64, sizes=[32, 64]),
    dataset=dict(type='MultiScaleDataset', dataset=dict(type='ToyDataset', pipeline=[
        dict(type='MultiScaleTransform', transform=dict(type='Resize'))])))
"""
    write_start(tmp_path, "20260101_000000", [train(10)], config)
    tool.main([str(tmp_path), "--labels", "a", "--cost", "pixels", "--json"])
    document = json.loads(capfd.readouterr().out)
    assert document["runs"][0]["train_pixels"] == 10 * 8 * 64 * 64
    assert document["note"].startswith("a: no sizes in the log")
    assert document["note"].endswith("without a curriculum")


def test_labels_are_the_ends_that_differ():
    assert tool.default_labels(["/x/a", "/x/b"]) == ["a", "b"]
    assert tool.default_labels(["/x/a/run", "/x/b/run"]) == ["a/run", "b/run"]
    with pytest.raises(cli.UserError, match="twice"):
        tool.default_labels(["/x/a", "/x/../x/a"])


@pytest.mark.parametrize(
    "options, says",
    [
        (["--labels", "a", "b"], "one for each of 1 work dirs, but got 2"),
        (["--metrics", "none"], "--metrics none is not in the logs"),
        (["--out", __file__], "--out .* cannot be created"),
    ],
)
def test_bad_options(written, options, says):
    with pytest.raises(cli.UserError, match=says):
        tool.main([str(written / "epochs"), *options])


def test_no_log_is_one_line_and_exit_code_2(run_tool, tmp_path):
    done = run_tool(TOOL, tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert f"work dir {tmp_path} is empty" in done.stderr
