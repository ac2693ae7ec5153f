"""AGVM inside MMEngine's runner: logs, schedules, EMA, checkpoints, resume."""

import json

import numpy as np
import pytest
import torch
from agvm_toy import ToyDetector, logged, toy_batch, weights
from mmengine.registry import MODELS
from mmengine.runner import Runner
from torch.utils.data import Dataset

import mms_plugin  # noqa: F401

MODELS.register_module(name="ToyDetectorOfTests", module=ToyDetector, force=True)


class Images(Dataset):
    def __len__(self):
        return 12

    def __getitem__(self, index):
        return dict(inputs=toy_batch(index, size=1)[0])


def _runner(work_dir, name, epochs=3, wrapper="AGVMOptimWrapper", counts=1, **changes):
    optim_wrapper = dict(
        type=wrapper,
        optimizer=dict(type="AdamW", lr=0.01, weight_decay=0.05),
        paramwise_cfg=dict(bias_decay_mult=0.0),
        clip_grad=dict(max_norm=5.0),
        accumulative_counts=counts,
    )
    if wrapper != "OptimWrapper":
        optim_wrapper.update(
            constructor="AGVMOptimWrapperConstructor",
            agvm=dict(interval=2, start_iter=1, momentum=0.5),
        )
    settings = dict(
        model=dict(type="ToyDetectorOfTests"),
        work_dir=str(work_dir),
        experiment_name=name,
        train_dataloader=dict(
            batch_size=2,
            dataset=Images(),
            sampler=dict(type="DefaultSampler", shuffle=True),
            collate_fn=dict(type="default_collate"),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=optim_wrapper,
        param_scheduler=[
            dict(type="LinearLR", start_factor=0.1, by_epoch=False, begin=0, end=4),
            dict(type="CosineAnnealingLR", by_epoch=False, begin=4, T_max=14),
        ],
        default_hooks=dict(
            logger=dict(type="LoggerHook", interval=1),
            checkpoint=dict(type="CheckpointHook", interval=1),
        ),
        custom_hooks=[dict(type="EMAHook")],
        randomness=dict(seed=0),
        default_scope="mmengine",
        visualizer=dict(
            type="Visualizer",
            vis_backends=[
                dict(type="LocalVisBackend"),
                dict(type="TensorboardVisBackend"),
            ],
        ),
        log_level="WARNING",
    )
    settings.update(changes)
    return Runner(**settings)


@pytest.mark.parametrize("counts", [1, 2])
def test_resume_by_epoch_equals_the_uninterrupted_run(tmp_path, counts):
    whole = _runner(tmp_path / "whole", "whole", counts=counts)
    whole.train()
    assert whole.optim_wrapper.agvm.num_measured == (9 if counts == 1 else 4)
    checkpoint = tmp_path / "whole" / "epoch_1.pth"
    resumed = _runner(
        tmp_path / "resumed",
        "resumed",
        counts=counts,
        load_from=str(checkpoint),
        resume=True,
    )
    resumed.train()
    assert resumed.iter == 18
    assert resumed.optim_wrapper.agvm.multipliers == (
        whole.optim_wrapper.agvm.multipliers
    )
    for name, weight in weights(whole.model).items():
        assert torch.equal(weights(resumed.model)[name], weight), name
    rates = whole.optim_wrapper.get_lr()
    assert resumed.optim_wrapper.get_lr() == rates
    assert min(rates["lr"]) < 2e-4  # the cosine is at its end


def test_the_logs(tmp_path):
    runner = _runner(tmp_path, "logs")
    runner.train()
    path = next(tmp_path.glob("*/vis_data/scalars.json"))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    last = [line for line in lines if "loss" in line][-1]
    for name, mu in runner.optim_wrapper.agvm.multipliers.items():
        assert last[f"agvm/mu/{name}"] == pytest.approx(mu)
        phi = runner.optim_wrapper.agvm.variances[name]
        assert last[f"agvm/phi/{name}"] == pytest.approx(phi)
    assert "agvm/mu/roi_head.bbox_head" in last
    # The rate in the logs is the schedule's.
    lr = [line["lr"] for line in lines if "loss" in line]
    assert lr[:5] == pytest.approx([0.001, 0.004, 0.007, 0.01, 0.01], rel=1e-6)

    event = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    )
    events = event.EventAccumulator(str(path.parent))
    events.Reload()
    assert "agvm/mu/neck" in events.Tags()["scalars"]


