import json
import math
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, MODELS
from toys import ToyModel, train_dataloader

import mms_plugin.agvm  # noqa: F401
from mms_plugin.hooks import ResolutionCurriculumHook

CURRICULUM = dict(type="ResolutionCurriculumHook", start_sizes=[4, 6])
COSINE = dict(
    type="CosineAnnealingLR", T_max=5, by_epoch=True, convert_to_iter_based=True
)


@HOOKS.register_module()
class Record(Hook):
    """What an iteration really had: its rate and its progress, as the log tells it."""

    priority = "VERY_LOW"

    def __init__(self):
        self.lr, self.progress, self.base_lr = [], [], []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.lr.append(runner.optim_wrapper.get_lr()["lr"][0])
        length = len(runner.train_dataloader)
        self.progress.append((runner.epoch, batch_idx, length, runner.max_iters))

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.base_lr.append(runner.optim_wrapper.get_lr()["lr"][0])


def shapes(runner):
    model = runner.model
    return [(h, w, n) for n, _, h, w in model.shapes]


def planned(runner):
    sampler = runner.train_dataloader.batch_sampler
    return [b for epoch in range(runner.max_epochs) for b in sampler.plan(epoch)]


@pytest.mark.parametrize("from_cfg", [True, False])
@pytest.mark.parametrize(
    "hook",
    [
        None,
        CURRICULUM,
        dict(CURRICULUM, by_epoch=False),
        dict(CURRICULUM, schedule="constant"),
        dict(CURRICULUM, schedule="cosine"),
        dict(CURRICULUM, schedule="step", milestones=[0.3, 0.6]),
    ],
)
def test_books_are_exact(make_runner, hook, from_cfg):
    record = dict(type="Record")
    hooks = [record] if hook is None else [hook, record]
    runner = make_runner(
        from_cfg,
        custom_hooks=hooks,
        train_dataloader=train_dataloader(num=90),
        param_scheduler=[
            dict(type="LinearLR", start_factor=0.1, by_epoch=False, begin=0, end=6),
            dict(COSINE),
        ],
    )
    (record,) = (h for h in runner.hooks if isinstance(h, Record))
    runner.train()
    batches = planned(runner)
    total = len(batches)
    assert shapes(runner) == batches
    assert runner.iter == runner.max_iters == total
    sampler = runner.train_dataloader.batch_sampler
    assert sampler.total_batches(5) == total
    # The log's "[iteration/length]" ends even in every epoch, of all iterations.
    ends = [p for p, q in zip(record.progress, record.progress[1:]) if p[0] != q[0]]
    assert all(batch_idx + 1 == length for _, batch_idx, length, _ in ends)
    assert {p[3] for p in record.progress} == {total}
    cosine = [(1 + math.cos(math.pi * i / total)) / 2 for i in range(total)]
    warm_up = [0.1 + 0.9 * min(i / 5, 1) for i in range(total)]
    expected = [0.1 * a * b for a, b in zip(cosine, warm_up)]
    assert record.lr == pytest.approx(expected, abs=1e-9)
    for epoch in range(5):
        position = sampler.iterations_before(epoch)
        samples = runner.model.samples[position : sampler.iterations_before(epoch + 1)]
        assert sorted(sum(samples, [])) == list(range(90))


def test_sizes_grow(make_runner):
    runner = make_runner(custom_hooks=[CURRICULUM])
    runner.train()
    sampler = runner.train_dataloader.batch_sampler
    position = 0
    for epoch, largest in enumerate([6, 7.5, 9, 10.5, 12]):
        length = len(sampler.plan(epoch))
        sides = {h for h, _, _ in shapes(runner)[position : position + length]}
        assert max(sides) <= largest and max(sides) > largest - 2.1
        position += length


def test_multi_step_by_epoch_drops_at_its_epochs(make_runner):
    record = Record()
    runner = make_runner(
        False,
        custom_hooks=[CURRICULUM, record],
        param_scheduler=dict(type="MultiStepLR", milestones=[2, 4], by_epoch=True),
    )
    runner.train()
    for (epoch, *_), lr in zip(record.progress, record.lr):
        assert lr == pytest.approx(0.1 * 0.1 ** ((epoch >= 2) + (epoch >= 4)))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("sampler", ["InfiniteSampler", "DefaultSampler"])
