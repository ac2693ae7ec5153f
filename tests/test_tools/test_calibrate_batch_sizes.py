import json

import pytest
from mmengine.config import Config

from mms_plugin import cli
from mms_plugin.analysis import read_times
from mms_plugin.commands import calibrate_batch_sizes as tool
from mms_plugin.multi_scale import MultiScaleVariableBatchSampler

TOOL = "analysis_tools/calibrate_batch_sizes.py"


@pytest.fixture(scope="module")
def multi_scale_config(config_file, tmp_path_factory):
    """The tiny ResNet with the batch sampler, on its real pictures."""
    config = Config.fromfile(config_file)
    dataset = config.train_dataloader.dataset
    dataset.pipeline[1] = dict(
        type="MultiScaleTransform", transform=dict(type="RandomResizedCrop")
    )
    config.train_dataloader.dataset = dict(type="MultiScaleDataset", dataset=dataset)
    config.train_dataloader.batch_sampler = dict(
        type="MultiScaleVariableBatchSampler",
        base_size=64,
        sizes=[(32, 64), 64, 96],
        weights=[1, 2, 1],
    )
    path = tmp_path_factory.mktemp("calibrate") / "tiny_vbs.py"
    config.dump(path)
    return path


def test_measures_and_its_output_fits_the_sampler(multi_scale_config, run_tool):
    done = run_tool(TOOL, multi_scale_config, "--json", "--repeats", 2)
    assert done.returncode == 0, done.stderr[-3000:]
    document = json.loads(done.stdout)
    assert document["batches"] == "real, of 12 images"
    assert [(s["height"], s["width"]) for s in document["sizes"]] == [
        (32, 64), (64, 64), (96, 96),
    ]  # fmt: skip
    # Between the fixed batch of 4 and the pixel budget's 8, 4 and 1.
    assert [s["batch_sizes"] for s in document["sizes"]] == [
        [4, 6, 8], [2, 4], [1, 2, 4],
    ]  # fmt: skip
    for size in document["sizes"]:
        assert all(0 < seconds < 10 for seconds in size["seconds"])
        assert size["memory"] == [None] * len(size["seconds"])
        assert size["loading_per_image"] > 0
    assert len(document["batch_sizes"]) == 3 and document["batch_sizes"][1] == 4
    for rule in (document["sampler"], dict(batch_sizes=document["batch_sizes"])):
        sampler = MultiScaleVariableBatchSampler(
            list(range(50)), 4, 64, [(32, 64), 64, 96], seed=0, **rule
        )
        assert sampler.batch_sizes[1] == 4
    # An epoch's prediction, from the file alone.
    costs = read_times(document)
    pixel = document["prediction"]["pixel_budget"]
    assert pixel["batch_sizes"] == [8, 4, 1]
    # Two in four of 4 images, one of 8 and one of 1: 17 images in 4 iterations.
    assert pixel["iterations"] == pytest.approx(12 * 4 / 17)
    seconds = [costs.at(32, 64, 8), costs.at(64, 64, 4), costs.at(96, 96, 1)]
    expected = 12 / 17 * (seconds[0] + 2 * seconds[1] + seconds[2])
    assert pixel["seconds"] == pytest.approx(expected)
    assert pixel["slowest_iteration"] == pytest.approx(max(seconds))
    table = document["prediction"]["batch_sizes"]
    assert document["prediction"]["saving"] == pytest.approx(
        1 - table["seconds"] / pixel["seconds"]
    )


def test_plain_config_with_sizes_on_synthetic_batches(config_file, capsys):
    tool.main(
        [
            str(config_file), "--sizes", "32", "32x64", "96", "--base-size", "64",
            "--measure", "2", "4", "--repeats", "2", "--warmup", "0",
            "--clock", "cpu", "--num-samples", "500", "--amp",
        ]
    )  # fmt: skip
    shown = capsys.readouterr()
    assert "synthetic (the config has no MultiScaleVariableBatchSampler)" in shown.out
    assert "CPU time" in shown.out
    for name in ("32x32", "32x64", "64x64", "96x96"):
        assert shown.out.count(name + " ") >= 2
    # Which of the two depends on the times of this machine.
    pasted = "cost_model=dict(alpha=1.0, beta=" in shown.out
    pasted |= "no cost_model" in shown.out
    assert (pasted and "batch_sizes=[" in shown.out) != (
        "the device mostly waits for Python" in shown.out
    )
    assert "an epoch of 500 images" in shown.out
    # 500 / 4 at the base size; 500 over the mean of 16, 8 and 1 by the pixel budget
    assert "fixed size 125" in squeezed(shown.out)
    assert "pixel budget 60" in squeezed(shown.out)
    assert "round 2 of 2" in shown.err


def test_the_config_that_a_recipe_makes(config_file, run_tool):
    options = ["--recipe", "vbs", "--recipe-options", "sizes=[48,64]", "--repeats", "1"]
    done = run_tool(TOOL, config_file, "--json", *options)
    document = json.loads(done.stdout)
    # With the base size of the config.
    assert {size["height"] for size in document["sizes"]} == {32, 48, 64}
    assert document["batches"].startswith("real, of ")


