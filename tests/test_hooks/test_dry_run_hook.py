"""Every size is tried before the training, and the training knows nothing of it."""

import random
import re
from pathlib import Path

import dry_run_toys
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.registry import HOOKS, OPTIM_WRAPPERS

from mms_plugin import DryRunHook, cli

SGD = dict(optimizer=dict(type="SGD", lr=0.05, momentum=0.9))
ADAM = dict(optimizer=dict(type="AdamW", lr=0.01), clip_grad=dict(max_norm=1.0))
# MMEngine makes a ConfigDict of every param group then.
PARAMWISE = dict(
    optimizer=dict(type="AdamW", lr=0.01, weight_decay=0.1),
    paramwise_cfg=dict(bias_decay_mult=0.0),
)
AGVM = dict(
    type="AGVMOptimWrapper",
    constructor="AGVMOptimWrapperConstructor",
    optimizer=dict(type="AdamW", lr=0.01),
    agvm=dict(modules=["conv", "head"], anchor="conv", interval=2, start_iter=0),
)
needs_grad_scaler = pytest.mark.skipif(
    not hasattr(torch.amp, "GradScaler"),
    reason="torch.amp.GradScaler for the CPU came with torch 2.3",
)
INFINITE = dict(type="InfiniteSampler", shuffle=True)


@OPTIM_WRAPPERS.register_module()
class ScalingOptimWrapper(OptimWrapper):
    """MMEngine's mixed-precision wrapper without the check for a GPU."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.loss_scaler = torch.amp.GradScaler("cpu", init_scale=2.0**20)

    def backward(self, loss, **kwargs):
        self.loss_scaler.scale(loss).backward(**kwargs)
        self._inner_count += 1

    def step(self, **kwargs):
        self.loss_scaler.step(self.optimizer, **kwargs)
        self.loss_scaler.update()


class Watch(Hook):
    """Copies what the first iteration finds."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if hasattr(self, "state"):
            return
        wrapper = runner.optim_wrapper
        self.state = dict(
            params=[p.grad for p in runner.model.parameters()],
            optimizer=len(wrapper.optimizer.state),
            counts=(wrapper._inner_count, wrapper._max_counts),
            flags=[m.training for m in runner.model.modules()],
            scalars=set(runner.message_hub.log_scalars),
            lr=wrapper.get_lr()["lr"],
            scaler=vars(getattr(wrapper, "loss_scaler", object)).get("_scale"),
            index=data_batch["i"].tolist(),
        )


@pytest.fixture
def train(make_runner):
    def run(**changes):
        changes.setdefault("optim_wrapper", SGD)
        runner = make_runner(**dry_run_toys.settings(**changes))
        watch = Watch()
        runner.register_hook(watch)
        try:
            runner.train()
        finally:
            # Before a dry run of another runner seeds and draws anew.
            watch.after = random.random(), np.random.rand(), float(torch.rand(1))
        return runner, watch

    return run


def everything(runner):
    """All that a checkpoint holds, flat, and what the model remembers."""
    flat = {}

    def walk(path, value):
        if isinstance(value, dict):
            for key, item in value.items():
                walk((*path, key), item)
        elif isinstance(value, (list, tuple)):
            for key, item in enumerate(value):
                walk((*path, key), item)
        else:
            flat[path] = value

    walk(("model",), runner.model.state_dict())
    walk(("optimizer",), runner.optim_wrapper.state_dict())
    walk(("seen",), runner.model.seen)
    for name, history in runner.message_hub.log_scalars.items():
        if "time" not in name:
            walk(("log", name), [a.tolist() for a in history.data])
    return flat


def assert_equal(one, two):
    assert one.keys() == two.keys()
    for key, value in one.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, two[key]), key
        else:
            assert value == two[key], key


@pytest.mark.parametrize(
    "changes",
    [
        dict(optim_wrapper=ADAM),
        dict(optim_wrapper=PARAMWISE),
        dict(optim_wrapper=dict(SGD, accumulative_counts=3), curriculum=False),
        dict(optim_wrapper=dict(AGVM)),
        pytest.param(
            dict(optim_wrapper=dict(ADAM, type="ScalingOptimWrapper")),
            marks=needs_grad_scaler,
        ),
        dict(loader=dict(num_workers=2, persistent_workers=True)),
        dict(
            loader=dict(sampler=INFINITE, num_workers=1),
            train_cfg=dict(by_epoch=False, max_iters=12),
        ),
    ],
    ids=lambda changes: "-".join(changes),
)
def test_the_training_is_the_same_to_the_bit(train, changes):
    with_it, found = train(**changes)
    without, expected = train(dry_run=False, **changes)
    assert found.state == expected.state
    assert found.after == expected.after
    assert_equal(everything(with_it), everything(without))


def log_of(runner):
    (log,) = Path(runner.log_dir).glob("*.log")
    return log.read_text()


