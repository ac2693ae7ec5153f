"""One process without accumulation: a part of a batch at the last weights."""

import copy
import math
import random

import numpy as np
import pytest
import torch
from agvm_toy import (
    ToyDetector,
    build,
    build_plain,
    gradients_in_float64,
    logged,
    make_toy,
    module_vector,
    toy_batch,
    train_iteration,
    weights,
)
from mmengine.model import BaseModel, MMDistributedDataParallel
from torch import nn

SGD = dict(type="SGD", lr=0.1, momentum=0.9, weight_decay=1e-3)
ADAMW = dict(type="AdamW", lr=0.01, weight_decay=0.05)


def _estimate(one, two, ratio):
    """Halves' variance by bisection over the noise, from the model of the docs."""
    cosine = one @ two / np.linalg.norm(one) / np.linalg.norm(two)
    if cosine <= 0:
        return None
    low, high = 0.0, 1e12
    for _ in range(200):
        x = (low + high) / 2
        if 1 / math.sqrt((1 + x) * (1 + x / ratio)) > cosine:
            low = x
        else:
            high = x
    return 1 - 1 / (1 + 2 * low)


# ------------------------------------------------------------------------ what it is
@pytest.mark.parametrize("optimizer", [SGD, ADAMW], ids=["SGD", "AdamW"])
@pytest.mark.parametrize("interval, fraction", [(1, 0.25), (3, 0.5)])
def test_it_agrees_with_numpy(optimizer, interval, fraction):
    model = make_toy()
    agvm = dict(interval=interval, start_iter=2, lookback_fraction=fraction)
    wrapper = build(model, optimizer, agvm)
    wrapper.initialize_count_status(model, 0, 9)
    last, moment, compared = None, {}, 0
    for iteration in range(9):
        batch = toy_batch(iteration, size=4 if iteration % 2 else 9)
        before = copy.deepcopy(model)
        grads = gradients_in_float64(model, batch)
        for name, grad in grads.items():
            moment[name] = 0.999 * moment.get(name, 0.0) + 0.001 * grad**2
        train_iteration(model, wrapper, batch)
        if iteration >= 2 and (iteration - 2) % interval == 0:
            model_then, grads_then, size = last
            count = max(2, math.floor(fraction * len(batch)))
            part = gradients_in_float64(model_then, batch[:count])
            if optimizer is ADAMW:
                for both in (grads_then, part):
                    for name in both:
                        both[name] = both[name] / (np.sqrt(moment[name]) + 1e-8)
            for module, phi in wrapper.agvm.variances.items():
                expected = _estimate(
                    module_vector(grads_then, module),
                    module_vector(part, module),
                    count / size,
                )
                if expected is not None:
                    assert phi == pytest.approx(expected, rel=5e-3, abs=1e-6)
                    compared += 1
        last = before, grads, len(batch)
    assert wrapper.agvm.num_measured == len(range(2, 9, interval))
    assert compared > 8


class Quadratic(BaseModel):
    """Gradients of known mean and noise: ``curvature * weight - image`` each."""

    def __init__(self, size, curvature=0.0):
        super().__init__()
        self.backbone, self.neck = nn.Module(), nn.Module()
        self.backbone.weight = nn.Parameter(torch.ones(size))
        self.neck.weight = nn.Parameter(torch.ones(size))
        self.curvature = curvature

    def forward(self, inputs, data_samples=None, mode="loss"):
        weight = torch.stack([self.backbone.weight, self.neck.weight])
        energy = self.curvature * weight.pow(2).sum() / 2
        return dict(loss=energy - (inputs * weight).sum((1, 2)).mean())


@pytest.mark.parametrize("fraction", [0.125, 0.25, 1.0])
@pytest.mark.parametrize("curvature", [0.0, 1.9])
def test_known_noise_is_found_whatever_the_weights_do(fraction, curvature):
    """With the curvature the mean gradient turns round in every update."""
    size, noise = 20_000, dict(backbone=3.0, neck=1.0)
    results, weight = {}, {}
    for single in ("lookback", "consecutive"):
        generator = torch.Generator().manual_seed(0)
        model = Quadratic(size, curvature).double()
        agvm = dict(start_iter=1, single_process=single, lookback_fraction=fraction)
        wrapper = build(
            model, dict(type="SGD", lr=1.0), dict(agvm, modulate=False, stop_iter=2)
        )
        wrapper.initialize_count_status(model, 0, 10)
        weight = weights(model)
        for batch in (16, 24):
            images = torch.randn(batch, 2, size, generator=generator).double()
            images *= torch.tensor(list(noise.values())).view(1, 2, 1)
            model.train_step(dict(inputs=images + (curvature == 0.0)), wrapper)
        results[single] = wrapper.agvm.variances
        assert wrapper.agvm.num_measured == 1
    for name, sigma in noise.items():
        signal = float(weight[f"{name}.weight"].pow(2).mean()) * curvature**2 or 1.0
        expected = 1 - 1 / (1 + sigma**2 / 8 / signal)  # halves of eight images
        assert results["lookback"][name] == pytest.approx(expected, abs=0.02)
    if curvature:
        assert results["consecutive"]["neck"] > 1.0


