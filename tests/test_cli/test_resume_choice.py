import pytest
import torch
from mmengine.config import Config

from mms_plugin import cli


@pytest.fixture
def config(tmp_path):
    return Config(dict(work_dir=str(tmp_path)))


def save(path, iteration):
    torch.save(dict(meta=dict(iter=iteration, epoch=1), state_dict={}), path)


def test_without_resume_nothing_changes(config):
    before = config.to_dict()
    cli.choose_checkpoint_to_resume(config, None)
    assert config.to_dict() == before


def test_checkpoints_that_a_new_training_writes_over(config, tmp_path, capsys):
    cli.choose_checkpoint_to_resume(config, None)
    assert capsys.readouterr().err == ""
    (tmp_path / "last_checkpoint").write_text("epoch_1.pth")
    cli.choose_checkpoint_to_resume(config, None)
    assert f"warning: {tmp_path} has checkpoints of an" in capsys.readouterr().err
    assert "resume" not in config


def test_an_empty_work_dir_starts_anew(config, capsys):
    cli.choose_checkpoint_to_resume(config, "auto")
    assert config.resume is False and config.get("load_from") is None
    assert "training starts from scratch" in capsys.readouterr().err


def test_the_checkpoint_that_the_work_dir_names(config, tmp_path, capsys):
    for number in (1, 2):
        save(tmp_path / f"epoch_{number}.pth", 10 * number)
    named = str(tmp_path / "epoch_1.pth")
    (tmp_path / "last_checkpoint").write_text(named)
    cli.choose_checkpoint_to_resume(config, "auto")
    assert config.resume is True and config.load_from == named
    assert capsys.readouterr().err == ""


def test_a_broken_checkpoint_is_passed_over(config, tmp_path, capsys):
    save(tmp_path / "epoch_1.pth", 10)
    broken = tmp_path / "epoch_2.pth"
    broken.write_bytes(b"")
    (tmp_path / "last_checkpoint").write_text(str(broken))
    cli.choose_checkpoint_to_resume(config, "auto")
    assert config.load_from == str(tmp_path / "epoch_1.pth")
    assert f"{broken}: it is empty" in capsys.readouterr().err


@pytest.mark.parametrize("work_dir", [".", "./runs/.", "runs"])
def test_the_hooks_own_folder_beside_a_relative_work_dir(
    work_dir, make_runner, tmp_path, monkeypatch
):
    """The hook writes into out_dir/<last part of the absolute work dir>."""
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    hook = dict(type="CheckpointHook", out_dir="runs")
    runner = make_runner(
        work_dir=work_dir,
        train_cfg=dict(by_epoch=True, max_epochs=1),
        default_hooks=dict(checkpoint=hook),
    )
    runner.train()
    (written,) = tmp_path.rglob("epoch_1.pth")
    for path in tmp_path.rglob("last_checkpoint"):
        path.unlink()
    config = Config(dict(work_dir=work_dir, default_hooks=dict(checkpoint=hook)))
    cli.choose_checkpoint_to_resume(config, "auto")
    assert (tmp_path / config.load_from).resolve() == written


def test_only_broken_checkpoints(config, tmp_path):
    (tmp_path / "epoch_1.pth").write_bytes(b"")
    with pytest.raises(cli.UserError, match="no checkpoint of .* can be read"):
        cli.choose_checkpoint_to_resume(config, "auto")


def test_a_named_file(config, tmp_path):
    save(tmp_path / "a.pth", 3)
    cli.choose_checkpoint_to_resume(config, str(tmp_path / "a.pth"))
    assert config.resume is True and config.load_from == str(tmp_path / "a.pth")
    torch.save(dict(state_dict={}), tmp_path / "weights.pth")
    with pytest.raises(cli.UserError, match="weights.pth cannot be resumed from: "):
        cli.choose_checkpoint_to_resume(config, str(tmp_path / "weights.pth"))
