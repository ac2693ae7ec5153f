"""tools/analysis_tools/training_cost.py: its document, its table, its refusals."""

import json
from pathlib import Path

import pytest

from mms_plugin.cli import UserError
from mms_plugin.commands import training_cost as tool

pytest.importorskip("mmpretrain")

ROOT = Path(__file__).resolve().parents[2]
TOOL = "analysis_tools/training_cost.py"
DEMO = ROOT / "configs" / "demo"
VBS_CUR, FBS = (
    str(next(DEMO.glob(f"resnet18_{recipe}_*.py"))) for recipe in ("vbs-cur", "fbs")
)
FEW = ["--num-samples", "240"]


@pytest.fixture
def run():
    """The document of a command line, in this process."""
    return lambda *args: tool.run(tool.parse_args([str(arg) for arg in args]))


def test_the_document_alone_on_standard_output(run_tool, tmp_path):
    cv2 = pytest.importorskip("cv2")
    pytest.importorskip("matplotlib")
    picture = tmp_path / "cost.png"
    done = run_tool(
        TOOL, VBS_CUR, "--baseline", FBS, "--json", "--picture", picture, *FEW
    )
    assert done.returncode == 0, done.stderr[-3000:]
    document = json.loads(done.stdout)
    epochs = document["epochs"]
    assert [epoch["epoch"] for epoch in epochs] == list(range(18))
    assert document["iterations"] == sum(epoch["iterations"] for epoch in epochs)
    assert document["train_flops"] == pytest.approx(
        sum(epoch["train_flops"] for epoch in epochs)
    )
    assert document["images"] == 18 * 240
    baseline = document["baseline"]
    assert baseline["iterations"] == 18 * 15  # 240 samples, 16 a batch
    assert baseline["config"] == FBS
    for key in ("iterations", "train_flops"):
        assert document["ratio"][key] == document[key] / baseline[key]
    assert 0 < document["ratio"]["train_flops"] < 0.8
    assert cv2.imread(str(picture)).shape[1] > 800


def test_the_table(run):
    text = tool.report(run(VBS_CUR, "--baseline", FBS, *FEW, "--world-size", "2"))
    rows = [[c.strip() for c in line.split("|")[1:-1]] for line in text.splitlines()]
    totals = {row[0]: row[1:] for row in rows if len(row) == 4}
    assert totals["iterations"][1] == "144"  # 18 epochs of 120 samples a rank
    assert totals["images"] == ["4,320", "4,320", "1.000"]
    assert totals["training FLOPs"][1].endswith("GFLOPs")
    assert "240 samples: given" in text
    assert "18 epochs on 2 ranks, seed 0" in text
    by_size = [row for row in rows if row[:1] == ["64x64"]]
    assert len(by_size) == 2 and by_size[1][1:4] == ["16", "144", "4,320"]
    assert "config, by epoch:" in text


def test_without_a_baseline(run):
    document = run(FBS, *FEW)
    assert document["baseline"] is None and document["ratio"] is None
    assert "baseline" not in tool.report(document)


def test_a_recipe_against_the_config_without_it(run):
    # 240 images: 16 at 64 pixels in 15 iterations; 64 at 32 pixels in 4, the last cut.
    options = ["--recipe-options", "sizes=[32]", "base_size=64"]
    document = run(FBS, "--recipe", "vbs", *options, *FEW)
    assert document["baseline"]["config"] == FBS
    assert document["config"] == f"{FBS} --recipe vbs"
    assert document["iterations"] == 18 * 4
    assert document["baseline"]["iterations"] == 18 * 15
    assert document["ratio"]["train_pixels"] == 0.25


def test_a_recipe_for_a_config_of_several_sizes(run, tmp_path):
    """The baseline is taken to have the base size that the recipe finds."""
    pytest.importorskip("mmdet")
    config = tmp_path / "yolox.py"
    config.write_text("_base_ = 'mmdet::yolox/yolox_tiny_8xb8-300e_coco.py'\n")
    options = ["--recipe", "vbs-cur", "--recipe-options", "sizes=[416,640]"]
    document = run(config, *options, "--num-samples", "64")
    base = document["baseline"]
    (size,) = base["sizes"]
    assert (size["height"], size["width"]) == (640, 640)
    (note,) = (text for text in base["assumptions"] if "no single size" in text)
    assert note.endswith("at the recipe's base size, 640x640")
    assert document["ratio"]["train_flops"] < 1
    for size in document["sizes"]:  # padded to squares
        assert size["counted_as"] == [size["height"], size["width"]]


