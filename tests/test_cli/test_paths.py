import os

import pytest
from mmengine.config import Config

from mms_plugin import cli


def test_the_work_dir_of_the_command_line_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.py").write_text("a = 1\n")
    config = Config.fromfile("tiny.py")
    cli.set_work_dir(config, None)
    assert config.work_dir == os.path.join("work_dirs", "tiny")
    config.work_dir = "own"
    cli.set_work_dir(config, None)
    assert config.work_dir == "own"
    cli.set_work_dir(config, "given")
    assert config.work_dir == "given"
    for name in ("work_dirs/tiny", "own", "given"):
        assert (tmp_path / name).is_dir()


def test_a_test_has_a_config_name_of_its_own(tmp_path):
    (tmp_path / "tiny.py").write_text("a = 1\n")
    config = Config.fromfile(str(tmp_path / "tiny.py"))
    cli.name_for_test(config)
    assert config.filename == str(tmp_path / "tiny_test.py")
    assert config.a == 1


def test_a_folder_below_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    folder = str(tmp_path / "file" / "folder")
    with pytest.raises(cli.UserError, match="^--out .*folder cannot be created: "):
        cli.make_folder(folder, "--out")


def test_checkpoints(tmp_path):
    (tmp_path / "a.pth").write_text("")
    cli.check_checkpoint(str(tmp_path / "a.pth"))
    cli.check_checkpoint("https://example.com/absent.pth")
    with pytest.raises(cli.UserError, match="^--resume .*b.pth does not exist$"):
        cli.check_checkpoint(str(tmp_path / "b.pth"), "--resume")
    with pytest.raises(cli.UserError, match="is not a file$"):
        cli.check_checkpoint(str(tmp_path))


def test_outputs(tmp_path):
    cli.check_out(str(tmp_path / "a.json"), (".json", ".pkl"))
    with pytest.raises(cli.UserError, match="must end in .json or .pkl"):
        cli.check_out(str(tmp_path / "a.txt"), (".json", ".pkl"))
    with pytest.raises(cli.UserError, match="absent does not exist"):
        cli.check_out(str(tmp_path / "absent" / "a.json"), (".json",))
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(cli.UserError, match="folder.json is a folder, not a file"):
        cli.check_out(str(tmp_path / "folder.json"), (".json",))
