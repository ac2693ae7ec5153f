"""AtomicCheckpointHook writes what CheckpointHook does, and never half of it."""

import contextlib
import errno
import os
import shutil
from pathlib import Path

import pytest
import torch
import toys
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.registry import HOOKS, METRICS, MODELS
from mmengine.runner import FlexibleRunner
from resume_toys import Stop

from mms_plugin import AtomicCheckpointHook
from mms_plugin.checkpoints.find_checkpoint import unreadable_reason
from mms_plugin.utils.files import NotWrittenError


@METRICS.register_module()
class Wave(toys.CountSamples):
    """Best at the second validation, then at the fourth."""

    values = (1.0, 3.0, 2.0, 5.0, 4.0)

    def __init__(self, first=1):
        super().__init__()
        self.calls = first - 1

    def compute_metrics(self, results):
        self.calls += 1
        value = self.values[(self.calls - 1) % len(self.values)]
        return dict(acc=value, loss=value)


@MODELS.register_module()
class TrainedAndTested(toys.ToyModel):
    def forward(self, inputs, i, target_size=None, mode="loss"):
        if mode == "loss":
            return super().forward(inputs, i, target_size, mode)
        return i


VALIDATION = dict(
    model=dict(type="TrainedAndTested"),
    val_dataloader=dict(
        batch_size=4,
        sampler=dict(type="DefaultSampler", shuffle=False),
        collate_fn=dict(type="default_collate"),
        dataset=dict(
            type="ToyDataset",
            num=4,
            pipeline=[
                dict(type="MakeImage", scale=(8, 8)),
                dict(type="CollectWithoutSize"),
            ],
        ),
    ),
    val_cfg=dict(),
    val_evaluator=dict(type="Wave"),
)


