"""Configs that inherit from this package's own: ``_base_ = 'mms_plugin::...'``."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import HOOKS, TRANSFORMS, DefaultScope

import mms_plugin
from mms_plugin import cli
from mms_plugin.recipes import apply_recipes
from mms_plugin.registry import SCOPE, drop_scope, library_scope

ROOT = Path(__file__).resolve().parents[1]
RESNET = "mms_plugin::resnet/resnet50_vbs-cur_8xb128-600e_in1k.py"
MASK_RCNN = "mms_plugin::mask_rcnn/mask-rcnn-r50-fpn_fbs_8xb4-100e_coco.py"


@pytest.fixture
def inherit(tmp_path):
    def inherit(base, text=""):
        file = tmp_path / "leaf.py"
        file.write_text(f"_base_ = {base!r}\n{text}")
        return str(file)

    return inherit


def scopes(config):
    """Every ``_scope_`` within a config."""
    if isinstance(config, dict):
        found = {config["_scope_"]} if "_scope_" in config else set()
        return found.union(*map(scopes, config.values()))
    if isinstance(config, (list, tuple)):
        return set().union(*map(scopes, config))
    return set()


class TestInherited:
    def test_the_same_config(self, inherit):
        pytest.importorskip("mmpretrain")
        folder, _, name = RESNET.partition("::")[2].partition("/")
        here = Config.fromfile(str(ROOT / "configs" / folder / name))
        inherited = Config.fromfile(inherit(RESNET, "work_dir = 'here'\n"))
        assert SCOPE in scopes(inherited.to_dict())
        drop_scope(inherited)
        assert inherited.pop("work_dir") == "here"
        assert inherited.to_dict() == here.to_dict()

    def test_by_mmengine_hub(self):
        pytest.importorskip("mmpretrain")
        config = cli.load_config(RESNET)
        assert config.model.backbone.depth == 50
        assert SCOPE not in scopes(config.to_dict())

    def test_a_config_that_is_not_there(self):
        with pytest.raises(cli.UserError, match="mms_plugin has no config resnet/x.py"):
            cli.load_config("mms_plugin::resnet/x.py")

    def test_commands_and_recipes_see_libraries_only(self, inherit):
        pytest.importorskip("mmdet")
        leaf = inherit(MASK_RCNN)
        assert scopes(cli.load_config(leaf).to_dict()) == {"mmdet"}
        config = Config.fromfile(leaf)
        converted = apply_recipes(config, "vbs", dict(check_model=False))
        assert scopes(converted.to_dict()) == {"mmdet"}
        assert SCOPE in scopes(config.to_dict())

    def test_from_a_checkout_on_the_path(self, inherit, tmp_path):
        """Another installation of the package does not get in the way."""
        pytest.importorskip("mmpretrain")
        site = tmp_path / "site" / "mms_plugin-9.9.dist-info"
        site.mkdir(parents=True)
        (site / "METADATA").write_text("Name: mms_plugin\nVersion: 9.9\n")
        (site / "top_level.txt").write_text("mms_plugin\n")
        code = (
            "import sys, mms_plugin, mmengine\n"
            "config = mmengine.Config.fromfile(sys.argv[1])\n"
            "print(config.train_dataloader.batch_sampler.type)"
        )
        checkout = str(Path(mms_plugin.__file__).parents[1])
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code, inherit(RESNET)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": f"{checkout}{os.pathsep}{site.parent}"},
        )
        assert done.stdout.strip() == "MultiScaleVariableBatchSampler", done.stderr


class TestScope:
    """What is built with ``_scope_='mms_plugin'`` is the library's."""

    @pytest.mark.parametrize(
        ("library", "name"), [("mmdet", "FixShapeResize"), ("mmpretrain", "ResizeEdge")]
    )
    def test_is_the_librarys_around_it(self, library, name):
        pytest.importorskip(library)
        sized = dict(type="MultiScaleTransform", transform=dict(type=name))
        with DefaultScope.overwrite_default_scope(library):
            resize = TRANSFORMS.build(dict(sized, _scope_=SCOPE))
        # As in a spawned worker: no scope around it.
        results = dict(img=np.zeros((8, 8, 3), np.uint8), target_size=(4, 4))
        assert resize(results)["img"].shape == (4, 4, 3)

    def test_before_a_class_of_mmcv_with_that_name(self):
        transforms = pytest.importorskip("mmdet.datasets.transforms")
        with DefaultScope.overwrite_default_scope("mmdet"):
            found = TRANSFORMS.build(dict(type="LoadAnnotations", _scope_=SCOPE))
        assert type(found) is transforms.LoadAnnotations

    def test_nested(self):
        overwrite = DefaultScope.overwrite_default_scope
        with overwrite("mmdet"), overwrite(SCOPE):
            assert library_scope() == "mmdet"
            with overwrite("mmpretrain"):
                assert library_scope() == "mmpretrain"

    def test_without_a_library(self):
        found = HOOKS.build(dict(type="MultiScaleSamplerHook", _scope_=SCOPE))
        assert type(found) is mms_plugin.MultiScaleSamplerHook
        with pytest.raises(KeyError, match="Nothing is not in"):
            HOOKS.build(dict(type="Nothing", _scope_=SCOPE))