def test_a_base_size_is_counted_as_the_images_that_it_is_compared_with(run):
    pytest.importorskip("mmdet")
    config = "mmdet::retinanet/retinanet_r18_fpn_1x_coco.py"
    options = [config, "--recipe", "vbs", "--num-samples", "100"]
    own, given = run(*options), run(*options, "--base-size", "800x1333")
    assert given["ratio"] == own["ratio"]
    (note,) = (t for t in given["baseline"]["assumptions"] if "--base-size keep" in t)
    assert note.endswith("counted as 800x1067")


def test_times_are_those_of_one_model(run, tmp_path, capsys):
    times = tmp_path / "times.json"
    size = dict(height=64, width=64, batch_sizes=[8, 16], seconds=[0.2, 0.3])
    model = dict(overhead=0.1, alpha=3e-6, beta=0.0)
    times.write_text(json.dumps(dict(clock="cpu", sizes=[size], cost_model=model)))
    other = tmp_path / "other.py"
    other.write_text(f"_base_ = {FBS!r}\nmodel = dict(head=dict(num_classes=13))\n")
    document = run(VBS_CUR, "--baseline", other, "--times", times, *FEW)
    assert document["seconds"] > 0 and document["baseline"]["seconds"] is None
    assert document["ratio"]["seconds"] is None
    told = capsys.readouterr().err
    assert "other.py has another one, so that its time is not known" in told
    assert "has processor time (--clock cpu)" in told


def test_the_time_from_measured_iterations(run, tmp_path):
    path = tmp_path / "times.json"
    # An iteration takes 0.1 s and a microsecond a pixel.
    path.write_text(
        json.dumps(
            dict(
                device="a test",
                sizes=[
                    dict(
                        height=side,
                        width=side,
                        batch_sizes=[1, 16],
                        seconds=[0.1 + n * side**2 * 1e-6 for n in (1, 16)],
                    )
                    for side in (48, 64, 80)
                ],
                cost_model=dict(overhead=0.1, alpha=1e-6, beta=0.0),
            )
        )
    )
    document = run(VBS_CUR, "--baseline", FBS, *FEW, "--times", path)
    for cost in (document, document["baseline"]):
        expected = 0.1 * cost["iterations"] + 1e-6 * cost["train_pixels"]
        assert cost["seconds"] == pytest.approx(expected, rel=1e-6)
    # 270 iterations of 0.1 s, 4,320 images of 64 x 64: 27 and 17.7 s.
    assert document["baseline"]["seconds"] == pytest.approx(44.7, abs=0.1)
    assert "44.7 s" in tool.report(document)


@pytest.mark.parametrize(
    "config",
    ["retinanet_r50_fpn_1x_coco.py", "retinanet_r50_fpn_ms-640-800-3x_coco.py"],
)
def test_a_recipe_with_only_the_base_size_costs_the_same(run, tmp_path, config):
    """Images keep their ratio within 800 x 1333, in the config and in the baseline."""
    pytest.importorskip("mmdet")
    path = tmp_path / "times.json"
    model = dict(overhead=0.1, alpha=1e-6, beta=0.0)
    path.write_text(json.dumps(dict(sizes=[], cost_model=model)))
    options = ["sizes=[[800,1333]]", "check_model=names"]
    document = run(
        *(f"mmdet::retinanet/{config}", "--recipe", "vbs", "--recipe-options"),
        *(*options, "--num-samples", "64", "--times", path),
    )
    for key in ("train_flops", "train_pixels", "peak_pixels"):
        assert document["ratio"][key] == 1.0
    for cost in (document, document["baseline"]):
        # 800 high, 4:3 wide. An iteration's time goes by the batch of 800 x 1333.
        assert cost["train_pixels"] == cost["images"] * 800 * 1067
        seconds = cost["iterations"] * 0.1 + cost["images"] * 800 * 1333 * 1e-6
        assert cost["seconds"] == pytest.approx(seconds)


