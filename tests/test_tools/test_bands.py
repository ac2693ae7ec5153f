"""The commands on images of five bands, of 16 bits, and of floats."""

import json

import numpy as np
import pytest
import torch
from mmengine.config import Config

pytest.importorskip("mmpretrain")
pytest.importorskip("matplotlib")
cv2 = pytest.importorskip("cv2")
pytest.importorskip("imagecorruptions")
pytestmark = pytest.mark.timeout(600)

# A user's own transform, in a module beside the config.
LOADER = """
import numpy as np
from mmengine.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadBands:
    def __call__(self, results):
        results['img'] = np.load(results['img_path'])
        results['img_shape'] = results['ori_shape'] = results['img'].shape[:2]
        return results
"""


def write(folder, config_file, kind):
    """The tiny ResNet of these tests on images of a kind, and a checkpoint of it."""
    rng = np.random.default_rng(0)
    (folder / "bands_of_these_tests.py").write_text(LOADER)
    for name in ("a", "b"):
        (folder / "data" / name).mkdir(parents=True)
        for i in range(4):
            path = folder / "data" / name / str(i)
            if kind == "bands":
                image = rng.integers(0, 4000, (40, 48, 5), dtype=np.uint16)
                np.save(f"{path}.npy", image.astype(np.float32))
            elif kind == "gray16":
                image = rng.integers(0, 60000, (40, 48), dtype=np.uint16)
                cv2.imwrite(f"{path}.png", image)
            else:
                image = rng.integers(0, 255, (40, 48, 3), dtype=np.uint8)
                cv2.imwrite(f"{path}.png", image)
    load = {
        "bands": dict(type="LoadBands"),
        "gray16": dict(
            type="LoadImageFromFile",
            color_type="unchanged",
            imdecode_backend="cv2",
            to_float32=True,
        ),
        "float": dict(type="LoadImageFromFile", to_float32=True),
    }[kind]
    config = Config.fromfile(config_file)
    config.custom_imports.imports.append("bands_of_these_tests")
    config.model.backbone.in_channels = dict(bands=5, gray16=1, float=3)[kind]
    # ImgDataPreprocessor takes one mean or three: such images go as they are.
    config.data_preprocessor = dict(num_classes=2)
    extra = dict(extensions=(".npy", ".png"))
    config.train_dataloader.dataset.pipeline = [
        load,
        dict(type="MultiScaleTransform", transform=dict(type="Resize")),
        dict(type="PackInputs"),
    ]
    config.test_dataloader.dataset.pipeline[0] = load
    for loader in (config.train_dataloader, config.test_dataloader):
        loader.dataset.update(data_root=str(folder / "data"), **extra)
    loader = config.train_dataloader
    loader.batch_sampler = dict(
        type="MultiScaleVariableBatchSampler", base_size=32, sizes=[32, 64]
    )
    loader.dataset = dict(type="MultiScaleDataset", dataset=loader.dataset)
    config.val_dataloader = config.val_evaluator = config.val_cfg = None
    config.default_hooks.checkpoint = dict(type="CheckpointHook", interval=1)
    config.train_cfg.max_epochs = 1
    config.pop("pipeline")
    config.dump(folder / "config.py")


@pytest.mark.parametrize(
    "kind, shown",
    [("bands", "bands 1 to 3 of 5, values"), ("gray16", "in gray, values")],
)
def test_commands(config_file, run_tool, tmp_path, kind, shown):
    write(tmp_path, config_file, kind)
    env = dict(PYTHONPATH=str(tmp_path))
    config, checkpoint = tmp_path / "config.py", tmp_path / "run" / "epoch_1.pth"

    def run(name, *args, code=0):
        done = run_tool(name, config, *args, env=env, cwd=tmp_path)
        assert done.returncode == code, done.stderr[-3000:]
        return done

    run("train.py", "--work-dir", tmp_path / "run")
    state = torch.load(checkpoint, map_location="cpu", weights_only=False)
    stem = next(v for k, v in state["state_dict"].items() if k.startswith("backbone"))
    assert stem.shape[1] == dict(bands=5, gray16=1)[kind]
    done = run("analysis_tools/browse_batches.py", "--out", tmp_path / "b", "--json")
    batches = json.loads(done.stdout)["batches"]
    assert [batch["height"] for batch in batches] == [32, 64]
    assert all(batch["shown"].startswith(shown) for batch in batches)
    assert cv2.imread(batches[0]["picture"]).std() > 1
    done = run("analysis_tools/training_cost.py", "--json")
    assert json.loads(done.stdout)["train_flops"] > 0
    done = run("test.py", checkpoint, "--sizes", 32, 64, "--json")
    assert [r["size"] for r in json.loads(done.stdout)["results"]] == [32, 64]
    if kind == "bands":
        done = run("test.py", checkpoint, "--corruptions", "fog", code=2)
        assert "must be uint8, but is float32 of 5 channels" in done.stderr
        assert "CommonCorruption('fog') needs one or three channels" in done.stderr
        assert "mend" not in done.stderr and "Traceback" not in done.stderr


def test_a_float_image_is_not_told_to_be_mended(config_file, run_tool, tmp_path):
    pytest.importorskip("imagecorruptions")
    write(tmp_path, config_file, "float")
    env = dict(PYTHONPATH=str(tmp_path))
    run = ("--work-dir", tmp_path / "run")
    done = run_tool("train.py", tmp_path / "config.py", *run, env=env)
    assert done.returncode == 0, done.stderr[-3000:]
    for workers in (0, 1):
        done = run_tool(
            "test.py", tmp_path / "config.py", tmp_path / "run" / "epoch_1.pth",
            "--corruptions", "fog", "--severities", 1,
            "--cfg-options", f"test_dataloader.num_workers={workers}",
            env=env, cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == 2, done.stderr[-3000:]
        last = done.stderr.strip().splitlines()[-1]
        assert "must be uint8, but is float32 of 3 channels" in last
        assert "to_float32=False" in last and "mend" not in done.stderr
        assert "Traceback" not in done.stderr
