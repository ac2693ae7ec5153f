"""tools/test.py over sizes, corruptions and checkpoints; reliability.py."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from mms_plugin import cli
from mms_plugin.commands import reliability
from mms_plugin.commands import test as evaluate
from mms_plugin.commands.condition_runs import short_names

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.timeout(300)
pytest.importorskip("mmpretrain")

CONFIG = """
default_scope = 'mmpretrain'
custom_imports = dict(imports=['mms_plugin'], allow_failed_imports=False)
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='ResNet', depth=18, stem_channels=8, base_channels=8,
        strides=(1, 2, 2, 1)),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead', num_classes=12, in_channels=64,
        loss=dict(type='CrossEntropyLoss')))
data_preprocessor = dict(num_classes=12, mean=[127.] * 3, std=[60.] * 3, to_rgb=True)
test_dataloader = dict(
    batch_size=5, num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CustomDataset', data_root='ROOT/classification/val', test_mode=True,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='ResizeEdge', scale=74, edge='short'),
            dict(type='CenterCrop', crop_size=64),
            dict(type='PackInputs')]))
test_evaluator = [dict(type='Accuracy', topk=(1, )), dict(type='CalibrationError')]
test_cfg = dict()
"""
COUNT = 37  # no multiple of 2 ranks, of the batch, or of the classes


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Scenes, the config, and two checkpoints that nothing has trained."""
    from mmengine.registry import MODELS
    from mmengine.runner import save_checkpoint

    from tools.demo.scenes import SceneParameters, write_scenes

    pytest.importorskip("cv2")
    root = tmp_path_factory.mktemp("evaluate")
    write_scenes(
        root / "scenes",
        SceneParameters(
            train_images=12, val_images=COUNT, det_train_images=1, det_val_images=1
        ),
    )
    (root / "config.py").write_text(CONFIG.replace("ROOT", str(root / "scenes")))
    config = cli.load_config(str(root / "config.py"))
    for name in ("a", "b"):
        torch.manual_seed(ord(name))
        model = build_model(config, MODELS)
        # Spread the scores: an untrained head says the same of everything.
        model.head.fc.weight.data.mul_(60)
        save_checkpoint(
            dict(state_dict=model.state_dict(), meta={}), str(root / f"{name}.pth")
        )
    return root


def build_model(config, models):
    from mmengine.registry import init_default_scope

    init_default_scope("mmpretrain")
    model = dict(config.model, data_preprocessor=config.data_preprocessor)
    return models.build(model)


@pytest.fixture(scope="module")
def run_test():
    """tools/test.py's main, in this process."""

    def run(*arguments):
        evaluate.main([str(argument) for argument in arguments])

    return run


def predict(root, checkpoint, size, corrupt=None):
    """Scores and labels by a plain loop: OpenCV, the transforms' arithmetic, torch."""
    import cv2
    from mmengine.registry import MODELS

    config = cli.load_config(str(root / "config.py"))
    model = build_model(config, MODELS)
    state = torch.load(root / f"{checkpoint}.pth")["state_dict"]
    model.load_state_dict(state)
    model.eval()
    folder = root / "scenes/classification/val"
    classes = sorted(item.name for item in folder.iterdir())
    edge = round(74 * size / 64)
    scores, labels = [], []
    for label, name in enumerate(classes):
        for path in sorted((folder / name).iterdir()):
            image = cv2.resize(cv2.imread(str(path)), (edge, edge))
            start = int(round((edge - size) / 2))
            image = image[start : start + size, start : start + size]
            if corrupt is not None:
                image = corrupt(image)
            pixels = torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1)[None]
            with torch.no_grad():
                feature = model.neck(model.backbone((pixels.float() - 127) / 60))
                scores.append(model.head.fc(feature[-1])[0].softmax(0))
            labels.append(label)
    return torch.stack(scores), torch.tensor(labels)


def top1(scores, labels):
    return 100 * (scores.argmax(1) == labels).float().mean().item()