# -------------------------------------------------------------------- leaves no trace
class Restless(ToyDetector):
    """Changes all that a forward pass may change."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(5)
        self.momentum_weight = nn.Parameter(torch.zeros(5), requires_grad=False)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, inputs, data_samples=None, mode="loss"):
        x = self.norm(self.neck(self.backbone(inputs)))
        x = nn.functional.dropout(x, 0.3, self.training).tanh()
        with torch.no_grad():
            self.momentum_weight.lerp_(x.float().mean((0, 2, 3)), 0.1)
        self.calls = self.calls + 1  # a new tensor in the buffer's place
        noise = torch.rand(()) + random.random() + np.random.rand()
        box = self.roi_head.bbox_head(x.mean((2, 3)) + self.momentum_weight)
        return dict(
            loss_rpn=self.rpn_head(x).pow(2).mean() * self.scale[0] * noise,
            loss_box=box.pow(2).mean() * self.scale[1],
        )


@pytest.mark.parametrize("precision", ["", "BFloat16"])
def test_it_leaves_no_trace(precision):
    runs = []
    for kind in ("plain", "agvm"):
        torch.manual_seed(0)
        np.random.seed(0)
        random.seed(0)
        model = Restless()
        model.train()
        model.backbone[0].eval()
        if kind == "agvm":
            wrapper = build(
                model,
                SGD,
                dict(modulate=False),
                type=f"{precision}AGVMOptimWrapper",
                clip_grad=dict(max_norm=0.5),
            )
        else:
            import mms_plugin  # noqa: F401

            wrapper = build_plain(model, SGD, clip_grad=dict(max_norm=0.5))
            if precision:
                from mms_plugin.agvm import BFloat16OptimWrapper

                wrapper = BFloat16OptimWrapper(
                    wrapper.optimizer, clip_grad=dict(max_norm=0.5)
                )
        wrapper.initialize_count_status(model, 0, 100)
        for iteration in range(6):
            batch = toy_batch(iteration, size=(8, 3, 5)[iteration % 3])
            with wrapper.optim_context(model):
                loss = model.parse_losses(model(batch))[0]
            wrapper.backward(loss)
            wrapper.step()
            grads = [p.grad for p in model.parameters() if p.requires_grad]
            assert all(grad is not None for grad in grads)
            wrapper.zero_grad()
        runs.append((model, wrapper, grads))
    (plain, _, plain_grads), (ours, wrapper, our_grads) = runs
    assert wrapper.agvm.num_measured == 5
    assert wrapper.agvm.multipliers["neck"] != 1.0
    for name, value in plain.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value), name
    assert all(map(torch.equal, our_grads, plain_grads))
    assert plain.calls == 6
    assert [m.training for m in ours.modules()] == [m.training for m in plain.modules()]
    assert not ours._forward_pre_hooks and not ours.norm._forward_pre_hooks


def test_random_numbers_go_on_as_they_would():
    states = []
    for single in ("lookback", "consecutive"):
        torch.manual_seed(0)
        np.random.seed(0)
        random.seed(0)
        model = Restless()
        wrapper = build(model, SGD, dict(modulate=False, single_process=single))
        wrapper.initialize_count_status(model, 0, 100)
        for iteration in range(3):
            train_iteration(model, wrapper, toy_batch(iteration))
        states.append((torch.rand(3).tolist(), np.random.rand(), random.random()))
    assert states[0] == states[1]


# ------------------------------------------------------------------------ what it runs
def test_it_runs_no_more_than_it_says():
    sizes = []
    model = make_toy()
    model.neck.register_forward_hook(lambda *a: sizes.append(len(a[-1])))
    wrapper = build(model, SGD, dict(interval=4, start_iter=4))
    wrapper.initialize_count_status(model, 0, 100)
    for iteration in range(10):
        train_iteration(model, wrapper, toy_batch(iteration, size=11))
    # In iterations 4 and 8, two of eleven images.
    assert sizes == [11] * 5 + [2] + [11] * 4 + [2] + [11]
    assert wrapper.agvm.num_measured == 2


def test_batches_of_one_image():
    model = make_toy()
    wrapper = build(model)
    wrapper.initialize_count_status(model, 0, 100)
    with logged() as messages:
        for iteration in range(4):
            train_iteration(model, wrapper, toy_batch(iteration, size=1))
    assert wrapper.agvm.num_measured == 3 and not messages


@pytest.mark.parametrize("sizes", [[4] * 4, [8, 8, 3, 8], [2] * 4])
def test_batch_norm_over_pooled_features_has_two_images(sizes):
    torch.manual_seed(0)
    model = Normed()
    wrapper = build(model, SGD, dict(modulate=False))
    wrapper.initialize_count_status(model, 0, 100)
    seen = []
    model.norm.register_forward_hook(lambda *a: seen.append(len(a[-1])))
    with logged() as messages:
        for iteration, size in enumerate(sizes):
            train_iteration(model, wrapper, toy_batch(iteration, size=size))
    assert wrapper.agvm.num_measured == 3 and not messages
    assert seen == [sizes[0], *(n for size in sizes[1:] for n in (size, 2))]


def test_one_process_of_ddp(tmp_path):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1
    )
    try:
        results = []
        for wrap in (lambda model: model, MMDistributedDataParallel):
            model = make_toy()
            wrapped = wrap(model)
            wrapper = build(wrapped)
            wrapper.initialize_count_status(wrapped, 0, 100)
            for iteration in range(4):
                train_iteration(wrapped, wrapper, toy_batch(iteration))
            results.append((wrapper.agvm.variances, weights(model)))
            assert wrapper.agvm.num_measured == 3
    finally:
        torch.distributed.destroy_process_group()
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-4)
    for name, weight in results[0][1].items():
        torch.testing.assert_close(results[1][1][name], weight)


def test_a_classifier_of_mmpretrain_with_mixup():
    pytest.importorskip("mmpretrain")
    from mmengine.registry import DefaultScope
    from mmpretrain.models import ImageClassifier
    from mmpretrain.structures import DataSample

    from mms_plugin.agvm import BFloat16OptimWrapper  # noqa: F401

    with DefaultScope.overwrite_default_scope("mmpretrain"):
        torch.manual_seed(0)
        model = ImageClassifier(
            backbone=dict(type="ResNet", depth=18, base_channels=8, stem_channels=8),
            neck=dict(type="GlobalAveragePooling"),
            head=dict(
                type="LinearClsHead",
                num_classes=5,
                in_channels=64,
                loss=dict(type="CrossEntropyLoss", use_soft=True),
            ),
            data_preprocessor=dict(
                type="ClsDataPreprocessor",
                num_classes=5,
                to_onehot=True,
                batch_augments=dict(augments=[dict(type="Mixup", alpha=0.8)]),
            ),
        )
    models = [model, copy.deepcopy(model)]
    settings = dict(start_iter=0, modulate=False)
    wrappers = [build(model, SGD, settings), build_plain(models[1], SGD)]
    with logged() as messages:
        for one, wrapper in zip(models, wrappers):
            torch.manual_seed(1)
            np.random.seed(1)
            wrapper.initialize_count_status(one, 0, 100)
            for _ in range(3):
                images = torch.randn(8, 3, 32, 32)
                samples = [DataSample().set_gt_label(i % 5) for i in range(8)]
                one.train_step(dict(inputs=images, data_samples=samples), wrapper)
    assert not any("cannot run the model" in message for message in messages)
    agvm = wrappers[0].agvm
    assert agvm.num_measured == 2 and agvm.multipliers["head"] != 1.0
    for name, value in models[1].state_dict().items():
        assert torch.equal(models[0].state_dict()[name], value), name


# ------------------------------------------------------------------- where it cannot
class Opaque:
    """A batch that only the model knows to read."""

    def __init__(self, images):
        self.images = images


class Reader(ToyDetector):
    def forward(self, inputs, data_samples=None, mode="loss"):
        return super().forward(inputs.images)


class Normed(ToyDetector):
    """Cannot train on a single image."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(3)

    def forward(self, inputs, data_samples=None, mode="loss"):
        self.norm(inputs.mean((2, 3)))
        return super().forward(inputs)