def test_every_size_that_will_be_drawn_the_largest_cost_first(train):
    runner, _ = train(log_level="INFO")
    lines = re.findall(r"Dry run.*", log_of(runner))
    # The last of three epochs has grown by 2/3 of 0.8: 12x12 is never drawn.
    assert [line.split(": ")[1] for line in lines[:-1]] == [
        "16 images of 4x4",
        "4 images of 8x8",
        "7 images of 6x6",
        "10 images of 5x5",
        "2 images of 10x10",
    ]
    assert lines[0].startswith("Dry run 1/5: ")
    assert lines[-1].startswith("Dry run: 5 kinds of batches in ")


def test_a_resumed_training_is_tried_again_and_the_same(train, tmp_path):
    ends = []
    for dry_run in (True, False):
        work_dir = str(tmp_path / str(dry_run))
        train(dry_run=dry_run, work_dir=work_dir, optim_wrapper=ADAM)
        runner, _ = train(
            dry_run=dry_run,
            work_dir=work_dir,
            optim_wrapper=ADAM,
            resume=True,
            train_cfg=dict(by_epoch=True, max_epochs=5),
        )
        assert runner.epoch == 5
        ends.append(everything(runner))
    assert_equal(*ends)


@pytest.mark.parametrize("error", ["cuda", "real"])
def test_out_of_memory_is_told_before_the_first_iteration(train, error):
    with pytest.raises(ValueError) as caught:
        # 8x8 times 4 images and 4x4 times 16 have 256 pixels, the others fewer.
        train(model=dict(most=255, error=error))
    text = str(caught.value)
    assert text.startswith("Dry run: a batch of 16 images of 4x4 does not fit into the")
    assert "cpu, rank 0" in text
    assert "lower train_dataloader.batch_size=4" in text
    assert "fewer than 16 in batch_sizes" in text and "leave the size out" in text


def test_the_state_is_put_back_after_a_failure_too(make_runner):
    cfg = dry_run_toys.settings(optim_wrapper=ADAM, model=dict(most=250, error="cuda"))
    # 5x5 times 10 has 250 pixels and runs; 4x4 comes first and does not.
    runner = make_runner(**cfg)
    before = {k: v.clone() for k, v in runner.model.state_dict().items()}
    with pytest.raises(ValueError, match="does not fit"):
        runner.train()
    assert all(torch.equal(before[k], v) for k, v in runner.model.state_dict().items())
    assert not runner.optim_wrapper.optimizer.state
    assert runner.optim_wrapper.get_lr()["lr"] == [0.01]
    assert runner.model.seen == [] and runner.iter == 0


def test_another_error_names_the_batch_and_its_cause(train):
    with pytest.raises(RuntimeError, match="16 images of 4x4 fails on cpu") as caught:
        train(model=dict(most=255, error="other"))
    assert isinstance(caught.value.__cause__, KeyError)


def test_an_image_that_does_not_load_is_named(train):
    cfg = dry_run_toys.settings()
    loader = cfg["train_dataloader"]
    loader["dataset"]["dataset"]["pipeline"] = [dict(type="CutShort")]
    with pytest.raises(RuntimeError, match=r"16 images of 4x4 fails .*truncated"):
        train(train_dataloader=loader)


def test_a_plain_loader_is_tried_with_its_one_batch(make_runner):
    cfg = dry_run_toys.settings(curriculum=False, optim_wrapper=SGD, log_level="INFO")
    loader = cfg["train_dataloader"]
    del loader["batch_sampler"]
    loader["dataset"] = dict(
        type="ToyDataset",
        num=40,
        pipeline=[dict(type="MakeImage", scale=(6, 6)), dict(type="PlainCollect")],
    )
    runner = make_runner(**cfg)
    runner.train()
    assert "Dry run 1/1: 4 images: " in log_of(runner)


def test_validation_alone_runs_nothing(make_runner):
    cfg = dry_run_toys.settings(curriculum=False, log_level="INFO")
    cfg.update(
        model=dict(type="ToyTester"),
        val_dataloader=dict(
            batch_size=4,
            num_workers=0,
            sampler=dict(type="DefaultSampler", shuffle=False),
            dataset=dict(type="ToyDataset", num=8, pipeline=[]),
            collate_fn=dict(type="default_collate"),
        ),
        val_cfg=dict(),
        val_evaluator=dict(type="CountSamples"),
        compile=True,
    )
    runner = make_runner(**cfg)
    assert runner.val() == dict(count=8)
    assert "Dry run" not in log_of(runner) and "Dynamo" not in log_of(runner)


def test_most_instances_are_chosen(make_runner):
    cfg = dry_run_toys.settings(
        hook=dict(images="most_instances"), optim_wrapper=SGD, curriculum=False
    )
    cfg["model"].update(most=255, error="cuda")
    runner = make_runner(**cfg)
    with pytest.raises(ValueError, match="whose records have 'instances', but got"):
        runner.train()


@pytest.mark.parametrize(
    "argument, message",
    [
        (dict(images="all"), "images must be one of"),
        (dict(grace=-1), "grace must be a number of seconds"),
        (dict(grace=True), "grace must be a number of seconds"),
        (dict(grace=float("inf")), "grace must be a number of seconds"),
    ],
)
def test_bad_arguments(argument, message):
    with pytest.raises(ValueError, match=message):
        DryRunHook(**argument)