def nll(scores, labels):
    return torch.nn.functional.nll_loss(scores.log(), labels).item()


def test_sizes_of_two_checkpoints(root, run_test, tmp_path, capfd):
    out = tmp_path / "e.json"
    run_test(
        root / "config.py", root / "a.pth", "--work-dir", tmp_path / "w",
        root / "b.pth", "--sizes", 96, 48, 96, "--out", out,
    )  # fmt: skip
    report = json.loads(out.read_text())
    assert report["metric"] == "accuracy/top1"
    assert report["transforms"] == {
        # 74 * 96 / 64 and 74 * 48 / 64
        "96": "ResizeEdge(scale=111), CenterCrop(crop_size=96)",
        "48": "ResizeEdge(scale=56), CenterCrop(crop_size=48)",
    }
    found = {
        (Path(item["checkpoint"]).stem, item["size"]): item["metrics"]
        for item in report["results"]
    }
    assert list(found) == [("a", 96), ("a", 48), ("b", 96), ("b", 48)]
    values = set()
    for (name, size), metrics in found.items():
        scores, labels = predict(root, name, size)
        assert metrics["accuracy/top1"] == pytest.approx(top1(scores, labels))
        expected = nll(scores, labels)
        assert metrics["calibration/nll"] == pytest.approx(expected, rel=1e-4)
        values.add(round(expected, 3))
    assert len(values) == 4  # it is no constant that was compared
    table = (tmp_path / "e.md").read_text()
    assert table in capfd.readouterr().out
    assert "| accuracy/top1" in table and "| 96 px | 48 px |" in table
    assert (tmp_path / "e.png").read_bytes().startswith(b"\x89PNG")
    assert not list(tmp_path.glob("*.part"))


def test_corruptions(root, run_test, tmp_path):
    from mms_plugin.evaluation import CommonCorruption

    pytest.importorskip("imagecorruptions")
    arguments = [
        root / "config.py", root / "a.pth", "--corruptions", "fog", "contrast",
        "--severities", 2, 5, "--metric", "calibration/nll",
    ]  # fmt: skip
    run_test(*arguments, "--work-dir", tmp_path / "one")
    report = json.loads((tmp_path / "one" / "evaluation.json").read_text())
    for item in report["results"]:
        corrupt = None
        if item["corruption"] is not None:
            corrupt = CommonCorruption(item["corruption"], item["severity"]).apply
        scores, labels = predict(root, "a", 64, corrupt)
        expected = nll(scores, labels)
        assert item["metrics"]["calibration/nll"] == pytest.approx(expected, rel=1e-4)
    by = {
        (item["corruption"], item["severity"]): item["metrics"]["calibration/nll"]
        for item in report["results"]
    }
    assert len(set(by.values())) == 5
    (summary,) = report["summary"]
    mean = sum(value for key, value in by.items() if key[0]) / 4
    assert summary["mean"] == pytest.approx(mean)
    clean = by[(None, None)]
    assert summary["relative_drop"] == pytest.approx(100 * (clean - mean) / clean)
    # Other workers, another batch size: the same corruptions of the same images.
    run_test(
        *arguments, "--work-dir", tmp_path / "one", "--cfg-options",
        "test_dataloader.num_workers=2", "test_dataloader.batch_size=7",
    )  # fmt: skip
    # The results of the first evaluation are kept.
    kept = json.loads((tmp_path / "one" / "evaluation_1.json").read_text())
    assert kept == report
    assert all((tmp_path / "one" / f"evaluation_1.{e}").exists() for e in ("md", "png"))
    again = json.loads((tmp_path / "one" / "evaluation.json").read_text())
    assert again["cfg_options"] == {
        "test_dataloader.num_workers": 2, "test_dataloader.batch_size": 7,
    }  # fmt: skip
    for first, second in zip(report["results"], again["results"]):
        assert second["metrics"] == pytest.approx(first["metrics"], rel=1e-5)