class Paired(ToyDetector):
    """Cannot train on two images."""

    def forward(self, inputs, data_samples=None, mode="loss"):
        if len(inputs) < 3:
            raise ValueError("needs three images")
        return super().forward(inputs)


class Twice(ToyDetector):
    def step(self, data, wrapper):
        with wrapper.optim_context(self):
            losses = [self.parse_losses(self(part))[0] for part in data.chunk(2)]
        wrapper.update_params(sum(losses))


class OwnStep(ToyDetector):
    """Trains on another loss than that of its output."""

    def train_step(self, data, wrapper):
        with wrapper.optim_context(self):
            losses = self(data)
        wrapper.update_params(2 * self.parse_losses(losses)[0])

    step = train_step


class Compiled(ToyDetector):
    """As MMEngine's ``compile=True`` makes a model."""

    def __init__(self):
        super().__init__()
        self.train_step = torch.compile(self.train_step, backend="eager")

    def step(self, data, wrapper):
        train_iteration(self, wrapper, data)


def _steps(model, wrapper, batches):
    for batch in batches:
        if hasattr(model, "step"):
            model.step(batch, wrapper)
        else:
            train_iteration(model, wrapper, batch)


@pytest.mark.parametrize(
    "kind, words, measured",
    [
        (Reader, "it was called without a batch", 4),
        (Paired, "it failed on 2 images of a batch: ValueError: needs three", 3),
        (Twice, "it is called more than once in an iteration", 4),
        (OwnStep, "OwnStep has its own train_step", 4),
        (Compiled, "its train_step is compiled", 4),
    ],
)
def test_where_it_cannot_it_compares_consecutive_iterations(kind, words, measured):
    torch.manual_seed(0)
    model = kind()
    twin = copy.deepcopy(model)
    batches = [toy_batch(i) for i in range(5)]
    if kind is Reader:
        batches = [Opaque(batch) for batch in batches]
    settings = dict(modulate=False)
    wrapper = build(model, SGD, settings)
    wrapper.initialize_count_status(model, 0, 100)
    with logged() as messages:
        _steps(model, wrapper, batches[:3])
    said = [message for message in messages if "cannot run the model" in message]
    assert len(said) == 1 and words in said[0] and "consecutive" in said[0]

    # A resumed training does so too, as with single_process="consecutive".
    state = copy.deepcopy(wrapper.state_dict())
    resumed = copy.deepcopy(model)
    resumed_wrapper = build(resumed, SGD, settings)
    resumed_wrapper.load_state_dict(state)
    resumed_wrapper.initialize_count_status(resumed, 3, 100)
    told = build(twin, SGD, dict(settings, single_process="consecutive"))
    told.initialize_count_status(twin, 0, 100)
    with logged() as messages:
        _steps(model, wrapper, batches[3:])
        _steps(resumed, resumed_wrapper, batches[3:])
        _steps(twin, told, batches)
    assert not messages
    assert wrapper.agvm.num_measured == measured
    assert wrapper.agvm.variances == told.agvm.variances
    assert resumed_wrapper.agvm.multipliers == wrapper.agvm.multipliers