def test_training_counted_in_iterations(make_runner, sampler, workers):
    runner = make_runner(
        custom_hooks=[CURRICULUM],
        train_dataloader=train_dataloader(
            40, sampler=dict(type=sampler, shuffle=True), num_workers=workers
        ),
        # MMEngine sleeps for two seconds between epochs of a finite sampler.
        train_cfg=dict(by_epoch=False, max_iters=40 if sampler[0] == "I" else 18),
        param_scheduler=dict(type="CosineAnnealingLR", by_epoch=False, eta_min=0),
    )
    runner.train()
    total = runner.max_iters
    batches = runner.train_dataloader.batch_sampler.plan_iterations(0, total)
    assert shapes(runner) == batches and runner.iter == total
    assert max(h for h, _, _ in batches[: total // 6]) <= 6
    assert max(h for h, _, _ in batches) > 8
    lr = runner.optim_wrapper.get_lr()["lr"][0]
    assert lr == pytest.approx(0.05 * (1 + math.cos(math.pi * (total - 1) / total)))
    seen = [i for batch in runner.model.samples for i in batch]
    assert sorted(seen[:40]) == list(range(40))


def test_sizes_are_logged(make_runner, tmp_path):
    runner = make_runner(
        custom_hooks=[CURRICULUM],
        log_level="INFO",
        visualizer=dict(
            type="Visualizer",
            name=tmp_path.name,
            vis_backends=[
                dict(type="LocalVisBackend"),
                dict(type="TensorboardVisBackend"),
            ],
        ),
    )
    runner.train()

    def lines_of(name):
        text = (Path(runner.log_dir) / "vis_data" / name).read_text()
        return [json.loads(line) for line in text.splitlines()]

    drawn = lines_of("sizes.json")
    assert [
        (d["train/height"], d["train/width"], d["train/batch_size"]) for d in drawn
    ] == planned(runner)
    assert [d["step"] for d in drawn] == list(range(1, runner.max_iters + 1))
    lengths = [len(runner.train_dataloader.batch_sampler.plan(e)) for e in range(5)]
    assert [d["epoch"] for d in drawn] == [
        epoch + 1 for epoch, length in enumerate(lengths) for _ in range(length)
    ]
    # Tools take each line of MMEngine's own log for one of its LoggerHook.
    logged = lines_of("scalars.json")
    assert logged and all("loss" in line and "lr" in line for line in logged)
    assert all(line["batch_size"] >= 1 for line in logged)
    text = "".join(p.read_text() for p in Path(runner.log_dir).glob("*.log"))
    assert "Epoch 1: drawing from 2 sizes: 4x4, 6x6" in text
    assert "Epoch 5: drawing from 5 sizes" in text
    events = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    )
    accumulator = events.EventAccumulator(str(Path(runner.log_dir) / "vis_data"))
    accumulator.Reload()
    heights = [h for h, _, _ in planned(runner)]
    events = accumulator.Scalars("height")
    assert events and all(e.value == heights[e.step - 1] for e in events)


@pytest.mark.parametrize("scaling, power", [("none", 0), ("sqrt", 0.5), ("linear", 1)])
def test_lr_scaling(make_runner, scaling, power):
    record = Record()
    runner = make_runner(
        False,
        custom_hooks=[dict(CURRICULUM, lr_scaling=scaling), record],
        param_scheduler=dict(COSINE),
    )
    runner.train()
    batches, total = planned(runner), runner.max_iters
    base = [0.05 * (1 + math.cos(math.pi * i / total)) for i in range(total)]
    expected = [lr * (b / 4) ** power for lr, (_, _, b) in zip(base, batches)]
    assert record.lr == pytest.approx(expected, abs=1e-9)
    # What the schedulers go on from is the unscaled rate.
    assert record.base_lr[:-1] == pytest.approx(base[1:], abs=1e-9)


def test_lr_scaling_over_accumulated_batches(make_runner):
    record = Record()
    runner = make_runner(
        False,
        custom_hooks=[dict(CURRICULUM, lr_scaling="linear"), record],
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1), accumulative_counts=3),
    )
    runner.train()
    images = [b for _, _, b in planned(runner)]
    for i in range(2, len(images), 3):
        mean = sum(images[i - 2 : i + 1]) / 3
        assert record.lr[i] == pytest.approx(0.1 * mean / 4)


def test_resumed_training_goes_on_where_it_was(make_runner):
    options = dict(
        param_scheduler=[
            dict(type="LinearLR", start_factor=0.1, by_epoch=False, begin=0, end=6),
            dict(COSINE),
        ],
        default_hooks=dict(checkpoint=dict(type="CheckpointHook", interval=1)),
    )
    whole = make_runner(custom_hooks=[CURRICULUM, dict(type="EMAHook")], **options)
    whole.train()
    position = whole.train_dataloader.batch_sampler.iterations_before(2)
    rest = make_runner(
        custom_hooks=[CURRICULUM, dict(type="EMAHook")],
        load_from=str(Path(whole.work_dir) / "epoch_2.pth"),
        resume=True,
        **options,
    )
    rest.train()
    assert shapes(rest) == shapes(whole)[position:]
    assert rest.model.samples == whole.model.samples[position:]
    assert rest.iter == rest.max_iters == whole.max_iters
    assert torch.equal(rest.model.weight, whole.model.weight)
    assert rest.optim_wrapper.get_lr() == whole.optim_wrapper.get_lr()