def test_a_plain_run_resumes_with_agvm(tmp_path):
    plain = _runner(tmp_path / "plain", "plain", wrapper="OptimWrapper")
    plain.train()
    resumed = _runner(
        tmp_path / "agvm",
        "agvm",
        load_from=str(tmp_path / "plain" / "epoch_2.pth"),
        resume=True,
    )
    resumed.train()
    agvm = resumed.optim_wrapper.agvm
    assert agvm.num_measured == 3 and agvm.multipliers["neck"] != 1.0
    assert resumed.optim_wrapper.get_lr()["lr"] == pytest.approx(
        plain.optim_wrapper.get_lr()["lr"]
    )


def test_clipping_within_a_range_and_exponential_warm_up(tmp_path):
    warmup, clipped, rates = 6, [], []

    runner = _runner(
        tmp_path,
        "companions",
        param_scheduler=[
            dict(type="ConstantLR", factor=0.001, by_epoch=False, end=10**9),
            dict(
                type="ExponentialLR",
                gamma=1000 ** (1 / warmup),
                by_epoch=False,
                begin=0,
                end=warmup + 1,
            ),
            dict(type="MultiStepLR", milestones=[2], gamma=0.1, by_epoch=True),
        ],
        custom_hooks=[dict(type="ClipGradRangeHook", begin=3, end=7)],
    )
    step = runner.build_optim_wrapper(runner.optim_wrapper)
    runner.optim_wrapper = step
    original = step.optimizer.step

    def spy(*args, **kwargs):
        clipped.append(step.clip_grad_kwargs is not None)
        rates.append(step.get_lr()["base_lr"][0])
        return original(*args, **kwargs)

    step.optimizer.step = spy
    runner.train()
    assert [i for i, value in enumerate(clipped) if value] == [3, 4, 5, 6]
    assert step.clip_grad_kwargs == dict(max_norm=5.0)
    expected = [0.01 * 0.001 ** (1 - i / warmup) for i in range(warmup)]
    expected += [0.01] * 6 + [0.001] * 6
    np.testing.assert_allclose(rates, expected, rtol=1e-9)
    path = next(tmp_path.glob("*/vis_data/scalars.json"))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    norms = [line.get("grad_norm") for line in lines if "loss" in line]
    assert [i for i, norm in enumerate(norms) if norm is not None] == [3, 4, 5, 6]


@pytest.mark.parametrize(
    "train_cfg, length",
    [
        (dict(by_epoch=True, max_epochs=2), "12 iterations (6 updates"),
        (dict(by_epoch=False, max_iters=9), "9 iterations (5 updates"),
    ],
    ids=["epochs", "iterations"],
)
def test_agvm_that_never_measures_says_so_in_both_loops(tmp_path, train_cfg, length):
    def told(start_iter, folder, **changes):
        runner = _runner(
            tmp_path / folder, folder, counts=2, train_cfg=train_cfg, **changes
        )
        runner.optim_wrapper["agvm"].update(start_iter=start_iter, interval=1)
        with logged() as messages:
            runner.train()
        found = [m for m in messages if m.startswith("AGVM never")]
        assert (runner.optim_wrapper.agvm.num_measured == 0) == bool(found)
        return found

    (text,) = told(600, "late")
    assert "start_iter=600" in text and length in text
    assert told(0, "early") == []


def test_arguments_of_none_are_fitted_to_the_training(tmp_path):
    """Start after an eighth of 18 iterations and three more, also when resumed."""
    arguments = dict(start_iter=None, interval=None, momentum=None)

    def trained(name, **changes):
        runner = _runner(tmp_path / name, name, **changes)
        runner.optim_wrapper["agvm"] = dict(arguments)
        with logged() as messages:
            runner.train()
        config = runner.optim_wrapper.agvm.config
        assert (config.start_iter, config.interval, config.momentum) == (5, 1, 0.9)
        assert not any("measures only" in m or "never" in m for m in messages)
        assert not any("cannot be fitted" in m for m in messages)
        return runner

    dry_run = dict(type="DryRunHook")
    whole = trained("whole", custom_hooks=[dict(type="EMAHook"), dry_run])
    assert whole.optim_wrapper.agvm.num_measured == 13
    resumed = trained(
        "resumed", load_from=str(tmp_path / "whole" / "epoch_1.pth"), resume=True
    )
    assert resumed.optim_wrapper.agvm.multipliers == (
        whole.optim_wrapper.agvm.multipliers
    )