@register_backend("half_way")
class FullHalfWay(LocalBackend):
    """A disk that is full in the middle of a checkpoint; not the project's backend."""

    def put(self, obj, filepath):
        Path(filepath).write_bytes(obj[: len(obj) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def files(folder):
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file()
        and (path.suffix == ".pth" or path.name in ("last_checkpoint",))
        or path.name.startswith(".")
    )


@pytest.fixture
def train(make_runner, tmp_path):
    """Train with a checkpoint hook; gives the folder of all that was written."""

    def run(name, hook, folder=None, **changes):
        changes.setdefault("work_dir", str(tmp_path / (folder or name) / "run"))
        changes.setdefault("train_dataloader", toys.train_dataloader(num=12))
        runner = make_runner(
            default_hooks=dict(checkpoint=dict(type=name, **hook)), **changes
        )
        runner.train()
        return Path(runner.work_dir).parent

    return run


@pytest.mark.parametrize(
    "hook",
    [
        dict(interval=2, save_last=False, save_begin=3, save_optimizer=False),
        dict(interval=3, by_epoch=False, max_keep_ckpts=3, filename_tmpl="at_{}.pth"),
        dict(interval=1, max_keep_ckpts=2, save_best="acc", rule="greater"),
        dict(interval=1, save_best=["acc", "loss"], out_dir="out", backend_args={}),
        dict(interval=2, file_client_args=dict(backend="disk")),
        dict(
            interval=3,
            published_keys=["meta", "state_dict"],
            save_best="auto",
            rule="less",
            save_param_scheduler=False,
            backend_args=dict(backend="local"),
        ),
    ],
    ids=str,
)
def test_arguments_keep_their_meaning(train, tmp_path, hook):
    """The same files with the same content as MMEngine's own hook writes."""
    folders = {}
    for name in ("CheckpointHook", "AtomicCheckpointHook"):
        own = dict(hook)
        if "out_dir" in own:
            own["out_dir"] = str(tmp_path / name / "out")
        folders[name] = train(name, own, **VALIDATION)
    plain, atomic = folders.values()
    # Published files carry a hash of their content, the time of day included.
    names = [[n.partition("-")[0] for n in files(folder)] for folder in (plain, atomic)]
    assert names[0] == names[1] and any(
        name.endswith("last_checkpoint") for name in names[0]
    )
    last = [
        (folder / "run" / "last_checkpoint").read_text() for folder in folders.values()
    ]
    assert last[0].replace(str(plain), "") == last[1].replace(str(atomic), "")
    compared = 0
    for name in (n for n in files(plain) if n.endswith(".pth") and "-" not in n):
        one, other = torch.load(plain / name), torch.load(atomic / name)
        other.pop("outdated_checkpoints", None)
        assert one.keys() == other.keys()
        for key, value in one["state_dict"].items():
            assert torch.equal(value, other["state_dict"][key])
        for key in ("iter", "epoch"):
            assert one["meta"][key] == other["meta"][key]
        infos = [c["message_hub"]["runtime_info"] for c in (one, other)]
        assert infos[0].get("keep_ckpt_ids") == infos[1].get("keep_ckpt_ids")
        assert infos[0].get("best_score") == infos[1].get("best_score")
        compared += 1
    assert compared


def test_what_is_published_is_whole(train):
    folder = train(
        "AtomicCheckpointHook", dict(interval=5, published_keys=["state_dict"])
    )
    (published,) = (folder / "run").glob("epoch_5-*.pth")
    assert torch.load(published).keys() == {"state_dict"}
    assert not list((folder / "run").glob(".publish*"))


@pytest.fixture
def removals(monkeypatch):
    """(what is removed, what lay beside it, what last_checkpoint named) each time."""
    seen = []
    remove = LocalBackend.remove

    def noting(self, path):
        folder = Path(path).parent
        named = folder / "last_checkpoint"
        seen.append(
            (
                Path(path).name,
                {p.name for p in folder.glob("*.pth")},
                Path(named.read_text()).name if named.exists() else None,
            )
        )
        remove(self, path)

    monkeypatch.setattr(LocalBackend, "remove", noting)
    return seen


def test_an_old_checkpoint_goes_after_the_new_one_is_there(train, removals):
    hook = dict(interval=1, max_keep_ckpts=1)
    train("AtomicCheckpointHook", hook)
    assert [(gone, named) for gone, _, named in removals] == [
        (f"epoch_{epoch}.pth", f"epoch_{epoch + 1}.pth") for epoch in range(1, 5)
    ]
    assert all({gone, named} <= beside for gone, beside, named in removals)
    # MMEngine's own hook has none left while it writes the next.
    removals.clear()
    train("CheckpointHook", hook)
    assert [len(beside) for _, beside, _ in removals] == [1] * 4


def test_the_best_goes_after_the_better_is_there(train, removals):
    hook = dict(interval=1, save_best="acc")
    train("AtomicCheckpointHook", hook, **VALIDATION)
    best = [(gone, beside) for gone, beside, _ in removals]
    assert [gone for gone, _ in best] == [
        "best_acc_epoch_1.pth",
        "best_acc_epoch_2.pth",
    ]
    assert "best_acc_epoch_2.pth" in best[0][1] and "best_acc_epoch_4.pth" in best[1][1]


def write_fails_from(monkeypatch, count):
    """The atomic backend's disk is full from its ``count``-th checkpoint on."""
    calls = [0]
    fsync = os.fsync

    def full(handle):
        # Called once for each file's content and once for its folder.
        calls[0] += 1
        if calls[0] >= count:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", full)


@pytest.mark.parametrize("failing", [5, 7], ids=["checkpoint", "last_checkpoint"])
def test_a_full_disk_leaves_what_was_there(train, tmp_path, monkeypatch, failing):
    run = tmp_path / "AtomicCheckpointHook" / "run"
    write_fails_from(monkeypatch, failing)
    with pytest.raises(NotWrittenError, match="No space left on device") as caught:
        train("AtomicCheckpointHook", dict(interval=1, max_keep_ckpts=1))
    monkeypatch.undo()
    which = "epoch_2.pth" if failing == 5 else "last_checkpoint"
    assert str(caught.value).startswith(f"{run / which} cannot be written: ")
    assert torch.load(run / "epoch_1.pth")["meta"]["epoch"] == 1
    assert (run / "last_checkpoint").read_text() == str(run / "epoch_1.pth")
    assert not list(run.glob(".*"))
    assert (run / "epoch_2.pth").exists() == (failing == 7)
    # With room again, it goes on, and to the end.
    train("AtomicCheckpointHook", dict(interval=1, max_keep_ckpts=1), resume=True)
    assert files(run) == ["epoch_5.pth", "last_checkpoint"]


def test_mmengines_hook_would_have_lost_both(train, tmp_path):
    """The fault is real: the same disk, with CheckpointHook."""
    train("CheckpointHook", dict(interval=1, max_keep_ckpts=1), folder="a")
    run = tmp_path / "a" / "run"
    with pytest.raises(OSError, match="No space left"):
        train(
            "CheckpointHook",
            dict(interval=1, max_keep_ckpts=1, backend_args=dict(backend="half_way")),
            folder="a",
            resume=True,
            train_cfg=dict(by_epoch=True, max_epochs=6),
        )
    assert unreadable_reason(str(run / "epoch_6.pth")) == "it is cut short"
    assert not (run / "epoch_5.pth").exists()


def test_what_a_killed_run_could_not_remove_goes_on_resume(train, tmp_path):
    hook = dict(interval=1, max_keep_ckpts=2)
    train("AtomicCheckpointHook", hook)
    run = tmp_path / "AtomicCheckpointHook" / "run"
    # As if killed between the writing of the fifth and the removal of the third.
    for name in ("epoch_3.pth", "epoch_2.pth", "mine.pth"):
        shutil.copy(run / "epoch_4.pth", run / name)
    (run / ".epoch_6.pth.4711.part").write_text("half")
    (run / ".publish.x").mkdir()
    longer = dict(by_epoch=True, max_epochs=6)
    train("AtomicCheckpointHook", hook, resume=True, train_cfg=longer)
    kept = ["epoch_2.pth", "epoch_5.pth", "epoch_6.pth", "last_checkpoint", "mine.pth"]
    assert files(run) == kept


def test_a_copied_run_leaves_the_original_alone(train, tmp_path):
    hook = dict(interval=1, max_keep_ckpts=2)
    folder = train("AtomicCheckpointHook", hook)
    shutil.copy(folder / "run" / "epoch_4.pth", folder / "run" / "epoch_3.pth")
    train(
        "AtomicCheckpointHook", hook, folder="copy", resume=True,
        load_from=str(folder / "run" / "epoch_5.pth"),
        train_cfg=dict(by_epoch=True, max_epochs=6),
    )  # fmt: skip
    assert "epoch_3.pth" in files(folder / "run")
    # Nor does a training that takes the weights alone remove anything.
    train(
        "AtomicCheckpointHook",
        dict(interval=5),
        load_from=str(folder / "run" / "epoch_5.pth"),
    )
    assert "epoch_3.pth" in files(folder / "run")


@pytest.mark.parametrize("save_best", ["acc", ["acc", "loss"]])
def test_the_best_of_another_folder_stays(train, tmp_path, save_best):
    hook = dict(interval=1, save_best=save_best, rule="greater")
    short = dict(by_epoch=True, max_epochs=2)
    folder = train("AtomicCheckpointHook", hook, train_cfg=short, **VALIDATION)
    before = files(folder / "run")
    best = [name for name in before if name.startswith("best_")]
    assert best and all(name.endswith("epoch_2.pth") for name in best)
    shutil.copytree(folder / "run", tmp_path / "copy" / "run")
    evaluator = dict(val_evaluator=dict(type="Wave", first=3))
    for other in ("elsewhere", "copy"):
        train(
            "AtomicCheckpointHook", hook, folder=other, resume=True,
            load_from=str(folder / "run" / "epoch_2.pth"),
            **{**VALIDATION, **evaluator},
        )  # fmt: skip
        assert files(folder / "run") == before
        # The best of the copy itself has gone, for the better one.
        later = [name for name in files(tmp_path / other / "run") if "best_" in name]
        assert later == [name.replace("_2.", "_4.") for name in best]


def test_numbers_that_come_again_do_not_remove_what_is_resumed(make_runner, tmp_path):
    """With a larger batch iteration 12 counts as 6: ``iter_8.pth`` is written again."""
    hook = dict(
        type="AtomicCheckpointHook", by_epoch=False, interval=4, max_keep_ckpts=2
    )

    def train(stop, batch_size, **changes):
        runner = make_runner(
            train_dataloader=toys.train_dataloader(num=200, batch_size=batch_size),
            train_cfg=dict(by_epoch=True, max_epochs=1),
            default_hooks=dict(checkpoint=hook),
            custom_hooks=[dict(type="MultiScaleSamplerHook")],
            **changes,
        )
        runner.register_hook(Stop(after=stop))
        with contextlib.suppress(KeyboardInterrupt):
            runner.train()
        return runner

    folder = Path(train(14, 4).work_dir)
    assert {"iter_8.pth", "iter_12.pth"} <= set(files(folder))
    for _ in range(2):
        train(9, 8, resume=True)
        assert "iter_8.pth" in files(folder)
        assert (folder / "last_checkpoint").read_text().endswith("iter_8.pth")


def test_it_says_where_it_does_not_write(make_runner, caplog):
    runner = make_runner(
        kind=FlexibleRunner,
        env_cfg=dict(),
        default_hooks=dict(checkpoint=dict(type="AtomicCheckpointHook", interval=1)),
        train_cfg=dict(by_epoch=True, max_epochs=1),
    )
    runner.logger.addHandler(caplog.handler)
    runner.train()
    assert "strategy of FlexibleRunner writes the checkpoints itself" in caplog.text


def test_it_is_a_checkpoint_hook():
    hook = HOOKS.build(dict(type="AtomicCheckpointHook", interval=3))
    assert isinstance(hook, CheckpointHook) and isinstance(hook, AtomicCheckpointHook)
    assert hook.priority == CheckpointHook.priority and hook.interval == 3
    with pytest.raises(ValueError, match="save_begin"):
        AtomicCheckpointHook(save_begin=-1)