@MODELS.register_module()
class ConvModel(ToyModel):
    """A convolution that is to give ones; notes the types that it computes in."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.conv = torch.nn.Conv2d(3, 4, 3)
        self.dtypes = set()

    def forward(self, inputs, i, target_size=None, mode="loss"):
        found = self.conv(inputs)
        self.dtypes.add(found.dtype)
        return dict(loss=((self.weight + found.float() - 1) ** 2).mean())


@HOOKS.register_module()
class Losses(Hook):
    def __init__(self):
        self.losses = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses.append(outputs["loss"].item())


@pytest.mark.parametrize(
    "optim_wrapper",
    [
        dict(optimizer=dict(type="SGD", lr=0.1), accumulative_counts=3),
        # In place of MMEngine's AmpOptimWrapper, which needs an accelerator.
        dict(type="BFloat16OptimWrapper", optimizer=dict(type="AdamW", lr=0.1)),
    ],
)
def test_other_parts_of_mmengine(make_runner, optim_wrapper):
    runner = make_runner(
        model=dict(type="ConvModel"),
        custom_hooks=[CURRICULUM, dict(type="EMAHook"), dict(type="Losses")],
        optim_wrapper=optim_wrapper,
        auto_scale_lr=dict(enable=True, base_batch_size=8),
    )
    runner.train()
    assert runner.optim_wrapper.get_lr()["lr"][0] == pytest.approx(0.05)
    assert runner.iter == runner.max_iters
    (hook,) = (hook for hook in runner.hooks if isinstance(hook, Losses))
    assert len(hook.losses) == runner.max_iters
    assert hook.losses[-1] < hook.losses[0] / 4
    assert runner.model.dtypes == {
        torch.bfloat16 if "type" in optim_wrapper else torch.float32
    }


def test_trained_twice_and_beside_another_runner(make_runner):
    first = make_runner(custom_hooks=[CURRICULUM], param_scheduler=dict(COSINE))
    second = make_runner(param_scheduler=dict(COSINE))
    first.train()
    second.train()
    times = first.max_iters, first.param_schedulers[0].T_max
    first.call_hook("before_run")
    assert (first.max_iters, first.param_schedulers[0].T_max) == times
    assert shapes(second) == planned(second) != shapes(first)


def test_a_test_alone_builds_no_training_data(make_runner):
    loader = train_dataloader()
    loader["dataset"]["dataset"]["type"] = "NotOnThisMachine"
    runner = make_runner(
        custom_hooks=[CURRICULUM],
        train_dataloader=loader,
        test_dataloader=dict(
            batch_size=2,
            sampler=dict(type="DefaultSampler", shuffle=False),
            dataset=dict(type="ToyDataset", num=4, pipeline=[]),
        ),
        test_cfg=dict(),
        test_evaluator=dict(type="CountSamples"),
        model=dict(type="ToyTester"),
    )
    assert runner.test() == {"count": 4}


def test_log_says_what_is_drawn_within_the_epoch(make_runner):
    runner = make_runner(
        custom_hooks=[dict(CURRICULUM, by_epoch=False)], log_level="INFO"
    )
    runner.train()
    text = "".join(p.read_text() for p in Path(runner.log_dir).glob("*.log"))
    # The largest side is 6 + 6 * 0.25 = 7.5 after the first of five epochs.
    assert "Epoch 1: drawing from 2 sizes: 4x4, 6x6\n" in text
    assert "Epoch 2: drawing from 3 sizes: 4x4, 6x6, 8x8\n" in text


# Bad input


def test_hook_without_the_sampler(make_runner):
    loader = train_dataloader()
    loader.pop("batch_sampler")
    loader["dataset"] = dict(type="ToyDataset", num=10, pipeline=[])
    runner = make_runner(custom_hooks=[CURRICULUM], train_dataloader=loader)
    with pytest.raises(ValueError, match="type='MultiScaleVariableBatchSampler'"):
        runner.train()


@pytest.mark.parametrize(
    "kwargs, says",
    [
        (dict(lr_scaling="cube"), "lr_scaling must be one of"),
        (dict(schedule="quadratic"), "schedule must be one of"),
        (dict(begin=0.9, end=0.1), "begin must not lie after end"),
        (dict(begin=2.0), "begin must be a fraction"),
        (dict(schedule="step", milestones=[0.9, 0.1]), "ascending"),
    ],
)
def test_bad_arguments(kwargs, says):
    with pytest.raises(ValueError, match=says):
        ResolutionCurriculumHook(**kwargs)


def test_start_sizes_outside_the_samplers(make_runner):
    runner = make_runner(custom_hooks=[dict(CURRICULUM, start_sizes=[2])])
    with pytest.raises(ValueError, match="start_sizes must lie within"):
        runner.train()


def test_endless_sampler_in_an_epoch_loop(make_runner):
    runner = make_runner(
        custom_hooks=[CURRICULUM],
        train_dataloader=train_dataloader(sampler=dict(type="InfiniteSampler")),
    )
    with pytest.raises(ValueError, match="got InfiniteSampler: set train_dataloader"):
        runner.train()