def test_a_loop_without_its_context():
    model = make_toy()
    wrapper = build(model)
    with logged() as messages:
        for iteration in range(4):
            wrapper.update_params(model.parse_losses(model(toy_batch(iteration)))[0])
    assert sum("seen in optim_context(model)" in text for text in messages) == 1
    assert wrapper.agvm.num_measured == 3


def test_calls_in_other_modes_do_not_count():
    model = make_toy()
    wrapper = build(model)
    wrapper.initialize_count_status(model, 0, 100)
    with logged() as messages:
        for iteration in range(3):
            batch = toy_batch(iteration)
            with wrapper.optim_context(model):
                with torch.no_grad():
                    model(batch[:1], mode="tensor")
                losses = model(batch)
            wrapper.update_params(model.parse_losses(losses)[0])
    assert wrapper.agvm.num_measured == 2 and not messages


def test_a_head_without_gradients_in_the_part_keeps_its_multiplier():
    model = make_toy(mask_head=True)
    wrapper = build(model, SGD, dict(modulate=False))
    wrapper.initialize_count_status(model, 0, 100)
    for iteration in range(3):
        train_iteration(model, wrapper, toy_batch(iteration))
    before = dict(wrapper.agvm.multipliers)
    train_iteration(model, wrapper, toy_batch(3), masks=False)
    middle = dict(wrapper.agvm.multipliers)
    train_iteration(model, wrapper, toy_batch(4))  # batch 3 had none
    after = dict(wrapper.agvm.multipliers)
    mask = "roi_head.mask_head"
    assert before[mask] == middle[mask] == after[mask] != 1.0
    assert len({before["neck"], middle["neck"], after["neck"]}) == 3