class TestCompiled:
    """Dynamo has room for the shapes while the run goes on, and no longer."""

    @pytest.fixture
    def limits(self, monkeypatch):
        from torch._dynamo import config

        monkeypatch.setattr(torch, "compile", lambda function, **kwargs: function)
        name = "recompile_limit"
        if not hasattr(config, name):
            name = "cache_size_limit"
        # torch 2.1 has no limit for all functions together.
        names = [n for n in (name, f"accumulated_{name}") if hasattr(config, n)]
        return lambda: tuple(getattr(config, n) for n in names)

    @pytest.mark.parametrize("drop_last, more", [(True, 5), (False, 8)])
    def test_the_limit_is_raised(self, train, limits, drop_last, more):
        before, during = limits(), []

        @HOOKS.register_module(force=True)
        class Look(Hook):
            def before_train_iter(self, *args, **kwargs):
                during.append(limits())

        train(
            compile=dict(dynamic=False),
            loader=dict(drop_last=drop_last),
            custom_hooks=[
                dict(type="DryRunHook"),
                dict(type="ResolutionCurriculumHook", start_sizes=[4, 5]),
                dict(type="Look"),
            ],
        )
        # 5 sizes, and in each of the 3 epochs perhaps a batch that is cut.
        assert set(during) == {tuple(limit + more for limit in before)}
        assert limits() == before

    def test_without_compile_it_is_left_alone(self, train, limits):
        runner, _ = train(log_level="INFO", compile=False)
        assert "Dynamo" not in log_of(runner)


@pytest.mark.parametrize(
    "optim_wrapper, accumulated, calls",
    [
        # 5 sizes, the first one twice.
        (SGD, 1, 6),
        # An iteration whose gradients stay, and the one that updates.
        (SGD, 3, 12),
        # AGVM: the iteration before a measured one, that one, and its second look.
        (AGVM, 1, 18),
        (dict(AGVM, agvm=dict(AGVM["agvm"], stop_iter=0)), 1, 6),
        # True halves: all four parts of a measured update.
        (AGVM, 4, 24),
    ],
)
def test_what_takes_the_most_memory_is_run(train, optim_wrapper, accumulated, calls):
    counts = []
    for dry_run in (True, False):
        with dry_run_toys.counted() as counted:
            train(
                dry_run=dry_run,
                optim_wrapper=dict(optim_wrapper, accumulative_counts=accumulated),
            )
        counts.append(len(counted))
    assert counts[0] - counts[1] == calls


class TestFlag:
    """What ``tools/train.py --dry-run-sizes`` does to a config."""

    @pytest.mark.parametrize("flag, code", [(["--dry-run-sizes"], 2), ([], 0)])
    def test_a_size_that_does_not_fit_ends_the_command(
        self, tool, tmp_path, flag, code
    ):
        # 4x4, 16 a batch, and 8x8, 4 a batch, are drawn by none of the two epochs.
        settings = dict(
            dry_run_toys.settings(dry_run=False),
            custom_imports=dict(imports=["dry_run_toys"], allow_failed_imports=False),
            model=dict(type="KeepingNet", most=255, error="real"),
            optim_wrapper=SGD,
            default_scope="mmengine",
            log_level="ERROR",
        )
        settings["train_dataloader"]["sampler"]["shuffle"] = False
        settings["train_cfg"]["max_epochs"] = 1
        settings["custom_hooks"] = [dict(type="MultiScaleSamplerHook")]
        settings["train_dataloader"]["batch_sampler"].update(
            sizes=[5, 4], weights=[1, 0.01]
        )
        config = tmp_path / "toy.py"
        config.write_text("\n".join(f"{k} = {v!r}" for k, v in settings.items()))
        found, text = tool("train.py", config, *flag)
        assert found == code
        if code:
            (line,) = text.splitlines()
            assert line.startswith(
                "train.py: error: Dry run: a batch of 16 images of 4x4 does not fit "
                "into the memory of cpu, rank 0 ("
            )
            assert "batch_size=4" in line and "allocate memory" in line

    @pytest.mark.parametrize("hooks", [None, [], [dict(type="EMAHook")]])
    def test_it_adds_the_hook(self, hooks):
        config = Config(dict(custom_hooks=hooks))
        cli.add_dry_run(config)
        assert config.custom_hooks == [*(hooks or []), dict(type="DryRunHook")]
        assert "mms_plugin" in config.custom_imports.imports
        assert isinstance(HOOKS.build(config.custom_hooks[-1]), DryRunHook)

    @pytest.mark.parametrize("kind", ["DryRunHook", DryRunHook])
    def test_it_leaves_a_hook_that_is_there(self, kind):
        hooks = [dict(type=kind, images="most_instances")]
        config = Config(dict(custom_hooks=hooks))
        cli.add_dry_run(config)
        assert config.custom_hooks == hooks
