"""Which checkpoint is gone on from, with every kind of broken file in the way."""

import collections
import os
import pickle

import pytest
import torch

import mms_plugin  # noqa: F401
from mms_plugin.checkpoints.find_checkpoint import (
    UnreadableCheckpointError,
    checkpoint_progress,
    latest_checkpoint,
    unreadable_reason,
)


def save(path, iteration=1, epoch=1, **kwargs):
    content = dict(meta=dict(iter=iteration, epoch=epoch), state_dict=dict(w=WEIGHT))
    torch.save(content, path, **kwargs)
    return str(path)


WEIGHT = torch.arange(5000.0)


class Refused:
    """A global that torch does not know."""


def html(path):
    path.write_text("<!DOCTYPE html><html>")


def cut(path, part=0.5, **kwargs):
    save(path, **kwargs)
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])


@pytest.mark.parametrize(
    "write, reason",
    [
        (lambda path: None, "it does not exist"),
        (lambda path: path.mkdir(), "it is a folder"),
        (lambda path: path.write_bytes(b""), "it is empty"),
        (cut, "it is cut short"),
        (lambda path: cut(path, 0.9999), "it is cut short"),
        (lambda path: cut(path, 0.001), "it is cut short"),
        (
            lambda path: cut(path, _use_new_zipfile_serialization=False),
            "it is cut short",
        ),
        (lambda path: path.write_bytes(bytes(9999)), "no checkpoint"),
        (lambda path: path.write_text("hello world"), "no checkpoint"),
        (html, "no checkpoint"),
        (lambda path: path.write_bytes(pickle.dumps({1: 2}, 4)), "no checkpoint"),
        (lambda path: torch.save([1, 2], path), "it holds a list, not"),
    ],
)
def test_why_a_file_is_no_checkpoint(tmp_path, write, reason):
    path = tmp_path / "a.pth"
    write(path)
    text = unreadable_reason(str(path))
    assert reason in text and "\n" not in text and len(text) < 80
    with pytest.raises(UnreadableCheckpointError) as caught:
        checkpoint_progress(str(path))
    assert str(caught.value) == text


@pytest.mark.skipif(
    not hasattr(torch.serialization, "add_safe_globals"),
    reason="this torch has no list of safe globals",
)
def test_what_weights_only_refuses_is_named(tmp_path):
    torch.save(dict(x=collections.Counter(), y=Refused()), tmp_path / "a.pth")
    text = unreadable_reason(str(tmp_path / "a.pth"))
    assert f"it holds {__name__}.Refused, which torch's weights_only check" in text
    assert "add_safe_globals" in text and "\n" not in text


@pytest.mark.parametrize("kwargs", [{}, dict(_use_new_zipfile_serialization=False)])
def test_progress(tmp_path, kwargs):
    path = save(tmp_path / "a.pth", iteration=12, epoch=3, **kwargs)
    assert unreadable_reason(path) is None
    assert checkpoint_progress(path) == (12, 3)


def test_weights_alone_are_no_training(tmp_path):
    torch.save(dict(state_dict={}), tmp_path / "a.pth")
    assert unreadable_reason(str(tmp_path / "a.pth")) is None
    with pytest.raises(UnreadableCheckpointError, match="load_from"):
        checkpoint_progress(str(tmp_path / "a.pth"))


class TestLatest:
    @pytest.fixture
    def run(self, tmp_path):
        """Epochs 1, 2 and 10; last_checkpoint names the last."""
        for epoch in (1, 2, 10):
            save(tmp_path / f"epoch_{epoch}.pth", iteration=5 * epoch, epoch=epoch)
        save(tmp_path / "best_acc_epoch_99.pth", iteration=999, epoch=99)
        save(tmp_path / "epoch_10-abcdef01.pth", iteration=999, epoch=99)
        (tmp_path / "last_checkpoint").write_text(str(tmp_path / "epoch_10.pth"))
        return tmp_path

    def test_named(self, run):
        (run / "last_checkpoint").write_text(f"{run / 'epoch_2.pth'}\n")
        latest = latest_checkpoint(str(run))
        assert latest == (str(run / "epoch_2.pth"), str(run / "epoch_2.pth"), ())

    def test_nothing(self, tmp_path):
        assert latest_checkpoint(str(tmp_path)) == (None, None, ())
        assert latest_checkpoint(str(tmp_path / "absent")) == (None, None, ())

    def test_named_is_cut_short(self, run):
        cut(run / "epoch_10.pth")
        latest = latest_checkpoint(str(run))
        assert latest.path == str(run / "epoch_2.pth")
        assert latest.passed_over == ((str(run / "epoch_10.pth"), "it is cut short"),)

    def test_named_is_gone(self, run):
        # As after the work dir has been moved.
        (run / "last_checkpoint").write_text("elsewhere/epoch_10.pth")
        latest = latest_checkpoint(str(run))
        assert latest.path == str(run / "epoch_10.pth")
        assert latest.passed_over == (("elsewhere/epoch_10.pth", "it does not exist"),)

    def test_last_checkpoint_is_empty_or_absent(self, run):
        (run / "last_checkpoint").write_text("")
        latest = latest_checkpoint(str(run))
        assert latest.path == str(run / "epoch_10.pth")
        assert latest.passed_over == ((str(run / "last_checkpoint"), "it is empty"),)
        (run / "last_checkpoint").unlink()
        assert latest_checkpoint(str(run)) == (str(run / "epoch_10.pth"), None, ())

    def test_last_checkpoint_cannot_be_read(self, run):
        (run / "last_checkpoint").unlink()
        (run / "last_checkpoint").mkdir()
        latest = latest_checkpoint(str(run))
        assert latest.path == str(run / "epoch_10.pth")
        assert latest.passed_over == ((str(run / "last_checkpoint"), "Is a directory"),)

    def test_all_are_broken(self, run):
        for path in run.glob("epoch_?*.pth"):
            path.write_bytes(b"")
        latest = latest_checkpoint(str(run))
        assert latest.path is None
        names = [os.path.basename(path) for path, _ in latest.passed_over]
        assert names == ["epoch_10.pth", "epoch_2.pth", "epoch_1.pth"]

    def test_by_iterations_over_both_kinds_of_names(self, run):
        (run / "last_checkpoint").unlink()
        save(run / "iter_51.pth", iteration=51, epoch=10)
        save(run / "iter_9.pth", iteration=9, epoch=2)
        assert latest_checkpoint(str(run)).path == str(run / "iter_51.pth")
        cut(run / "iter_51.pth")
        assert latest_checkpoint(str(run)).path == str(run / "epoch_10.pth")

    def test_a_folder_and_names_of_its_own(self, run, tmp_path):
        out = tmp_path / "out"
        out.mkdir()
        save(out / "at_7.x.pth", iteration=700)
        (run / "last_checkpoint").unlink()
        latest = latest_checkpoint(str(run), str(out), ["at_{}.x.pth"])
        assert latest.path == str(out / "at_7.x.pth")

    def test_another_backend_is_left_to_mmengine(self, run):
        (run / "last_checkpoint").write_text("s3://bucket/epoch_10.pth")
        assert latest_checkpoint(str(run)).path == "s3://bucket/epoch_10.pth"
        (run / "deepspeed").mkdir()
        (run / "last_checkpoint").write_text(str(run / "deepspeed"))
        assert latest_checkpoint(str(run)).path == str(run / "deepspeed")
