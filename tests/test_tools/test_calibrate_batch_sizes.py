import json

import pytest
from mmengine.config import Config

from mms_plugin import cli
from mms_plugin.analysis import CostFit, read_times
from mms_plugin.commands import calibrate_batch_sizes as tool
from mms_plugin.multi_scale import GrowingSizes, MultiScaleVariableBatchSampler

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


def on_an_accelerator(*options, overhead=0.1, failed=((50, 50, 32),)):
    """What is made of measurements that an accelerator might have given."""
    args = tool.parse_args(["config.py", *options])
    schedule = GrowingSizes(8, 100, [50, 100, 200], weights=[1, 2, 1])
    points = tool.points_of(schedule, args.measure)
    time, memory = CostFit(overhead, 1e-6, 0.01), CostFit(1e9, 4e3, 1e7)
    timings = {
        (*size, b): tool.Timing(time.at(*size, b), 0.01, int(memory.at(*size, b)))
        for size, batch_sizes in points.items()
        for b in batch_sizes
    }
    timings.update({point: tool.Timing(None) for point in failed})
    measured = dict(timings=timings, device="GPU", batches="made up", num_samples=900)
    return tool.evaluate(args, schedule, points, dict(measured, loading={}))


def test_time_and_memory_of_an_accelerator(capsys):
    document = on_an_accelerator()
    assert [s["batch_sizes"] for s in document["sizes"]] == [
        [8, 16, 32], [4, 8], [2, 4, 8],
    ]  # fmt: skip
    assert document["sizes"][0]["seconds"][2] is None
    assert document["memory_model"] == pytest.approx(
        dict(overhead=1e9, alpha=4e3, beta=1e7), rel=1e-3
    )
    assert document["cost_model"] == pytest.approx(
        dict(overhead=0.1, alpha=1e-6, beta=0.01)
    )
    assert document["sampler"]["cost_model"] == dict(alpha=1.0, beta=10000.0)
    # 8 * 20 ms over 12.5 ms and over 50 ms
    assert document["batch_sizes"] == [12, 8, 3]
    prediction = document["prediction"]
    assert prediction["cost_model"]["batch_sizes"] == [12, 8, 3]
    assert prediction["pixel_budget"]["batch_sizes"] == [32, 8, 2]
    # 12 + 2 * 8 + 3 = 31 images in 4 iterations; 0.25, 2 * 0.26 and 0.25 s
    row = prediction["batch_sizes"]
    assert row["iterations"] == pytest.approx(900 * 4 / 31)
    assert row["seconds"] == pytest.approx(900 / 31 * (0.25 + 2 * 0.26 + 0.25))
    assert row["slowest_iteration"] == pytest.approx(0.26)
    # 1 GB and 3 images of 170 MB; by the pixel budget 32 of 20 MB
    assert row["peak_memory"] == pytest.approx(1.51e9)
    assert prediction["pixel_budget"]["peak_memory"] == pytest.approx(1.64e9)
    tool.show(document, None)
    shown = capsys.readouterr().out
    assert "50x50 32 out of memory" in squeezed(shown) and " peak GB\n" in shown
    assert "cost_model=dict(alpha=1.0, beta=10000)" in shown
    assert "batch_sizes=[12, 8, 3]  # each as long as 8 images of 100x100" in shown
    # 32 images of 50x50 were measured, and did not fit.
    assert prediction["pixel_budget"]["out_of_memory"] == ["32 images of 50x50"]
    assert "  32, 8, 2  (out of memory)" in shown
    assert shown.count("out of memory") == 2


def test_nothing_that_did_not_fit_is_to_be_pasted(capsys):
    failed = [(50, 50, 32), (200, 200, 8), (200, 200, 4)]
    document = on_an_accelerator("--memory-budget", "1.9", failed=failed)
    # 41, 18 and 5 images would fill it by the fit; 16 and 2 were measured and fit.
    assert document["batch_sizes"] == [16, 18, 2]
    tool.show(document, 1.9)
    assert "batch_sizes=[16, 18, 2]  # each within 1.9 GB" in capsys.readouterr().out
    document = on_an_accelerator(failed=[(50, 50, 16), (50, 50, 32)])
    assert document["batch_sizes"] == [12, 8, 3]
    measured = ("--measure", "2", "8", "12")
    document = on_an_accelerator(*measured, failed=[(50, 50, 12), (200, 200, 12)])
    assert document["batch_sizes"] == [8, 8, 3]
    tool.show(document, None)
    shown = capsys.readouterr().out
    assert "(no cost_model: with it, 12 images of 50x50 would not fit" in shown
    assert "cost_model=" not in shown


def test_a_base_batch_that_does_not_fit(capsys):
    with pytest.raises(tool.cli.UserError, match="8 images of 100x100, the base batch"):
        on_an_accelerator(failed=[(100, 100, 8)])


def test_times_that_are_mostly_overhead_level_no_batches(capsys):
    # 8 images of 100 x 100 px take 0.16 s beside the overhead.
    document = on_an_accelerator(overhead=0.15)
    assert document["overhead_share"] == pytest.approx(0.15 / 0.31, rel=1e-3)
    tool.show(document, None)
    assert "batch_sizes=[" in capsys.readouterr().out
    document = on_an_accelerator(overhead=0.48)
    tool.show(document, None)
    shown = capsys.readouterr().out
    assert "75% of an iteration of 8 images of 100x100 does not depend on" in shown
    assert "batch_sizes=[" not in shown and "cost_model=" not in shown
    assert "an epoch of 900 images" in shown
    # Memory does not depend on how long an iteration takes.
    tool.show(document, 2.0)
    assert "each within 2 GB" in capsys.readouterr().out


def test_memory_budget(capsys):
    document = on_an_accelerator("--memory-budget", "2", failed=())
    # 1 GB left for images of 20, 50 and 170 MB
    assert document["batch_sizes"] == [50, 20, 5]
    assert document["prediction"]["batch_sizes"]["peak_memory"] <= 2e9 * (1 + 1e-6)
    tool.show(document, 2.0)
    assert "batch_sizes=[50, 20, 5]  # each within 2 GB" in capsys.readouterr().out
    with pytest.raises(cli.UserError, match="no image of 200x200 fits into 1.1 GB"):
        on_an_accelerator("--memory-budget", "1.1")


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