def test_a_training_by_iterations(run):
    document = run(
        FBS,
        *FEW,
        "--cfg-options",
        "train_cfg.by_epoch=False",
        "train_cfg.max_iters=40",
        "train_cfg.val_interval=15",
    )
    assert [epoch["iterations"] for epoch in document["epochs"]] == [15, 15, 10]
    assert not document["by_epoch"]
    assert "40 iterations on one rank" in tool.report(document)


@pytest.fixture
def uncounted(tmp_path):
    """The demo's model with a neck whose operators are not known to the counter."""
    module = tmp_path / "own_scale_neck.py"
    module.write_text(
        "import torch\n"
        "from mmengine.registry import MODELS\n"
        "@MODELS.register_module(force=True)\n"
        "class OwnScale(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.weight = torch.nn.Parameter(torch.ones(128, 128))\n"
        "    def forward(self, features):\n"
        "        scaled = features[-1][:, None] * self.weight[:, :, None, None]\n"
        "        return (scaled.sum(2).mean((2, 3)),)\n"
    )
    path = tmp_path / "config.py"
    path.write_text(
        f"_base_ = [{VBS_CUR!r}]\n"
        "model = dict(neck=dict(_delete_=True, type='mmengine.OwnScale'))\n"
    )
    return path


def test_a_model_that_cannot_be_counted(run, uncounted, monkeypatch):
    monkeypatch.syspath_prepend(str(uncounted.parent))
    __import__("own_scale_neck")
    with pytest.raises(UserError, match=r"neck \(OwnScale\).*--estimate pixels"):
        run(uncounted, *FEW)
    document = run(uncounted, "--baseline", FBS, *FEW, "--estimate", "pixels")
    assert document["train_flops"] is None and document["estimate"] == "pixels"
    ratio = document["ratio"]
    pixels = document["train_pixels"] / document["baseline"]["train_pixels"]
    assert ratio["train_flops"] == ratio["train_pixels"] == pixels
    assert "estimated from the pixels" in tool.report(document)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["nowhere.py"], "config nowhere.py does not exist"),
        ([FBS, "--baseline", "nowhere.py"], "config nowhere.py does not exist"),
        ([FBS], "number of samples of CustomDataset is not known.*--num-samples"),
        ([VBS_CUR, *FEW, "--base-size", "64"], "--base-size is for a config of one"),
        ([FBS, *FEW, "--base-size", "8x64"], "size 8x64 is below the model's stride"),
        ([FBS, *FEW, "--positive-rois", "3"], "needs a detector"),
        ([FBS, *FEW, "--times", "nowhere.json"], "--times nowhere.json"),
        ([FBS, *FEW, "--picture", "nowhere/a.png"], "nowhere does not exist"),
        ([FBS, *FEW, "--picture", "a.jpg"], "--picture a.jpg must end in .png"),
        ([FBS, *FEW, "--world-size", "241"], "240 samples for world_size=241"),
        ([FBS, *FEW, "--cfg-options", "model={}"], "has no model"),
        (
            [FBS, *FEW, "--cfg-options", "model.backbone.type=Nothing"],
            "cannot be built.*Nothing",
        ),
    ],
)
def test_bad_input(run, args, message, monkeypatch, tmp_path):
    monkeypatch.setenv("MMS_SCENES", str(tmp_path / "no_scenes"))
    with pytest.raises(UserError, match=message):
        run(*args)


@pytest.mark.parametrize(
    "args",
    [
        ["--num-samples", "0"],
        ["--num-samples", "many"],
        ["--world-size", "0"],
        ["--base-size", "0x5"],
        ["--estimate", "guess"],
    ],
)
def test_bad_arguments(args, capsys):
    with pytest.raises(SystemExit) as ended:
        tool.parse_args([FBS, *args])
    assert ended.value.code == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_one_line_and_exit_code_2(run_tool):
    done = run_tool(TOOL, FBS, "--baseline", "nowhere.py", "--json", *FEW)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.strip().splitlines()[-1] == (
        "training_cost.py: error: config nowhere.py does not exist"
    )


def test_a_picture_that_fails_loses_no_table(monkeypatch, capsys):
    def no_space(document, path):
        raise tool.cli.UserError("--picture: No space left on device")

    monkeypatch.setattr(tool, "draw", no_space)
    with pytest.raises(tool.cli.UserError, match="No space left"):
        tool.main([FBS, *FEW, "--picture", "cost.png"])
    assert "training FLOPs" in capsys.readouterr().out
