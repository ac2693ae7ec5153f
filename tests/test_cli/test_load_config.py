import importlib.util
from pathlib import Path

import pytest

from mms_plugin import cli


class TestLoadConfig:
    @pytest.mark.parametrize(
        ("name", "library", "scope"),
        [
            ("mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py", "mmdet", "mmdet"),
            ("mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco", "mmdet", "mmdet"),
            # Not in a metafile, so found by its path.
            ("mmdet::_base_/models/mask-rcnn_r50_fpn.py", "mmdet", None),
            ("mmpretrain::resnet/resnet50_8xb32_in1k.py", "mmpretrain", "mmpretrain"),
        ],
    )
    def test_library(self, name, library, scope):
        pytest.importorskip(library)
        config = cli.load_config(name, {"model.new": 3})
        assert config.get("default_scope") == scope
        assert config.model.new == 3
        assert Path(config.filename).stem == name.rpartition("/")[2].split(".")[0]

    def test_options_reach_lists(self, tmp_path):
        config_file = tmp_path / "some.py"
        config_file.write_text("b = dict(c=[dict(x=1), dict(x=2)])\n")
        config = cli.load_config(str(config_file), {"b.c.0.x": 5, "d.e": "x"})
        assert config.b.c == [dict(x=5), dict(x=2)] and config.d.e == "x"


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("train_dataloader", 1, "a dict"),
        ("custom_hooks", 5, "a list"),
        ("default_hooks", [1], "a dict"),
        ("custom_imports", "x", "a dict"),
    ],
)
def test_a_setting_of_another_kind(tmp_path, name, value, kind):
    (tmp_path / "own.py").write_text("a = 1\n")
    with pytest.raises(cli.UserError) as error:
        cli.load_config(str(tmp_path / "own.py"), {name: value})
    assert str(error.value) == f"{name} must be {kind}, but got {value!r}"


def test_a_module_of_the_users_that_is_not_found(tmp_path):
    (tmp_path / "own.py").write_text(
        "custom_imports = dict(imports=['no_such_module_x.parts'], "
        "allow_failed_imports=False)\n"
    )
    with pytest.raises(cli.UserError) as error:
        cli.load_config(str(tmp_path / "own.py"))
    text = str(error.value)
    assert "No module named 'no_such_module_x', for custom_imports; " in text
    assert "PYTHONPATH" in text and "\n" not in text


@pytest.mark.parametrize(
    "name", ["mmseg::fcn/fcn_hr18_4xb4-20k_voc12aug-512x512", None]
)
def test_a_library_that_is_not_installed(name, tmp_path, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n: None if n == "mmseg" else found(n)
    )
    config_file = tmp_path / "mine.py"
    config_file.write_text("default_scope = 'mmseg'\n")
    with pytest.raises(cli.UserError) as error:
        cli.load_config(name or str(config_file))
    assert "needs mmseg, not installed; run: pip install" in str(error.value)
    assert "mmsegmentation>=1" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mmdett::a/b.py", "mmdett is not installed, and none of .*did you mean mmdet"),
        ("nothing::a/b.py", "nothing is not installed, and none of mmdet, mmpretrain"),
        (
            "mms_plugin::resnet/resnet50-vbs_8xb128-600e_in1k.py",
            "did you mean mms_plugin::resnet/resnet50_vbs_8xb128-600e_in1k.py",
        ),
        ("mms_plugin::zzz/q.py", "no config zzz/q.py; mms_plugin::resnet/.* is one"),
    ],
)
def test_a_mistyped_library_or_config(name, words):
    with pytest.raises(cli.UserError, match=words):
        cli.load_config(name)


def test_debugging_keeps_the_traceback(tmp_path, monkeypatch):
    broken = tmp_path / "broken.py"
    broken.write_text("model = dict(\n")
    with pytest.raises(cli.UserError):
        cli.load_config(str(broken))
    monkeypatch.setenv("MMS_DEBUG", "1")
    with pytest.raises(SyntaxError):
        cli.load_config(str(broken))