def test_sizes_that_the_config_draws_by_itself_are_left_out(tmp_path, capsys):
    """YOLOX resizes its batches at random, which would hide the size measured."""
    pytest.importorskip("mmdet")
    config = tmp_path / "yolox.py"
    config.write_text(
        "_base_ = 'mmdet::yolox/yolox_tiny_8xb8-300e_coco.py'\n"
        "model = dict(backbone=dict(deepen_factor=0.1, widen_factor=0.125),\n"
        "    neck=dict(in_channels=[32, 64, 128], out_channels=16, num_csp_blocks=1),\n"
        "    bbox_head=dict(in_channels=16, feat_channels=16))\n"
    )
    tool.main(
        [
            str(config), "--sizes", "64", "96", "--base-size", "64", "--measure", "1",
            "2", "--repeats", "1", "--warmup", "0", "--num-samples", "50",
            "--data", "synthetic",
        ]
    )  # fmt: skip
    shown = capsys.readouterr()
    assert "batch_augments[0]: BatchSyncRandomResize" in shown.err
    assert "96x96 " in shown.out


def test_a_batch_that_does_not_fit_is_noted(multi_scale_config, capsys):
    class TooLarge(tool.TrainingIterations):
        def prepare(self, data):
            if len(data["inputs"]) == 8:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
            return super().prepare(data)

    real, tool.TrainingIterations = tool.TrainingIterations, TooLarge
    try:
        tool.main([str(multi_scale_config), "--repeats", "1", "--warmup", "0"])
    finally:
        tool.TrainingIterations = real
    assert "32x64 8 out of memory" in squeezed(capsys.readouterr().out)


def squeezed(text):
    """The text without the spaces that align its columns."""
    return " ".join(text.split())


@pytest.mark.parametrize(
    "options, says",
    [
        (["--memory-budget", "8"], "--memory-budget needs an accelerator"),
        (["--base-size", "64", "--sizes", "64"], "at least two sizes"),
        (["--cfg-options", "optim_wrapper=None"], "no train_dataloader and optim"),
        (
            ["--cfg-options", "train_dataloader.batch_sampler.sizes=[0]"],
            "the sizes cannot be read from the config: sizes[0]",
        ),
        (
            ["--cfg-options", "train_dataloader.batch_sampler.type=NoSampler"],
            "no MultiScaleVariableBatchSampler: name the sizes",
        ),
        (
            ["--cfg-options", "model.backbone.depth=19"],
            "the training cannot be built",
        ),
        (
            ["--cfg-options", "train_dataloader.dataset.dataset.type=NoData"],
            "--data synthetic does without",
        ),
        (
            ["--data", "real", "--cfg-options",
             "train_dataloader.dataset.dataset.data_root=nowhere"],
            "nowhere",
        ),
        (["--checkpoint", "nowhere.pth"], "--checkpoint nowhere.pth does not exist"),
        (["--sizes", "32x16", "64"], "32x16 lies below the model's stride of 32"),
        (["--data", "synthetic", "--positive-rois", "3"], "needs a detector"),
        (["--positive-rois", "3"], "is for synthetic batches: add --data synthetic"),
    ],
)  # fmt: skip
def test_bad_input(multi_scale_config, options, says):
    with pytest.raises(cli.UserError) as error:
        tool.main([str(multi_scale_config), "--repeats", "1", *options])
    assert says in str(error.value)


@pytest.mark.parametrize(
    "options", [["--base-size", "64", "--sizes", "64"], ["--measure", "8"]]
)
def test_what_cannot_be_fitted_is_refused_before_it_is_measured(
    multi_scale_config, options, monkeypatch
):
    monkeypatch.setattr(tool, "measure", lambda *args: pytest.fail("has measured"))
    with pytest.raises(cli.UserError, match="^--sizes and --measure: measurements"):
        tool.main([str(multi_scale_config), *options])


def test_a_checkpoint_that_is_none_is_named(multi_scale_config):
    with pytest.raises(cli.UserError, match="^checkpoint .* does not load") as error:
        tool.main([str(multi_scale_config), "--checkpoint", str(multi_scale_config)])
    assert str(multi_scale_config) in str(error.value)


def test_a_model_without_synthetic_batches(tmp_path):
    path = tmp_path / "toy.py"
    path.write_text(
        "model = dict(type='ToyModel')\n"
        "default_scope = 'mmengine'\n"
        "train_cfg = dict(by_epoch=True, max_epochs=1)\n"
        "optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1))\n"
        "train_dataloader = dict(batch_size=4)\n"
    )
    with pytest.raises(cli.UserError, match="no synthetic batches .*ToyModel"):
        tool.main([str(path), "--sizes", "8", "16"])


@pytest.mark.parametrize(
    "options, says",
    [
        (["--sizes", "0"], "HEIGHTxWIDTH, not '0'"),
        (["--sizes", "12x"], "not '12x'"),
        (["--repeats", "0"], "at least 1, not '0'"),
        (["--memory-budget", "-1"], "above 0"),
    ],
)
def test_bad_arguments_are_one_line(capsys, options, says):
    with pytest.raises(SystemExit) as stopped:
        tool.main(["config.py", *options])
    assert stopped.value.code == 2
    message = capsys.readouterr().err
    assert says in message and message.count("\n") == 1


def test_bad_input_is_one_line_and_exit_code_2(run_tool):
    done = run_tool(TOOL, "nowhere.py", "--json")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.strip().count("\n") == 0
    assert "config nowhere.py does not exist" in done.stderr
