"""Every config of four of the libraries' folders: converted and built, or refused."""

import importlib.util
import re
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.dataset import DefaultSampler
from mmengine.registry import DATA_SAMPLERS, TRANSFORMS, DefaultScope

from mms_plugin import MultiScaleDataset
from mms_plugin.recipes import RecipeError, apply_recipes

pytestmark = pytest.mark.timeout(600)

FOLDERS = [
    "mmdet::mask_rcnn",
    "mmdet::faster_rcnn",
    "mmdet::retinanet",
    "mmpretrain::resnet",
]


@pytest.fixture(scope="module")
def tool():
    path = Path(__file__).resolve().parents[2] / "tools" / "misc" / "try_recipes.py"
    spec = importlib.util.spec_from_file_location("try_recipes", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Images:
    """A data set that has no images, but their shapes."""

    metainfo = {}

    def __len__(self):
        return 50

    def __getitem__(self, index):
        return dict(index=index)

    def get_data_info(self, index):
        return dict(width=640, height=480 if index % 3 else 800)


def reasons(config):
    """Words of the refusals that a config gives reason to, looked up in its text."""
    loader = config.get("train_dataloader")
    if loader is None:
        return {"must be a data loader's config"}
    return set()


def twins(value):
    if isinstance(value, dict):
        if str(value.get("type", "")).startswith("MultiScale"):
            yield value
        else:
            for inner in value.values():
                yield from twins(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from twins(inner)


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_config(tool, folder):
    library = folder.partition("::")[0]
    pytest.importorskip(library)
    built = {}
    converted = refused = 0
    for name, file in tool.config_files(folder).items():
        config = Config.fromfile(file)
        expected = reasons(config)
        try:
            after = apply_recipes(config, "vbs-cur")
        except RecipeError as error:
            assert any(words in error.reason for words in expected), (name, error)
            refused += 1
            continue
        assert not expected, name
        converted += 1
        # What has to stay stays.
        for key in set(config) - {
            "train_dataloader", "train_pipeline", "custom_hooks", "custom_imports",
            "model",
        }:  # fmt: skip
            assert after[key] == config[key], (name, key)
        assert after.train_dataloader.batch_size == config.train_dataloader.batch_size

        with DefaultScope.overwrite_default_scope(library):
            dataset = after.train_dataloader.dataset
            assert dataset.type == "MultiScaleDataset"
            inner = DefaultSampler(MultiScaleDataset(Images()), seed=0)
            sampler = DATA_SAMPLERS.build(
                after.train_dataloader.batch_sampler,
                default_args=dict(sampler=inner, batch_size=2),
            )
            assert len(sampler.sizes) > 1 and sampler.base_size in sampler.sizes
            assert sum(images for *_, images in sampler.plan(0)) == 50
            found = list(twins(dataset.dataset))
            assert found, name
            for twin in found:
                if repr(twin) not in built:
                    built[repr(twin)] = TRANSFORMS.build(dict(twin))
                for size in (min(sampler.sizes), max(sampler.sizes)):
                    built[repr(twin)].at(size)
        assert after.custom_hooks[-1].type == "ResolutionCurriculumHook"
    assert converted > refused


def test_the_command_counts(tool, capsys, tmp_path, monkeypatch):
    pytest.importorskip("mmdet")
    command = ["mmdet::ssd", "--recipe", "vbs", "--list"]
    command += ["--record", str(tmp_path / "record.jsonl")]
    tool.main(command)
    out = capsys.readouterr().out
    # What is recorded is not tried again.
    monkeypatch.setattr(tool, "try_config", None)
    tool.main(command)
    assert capsys.readouterr().out == out
    total = len(tool.config_files("mmdet::ssd"))
    lines = out.splitlines()
    converted = sum(line.startswith("converted  mmdet::ssd/") for line in lines)
    refused = sum(line.startswith("refused    mmdet::ssd/") for line in lines)
    row = f"| `mmdet::ssd` | {total} | {converted} | {refused} | 0 | 0 |"
    assert row in [re.sub(" +", " ", line) for line in lines]
    assert total == converted + refused and converted > 0
    place = "model.bbox_head.anchor_generator.input_size"
    assert f"refused    mmdet::ssd/ssd300_coco.py  {place}" in lines


@pytest.mark.parametrize("folder", ["mmdet", "nothing::ssd", "mmdet::nothing"])
def test_an_unknown_folder(tool, folder):
    pytest.importorskip("mmdet")
    with pytest.raises(tool.cli.UserError, match=folder):
        tool.main([folder])


def test_an_unknown_recipe(tool, capsys):
    with pytest.raises(SystemExit):
        tool.main(["mmdet::ssd", "--recipe", "vbs2"])
    assert "'vbs2' is not one of" in capsys.readouterr().err