def test_an_image_that_cannot_be_corrupted_is_named(root, run_test, tmp_path):
    cv2 = pytest.importorskip("cv2")
    pytest.importorskip("imagecorruptions")
    shutil.copytree(root / "scenes/classification", tmp_path / "classification")
    small = sorted((tmp_path / "classification/val").glob("*/*"))[-1]  # the last one
    cv2.imwrite(str(small), cv2.imread(str(small))[:20, :30])
    text = CONFIG.replace("ROOT", str(tmp_path)).replace("batch_size=5", "batch_size=1")
    for resize in (
        "dict(type='ResizeEdge', scale=74, edge='short'),",
        "dict(type='CenterCrop', crop_size=64),",
    ):
        text = text.replace(resize, "")
    (tmp_path / "config.py").write_text(text)
    with pytest.raises(cli.RunError, match=f"too small to corrupt.*{small.name}"):
        run_test(
            tmp_path / "config.py", root / "a.pth", "--corruptions", "fog",
            "--severities", 2, "--work-dir", tmp_path / "w",
        )  # fmt: skip


@pytest.mark.distributed
@pytest.mark.skipif(torch.cuda.is_available(), reason="two processes, no two GPUs")
def test_two_ranks(root, run_tool, free_port, tmp_path):
    """The launcher's arguments stand between the checkpoints."""
    done = run_tool(
        "dist_test.sh", root / "config.py", root / "a.pth", 2, root / "b.pth",
        "--sizes", 48, "--json", "--work-dir", tmp_path, env={"PORT": free_port()},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads(done.stdout)
    assert len(report["results"]) == 2
    for item in report["results"]:
        scores, labels = predict(root, Path(item["checkpoint"]).stem, 48)
        assert item["metrics"]["accuracy/top1"] == pytest.approx(top1(scores, labels))
        assert item["metrics"]["calibration/nll"] == pytest.approx(
            nll(scores, labels), rel=1e-4
        )


@pytest.mark.distributed
@pytest.mark.skipif(torch.cuda.is_available(), reason="two processes, no two GPUs")
def test_two_ranks_without_a_sampler(root, run_tool, free_port, tmp_path):
    """Each would evaluate all images, and MMEngine would count half of them twice."""
    done = run_tool(
        "dist_test.sh", root / "config.py", root / "a.pth", 2, "--json",
        "--work-dir", tmp_path, "--cfg-options", "test_dataloader.sampler=None",
        env={"PORT": free_port()},
    )  # fmt: skip
    assert done.returncode != 0 and done.stdout == ""
    assert "error: test_dataloader has no sampler: every rank" in done.stderr


def test_test_data_of_another_config(root, run_test, tmp_path):
    """The scenes' folders in the place of ImageNet's: two classes of the twelve."""
    import shutil

    data = tmp_path / "variant"
    folders = sorted((root / "scenes/classification/val").iterdir())
    for label in (2, 11):
        shutil.copytree(folders[label], data / str(label))
    (tmp_path / "data.py").write_text(
        """
test_dataloader = dict(dataset=dict(
    type='ImageNetVariant', data_root='nowhere', pipeline=[dict(type='Other')]))
test_evaluator = dict(type='ClassSubset', metric=dict(type='Accuracy', topk=(1, )))
"""
    )
    run_test(
        root / "config.py", root / "a.pth", "--test-data", tmp_path / "data.py",
        "--work-dir", tmp_path / "w", "--out", tmp_path / "m.json", "--cfg-options",
        f"test_dataloader.dataset.data_root={data}",
    )  # fmt: skip
    metrics = json.loads((tmp_path / "m.json").read_text())
    scores, labels = predict(root, "a", 64)
    chosen = (labels == 2) | (labels == 11)
    among = scores[chosen][:, [2, 11]].argmax(1)
    expected = 100 * (among == (labels[chosen] == 11).long()).float().mean().item()
    assert metrics == {"accuracy/top1": pytest.approx(expected)}


@pytest.mark.parametrize(
    "arguments, text",
    [
        (["--sizes", "8"], "size 8 is below the model's stride of 16 pixels"),
        (["--corruptions", "rain"], "'rain' is not one of gaussian_noise"),
        (["--severities", "1"], "--severities needs --corruptions"),
        (["--sizes", "64", "--out", "OUT/x.pkl"], "must end in .json"),
        (["--sizes", "64", "--out", "OUT/none/x.json"], "does not exist"),
        (["none.pth"], "checkpoint none.pth does not exist"),
        (["--sizes", "64", "--metric", "mAP"], "'mAP' is not one of those"),
        (["--metric", "mAP"], "--metric needs --sizes, --corruptions or several"),
        (["--test-data", "none.py"], "none.py does not exist"),
        (["--test-data", "CONFIG/../data.py"], "has no test_dataloader and"),
        (
            ["--test-data", "CONFIG/../loader.py"],
            "loader.py has no test_dataloader.dataset",
        ),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(root, run_test, tmp_path, arguments, text):
    (root / "data.py").write_text("a = 1")
    (root / "loader.py").write_text(
        "test_dataloader = dict(batch_size=1)\ntest_evaluator = dict(type='Accuracy')"
    )
    replaced = [
        str(item).replace("OUT", str(tmp_path)).replace("CONFIG/..", str(root))
        for item in arguments
    ]
    with pytest.raises(cli.UserError) as error:
        run_test(
            root / "config.py", root / "a.pth", *replaced, "--work-dir", tmp_path / "w"
        )
    assert text in " ".join(str(error.value).split())


@pytest.mark.parametrize("size", ["0", "64x96"])
def test_a_size_is_the_shorter_side(root, run_test, capsys, size):
    with pytest.raises(SystemExit) as ended:
        run_test(root / "config.py", root / "a.pth", "--sizes", size)
    assert ended.value.code == 2
    assert f"at least 1, not '{size}'" in capsys.readouterr().err


def test_a_config_without_test_cfg(root, run_test, tmp_path):
    (tmp_path / "config.py").write_text(
        (root / "config.py").read_text().replace("test_cfg = dict()", "")
    )
    run_test(
        tmp_path / "config.py", root / "a.pth", "--out", tmp_path / "m.json",
        "--work-dir", tmp_path / "w",
    )  # fmt: skip
    metrics = json.loads((tmp_path / "m.json").read_text())
    scores, labels = predict(root, "a", 64)
    assert metrics["accuracy/top1"] == pytest.approx(top1(scores, labels))


def test_a_refused_evaluation_leaves_the_earlier_one(root, run_test, tmp_path):
    (tmp_path / "evaluation.json").write_text("earlier")
    with pytest.raises(cli.UserError, match="below the model's stride"):
        run_test(
            root / "config.py", root / "a.pth", "--sizes", 8, "--work-dir", tmp_path
        )
    assert (tmp_path / "evaluation.json").read_text() == "earlier"
    assert not list(tmp_path.glob("evaluation_*"))


def test_what_was_evaluated_outlives_a_refused_metric(root, run_test, tmp_path):
    (tmp_path / "evaluation.json").write_text("earlier")
    with pytest.raises(cli.UserError, match="'top1' is not one of.*evaluation.json"):
        run_test(
            root / "config.py", root / "a.pth", "--sizes", 48, 64,
            "--metric", "top1", "--work-dir", tmp_path,
        )  # fmt: skip
    report = json.loads((tmp_path / "evaluation.json").read_text())
    assert report["metric"] == "accuracy/top1"
    (result,) = report["results"]  # no further one was begun
    scores, labels = predict(root, "a", 48)
    assert result["metrics"]["accuracy/top1"] == pytest.approx(top1(scores, labels))
    assert (tmp_path / "evaluation_1.json").read_text() == "earlier"


@pytest.mark.parametrize(
    "pipeline, arguments, text",
    [
        ("[Load, Pack]", ["--sizes", 64], "no size is found in the test pipeline"),
        ("[Resize, Pack]", ["--corruptions", "fog"], "there is no image to corrupt"),
    ],
)
def test_pipelines_that_cannot_be_changed(
    root, run_test, tmp_path, pipeline, arguments, text
):
    (tmp_path / "config.py").write_text(
        CONFIG.replace("ROOT", str(root / "scenes"))
        + f"""
Load, Pack = dict(type='LoadImageFromFile'), dict(type='PackInputs')
Resize = dict(type='Resize', scale=64)
test_dataloader['dataset']['pipeline'] = {pipeline}
"""
    )
    with pytest.raises(cli.UserError, match=text):
        run_test(
            tmp_path / "config.py", root / "a.pth", *arguments,
            "--work-dir", tmp_path / "w",
        )  # fmt: skip


def test_exit_code(root, run_tool, tmp_path):
    done = run_tool(
        "test.py", root / "config.py", root / "a.pth", "--corruptions", "rain",
        "--work-dir", tmp_path,
    )  # fmt: skip
    assert done.returncode == 2 and done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1
    assert "error: --corruptions: corruption 'rain'" in done.stderr


@pytest.fixture(scope="module")
def run_reliability():
    """tools/analysis_tools/reliability.py's main, in this process."""

    def run(*arguments):
        reliability.main([str(argument) for argument in arguments])

    return run


def test_reliability_by_hand(root, run_reliability, tmp_path):
    run_reliability(
        root / "config.py", root / "a.pth", "--num-bins", 12,
        "--work-dir", tmp_path / "w", "--out", tmp_path / "r.png",
    )  # fmt: skip
    report = json.loads((tmp_path / "r.json").read_text())
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")
    scores, labels = predict(root, "a", 64)
    confidence, predicted = scores.max(1)
    gaps = 0.0
    assert len(report["bins"]) == 12
    for number, found in enumerate(report["bins"]):
        inside = (confidence >= number / 12) & (confidence < (number + 1) / 12)
        assert found["count"] == int(inside.sum())
        if found["count"]:
            right = (predicted == labels)[inside].float().mean().item()
            assert found["accuracy"] == pytest.approx(right)
            mean = confidence[inside].mean().item()
            assert found["confidence"] == pytest.approx(mean, rel=1e-4)
            gaps += abs(right - mean) * found["count"] / COUNT
    assert sum(item["count"] > 0 for item in report["bins"]) >= 3
    found = report["metrics"]["calibration/ece"]
    assert found == pytest.approx(100 * gaps, rel=1e-3)


@pytest.mark.parametrize(
    "arguments, text",
    [
        (["CKPT", "--out", "x.jpg"], "--out x.jpg must end in .png"),
        (["CKPT", "--out", "/none/x.png"], "does not exist"),
        (["none.pth"], "checkpoint none.pth does not exist"),
    ],
)
def test_reliability_of_bad_input(root, run_reliability, tmp_path, arguments, text):
    replaced = [root / "a.pth" if item == "CKPT" else item for item in arguments]
    with pytest.raises(cli.UserError, match=text):
        run_reliability(root / "config.py", *replaced, "--work-dir", tmp_path)


def test_reliability_without_bins(root, run_reliability, capsys):
    with pytest.raises(SystemExit):
        run_reliability(root / "config.py", root / "a.pth", "--num-bins", 0)
    text = "--num-bins: must be a whole number of at least 1, not '0'"
    assert text in capsys.readouterr().err


@pytest.mark.parametrize(
    "evaluator",
    ["[SUBSET]", "dict(type='Evaluator', metrics=[SUBSET])", "dict(metrics=SUBSET)"],
)
def test_reliability_among_some_of_the_classes(
    root, run_reliability, tmp_path, evaluator
):
    subset = (
        "dict(type='ClassSubset', class_indices=list(range(12)),"
        " metric=dict(type='Accuracy'))"
    )
    (tmp_path / "config.py").write_text(
        CONFIG.replace("ROOT", str(root / "scenes"))
        + f"test_evaluator = {evaluator.replace('SUBSET', subset)}\n"
        "model['head'].update(num_classes=20)\n"
    )
    from mmengine.registry import MODELS
    from mmengine.runner import save_checkpoint

    model = build_model(cli.load_config(str(tmp_path / "config.py")), MODELS)
    model.load_state_dict(
        {
            name: torch.cat([value, 9 * torch.ones(8, *value.shape[1:])])
            if name.startswith("head")
            else value
            for name, value in torch.load(root / "a.pth")["state_dict"].items()
        }
    )
    save_checkpoint(
        dict(state_dict=model.state_dict(), meta={}), str(tmp_path / "wide.pth")
    )
    for name, config in (("wide", tmp_path / "config.py"), ("a", root / "config.py")):
        run_reliability(
            config, (tmp_path if name == "wide" else root) / f"{name}.pth",
            "--work-dir", tmp_path / "w", "--out", tmp_path / f"{name}.png",
        )  # fmt: skip
    wide, all_of_them = (
        json.loads((tmp_path / f"{name}.json").read_text()) for name in ("wide", "a")
    )
    # The eight further classes are not evaluated.
    assert wide["metrics"] == pytest.approx(all_of_them["metrics"], rel=1e-4)
    assert [b["count"] for b in wide["bins"]] == [
        b["count"] for b in all_of_them["bins"]
    ]


def test_a_checkpoint_inherits_nothing_from_the_one_before(root, run_test, tmp_path):
    part = torch.load(root / "b.pth")
    part["state_dict"] = {
        name: value
        for name, value in part["state_dict"].items()
        if name.startswith("head")
    }
    torch.save(part, tmp_path / "part.pth")
    tables = []
    for order in (["a", "part"], ["part", "a"]):
        paths = [
            tmp_path / "part.pth" if n == "part" else root / "a.pth" for n in order
        ]
        out = tmp_path / f"{order[0]}.json"
        run_test(
            root / "config.py", *paths, "--out", out, "--work-dir", tmp_path / "w",
            "--cfg-options", "randomness.seed=1",
        )  # fmt: skip
        report = json.loads(out.read_text())
        tables.append({r["checkpoint"]: r["metrics"] for r in report["results"]})
    assert tables[0] == tables[1]


@pytest.mark.parametrize("content", [b"", b"no checkpoint", None])
def test_a_checkpoint_that_cannot_be_read_is_named(root, run_test, tmp_path, content):
    broken = tmp_path / "broken.pth"
    if content is None:
        content = (root / "a.pth").read_bytes()[:1000]
    broken.write_bytes(content)
    with pytest.raises(cli.UserError, match=f"checkpoint {broken} does not load"):
        run_test(root / "config.py", broken, "--work-dir", tmp_path / "w")


def test_reliability_of_what_gives_no_probabilities(root, run_reliability, tmp_path):
    """Sigmoids: known only from the first outputs on, one line all the same."""
    (tmp_path / "config.py").write_text(
        CONFIG.replace("ROOT", str(root / "scenes"))
        + "model['head'].update(loss=dict(type='CrossEntropyLoss', use_sigmoid=True),\n"
        "                     type='MultiLabelLinearClsHead')\n"
    )
    with pytest.raises(cli.UserError, match="CalibrationError needs"):
        run_reliability(
            tmp_path / "config.py", root / "a.pth", "--work-dir", tmp_path / "w"
        )


def test_names_in_legends():
    assert short_names(["w/x/epoch_3.pth"]) == {"w/x/epoch_3.pth": "epoch_3.pth"}
    names = short_names(["w/fbs/epoch_3.pth", "w/vbs/epoch_3.pth"])
    assert list(names.values()) == ["fbs", "vbs"]
    names = short_names(["w/fbs/epoch_3.pth", "w/fbs/epoch_2.pth"])
    assert list(names.values()) == ["epoch_3.pth", "epoch_2.pth"]
    assert len(set(short_names(["a.pth", "x/a.pth"]).values())) == 2
    assert np.unique(list(short_names(["a/b", "b", "a/c/b"]).values())).size == 3
