import numpy as np
import pytest
import torch
from agvm_toy import TOY_MODULES
from agvm_workers import other_layout, run_ranks, train_mask_rcnn, train_toy
from numpy_agvm import NumpyAGVM

from mms_plugin.agvm.rank_halves import strides_in_bucket

pytestmark = pytest.mark.distributed

SGD = dict(type="SGD", lr=0.1, momentum=0.9, weight_decay=1e-3)
ADAMW = dict(type="AdamW", lr=0.01, weight_decay=0.05)


def _agree(ranks, modules, optimizer, rtol=2e-3, **settings):
    """Compare every rank with the replay in NumPy, iteration by iteration."""
    reference = NumpyAGVM(ranks[0]["start"], modules, optimizer, **settings)
    half = len(ranks) // 2
    for iteration in range(len(ranks[0]["history"])):
        records = [rank["history"][iteration] for rank in ranks]
        gradients = [record["local"] for record in records]
        reference.step(gradients[:half], gradients[half:])
        for record in records:
            assert record["mu"] == records[0]["mu"], "multipliers differ by a bit"
            assert record["phi"].keys() == records[0]["phi"].keys()
            for name, weight in reference.weights.items():
                np.testing.assert_allclose(
                    record["weights"][name], weight, rtol=rtol, atol=2e-5
                )
        for name, mu in reference.mu.items():
            assert records[0]["mu"][name] == pytest.approx(mu, rel=rtol), name
        for name, phi in reference.phi.items():
            assert records[0]["phi"][name] == pytest.approx(phi, rel=rtol, abs=1e-5)
    return reference


@pytest.mark.parametrize("world_size", [2, 3, 4])
@pytest.mark.parametrize("optimizer", [SGD, ADAMW], ids=["SGD", "AdamW"])
def test_real_ranks_agree_with_numpy(world_size, optimizer, tmp_path):
    agvm = dict(interval=2, start_iter=1, momentum=0.6)
    ranks = run_ranks(world_size, train_toy, tmp_path, 8, optimizer, agvm)
    reference = _agree(ranks, TOY_MODULES, optimizer, interval=2, start=1, momentum=0.6)
    moved = [abs(mu - 1) for name, mu in reference.mu.items() if name != "backbone"]
    assert min(moved) > 0.01  # else it would agree for free


@pytest.mark.parametrize("views", [False, True])
@pytest.mark.parametrize("world_size", [2, 4])
def test_weights_of_any_layout_agree_with_numpy(world_size, views, tmp_path):
    agvm = dict(interval=1, start_iter=0, momentum=0.6)
    ranks = run_ranks(
        world_size, _other_layout, tmp_path, dict(gradient_as_bucket_view=views), agvm
    )
    _agree(ranks, TOY_MODULES, SGD, momentum=0.6)


def _other_layout(rank, ddp, agvm):
    return train_toy(rank, 4, SGD, agvm, ddp, layout=other_layout)


@pytest.mark.parametrize(
    "shape, strides, expected",
    [
        ((4, 3, 2, 2), (12, 4, 2, 1), (12, 4, 2, 1)),
        ((4, 3, 2, 2), (12, 1, 6, 3), (12, 1, 6, 3)),  # channels last
        ((4, 3, 1, 1), (3, 1, 3, 3), (3, 1, 3, 3)),
        ((3, 2), (1, 3), (1, 3)),  # transposed
        ((3, 2), (4, 1), (2, 1)),  # with gaps
        ((3, 2), (0, 1), (2, 1)),  # expanded
        ((), (), ()),
    ],
)
def test_strides_in_a_bucket(shape, strides, expected):
    param = torch.zeros(64).as_strided(shape, strides)
    assert strides_in_bucket(param) == expected


@pytest.mark.parametrize("world_size", [2, 3])
@pytest.mark.parametrize("optimizer", [SGD, ADAMW], ids=["SGD", "AdamW"])
def test_mask_rcnn_agrees_with_numpy(world_size, optimizer, tmp_path):
    pytest.importorskip("mmdet")
    optimizer = dict(optimizer, lr=optimizer["lr"] / 10)
    agvm = dict(interval=1, start_iter=0, momentum=0.6)
    ranks = run_ranks(world_size, train_mask_rcnn, tmp_path, 3, optimizer, agvm)
    modules = ["backbone", "neck", "rpn_head", "roi_head.bbox_head"]
    modules.append("roi_head.mask_head")
    reference = _agree(ranks, modules, optimizer, momentum=0.6)
    assert set(reference.mu) == set(modules)
    assert ranks[0]["history"][-1]["mu"]["rpn_head"] != 1.0


@pytest.mark.parametrize(
    "world_size, ddp",
    [
        (2, {}),
        (3, {}),
        (4, {}),
        (3, dict(gradient_as_bucket_view=True)),
        (3, dict(find_unused_parameters=True)),
        (3, dict(static_graph=True)),
    ],
    ids=["2", "3", "4", "views", "unused", "static"],
)
def test_with_multipliers_of_1_it_is_plain_ddp_bit_for_bit(world_size, ddp, tmp_path):
    agvm = dict(interval=2, start_iter=1, ratio_range=(1.0, 1.0))
    clip = dict(max_norm=0.5)
    ours = run_ranks(world_size, _clipped, tmp_path, SGD, agvm, ddp, clip)
    plain = run_ranks(world_size, _clipped, tmp_path, SGD, None, ddp, clip)
    measured = run_ranks(
        world_size, _clipped, tmp_path, SGD, dict(modulate=False), ddp, clip
    )
    for rank in range(world_size):
        for one, two, three in zip(
            ours[rank]["history"], plain[rank]["history"], measured[rank]["history"]
        ):
            for name, weight in two["weights"].items():
                assert torch.equal(one["weights"][name], weight), name
                assert torch.equal(three["weights"][name], weight), name
    last = measured[0]["history"][-1]
    assert last["mu"]["neck"] != 1.0 and last["phi"]["neck"] > 0


def _clipped(rank, optimizer, agvm, ddp, clip):
    return train_toy(rank, 5, optimizer, agvm, ddp, clip_grad=dict(clip))


def test_accumulation_on_ranks_agrees_with_numpy(tmp_path):
    ranks = run_ranks(3, _accumulated, tmp_path)
    for rank in ranks[1:]:
        assert rank["mu"] == ranks[0]["mu"]
    reference = NumpyAGVM(ranks[0]["start"], TOY_MODULES, SGD, momentum=0.5)
    for update in range(3):
        gradients = [rank["local"][update] for rank in ranks]
        reference.step(gradients[:1], gradients[1:])
    for name, weight in reference.weights.items():
        np.testing.assert_allclose(ranks[1]["end"][name], weight, rtol=1e-3, atol=2e-5)
    assert ranks[0]["mu"][-1] == pytest.approx(reference.mu, rel=1e-3)


def _accumulated(rank):
    """Two iterations an update, and a last one of a single iteration."""
    from agvm_toy import build, make_toy, toy_batch, train_iteration, weights
    from agvm_workers import record_local_gradients, wrap

    model = make_toy()
    start = weights(model)
    local = record_local_gradients(model)
    model = wrap(model)
    wrapper = build(model, SGD, dict(momentum=0.5), accumulative_counts=2)
    wrapper.initialize_count_status(model, 0, 5)
    sums, mus, total = [], [], {}
    for iteration in range(5):
        train_iteration(model, wrapper, toy_batch(100 * rank + iteration))
        for name, grad in local.items():
            grad = grad.numpy().astype(np.float64)
            total[name] = total.get(name, 0) + grad
        if iteration in (1, 3, 4):
            sums.append(total)
            mus.append(dict(wrapper.agvm.multipliers))
            total = {}
    return dict(start=start, local=sums, mu=mus, end=weights(model))


def test_the_extra_reduction_stays_in_the_first_half(tmp_path):
    agvm = dict(interval=2, start_iter=0)
    ranks = run_ranks(4, train_toy, tmp_path, 6, SGD, agvm)
    size = sum(w.numel() for w in ranks[0]["start"].values()) * 4
    assert [rank["extra"] for rank in ranks] == [3 * size, 3 * size, 0, 0]
    # With two ranks the first half is one rank, which needs no reduction.
    ranks = run_ranks(2, train_toy, tmp_path, 6, SGD, agvm)
    assert [rank["extra"] for rank in ranks] == [0, 0]


def test_a_head_without_gradients_on_all_or_some_ranks(tmp_path):
    ranks = run_ranks(3, _sometimes_unused, tmp_path)
    for one, two, three in zip(*ranks):
        assert one == two == three
    history = [h["mu"]["roi_head.mask_head"] for h in ranks[0]]
    # 0: used on all ranks; 1: on none; 2: on rank 0 only, so that the second half
    # has a zero gradient; 3: on ranks 1 and 2; 4: on all.
    assert history[0] != 1.0
    assert history[1] == history[0] and history[2] == history[0]
    assert history[3] == history[0] and history[4] != history[0]
    neck = [h["mu"]["neck"] for h in ranks[0]]
    assert len(set(neck)) == 5  # the others continue
    assert all(np.isfinite(list(h["mu"].values())).all() for h in ranks[0])


def _sometimes_unused(rank):
    from agvm_toy import build, make_toy, toy_batch, train_iteration
    from agvm_workers import wrap

    model = wrap(make_toy(mask_head=True), find_unused_parameters=True)
    wrapper = build(model, ADAMW)
    wrapper.initialize_count_status(model, 0, 5)
    used = [True, False, rank == 0, rank > 0, True]
    history = []
    for iteration, masks in enumerate(used):
        batch = toy_batch(50 * rank + iteration)
        train_iteration(model, wrapper, batch, masks=masks)
        history.append(dict(mu=dict(wrapper.agvm.multipliers)))
    return history


def test_only_the_main_process_reports_a_death(tmp_path):
    ranks = run_ranks(2, _dead, tmp_path)
    (text,) = ranks[0]["messages"]
    assert "in iteration 19" in text and "roi_head.mask_head" in text
    assert ranks[1]["messages"] == []
    assert ranks[0]["quiet"] == ranks[1]["quiet"] == ["roi_head.mask_head"]


def _dead(rank):
    from agvm_toy import build, logged, make_toy, toy_batch, train_iteration
    from agvm_workers import wrap

    model = make_toy(mask_head=True)
    model.scale.requires_grad_(False)
    model = wrap(model, find_unused_parameters=True)
    wrapper = build(model, dict(type="SGD", lr=0.01))
    wrapper.initialize_count_status(model, 0, 100)
    with logged() as messages:
        for iteration in range(22):
            batch = toy_batch(50 * rank + iteration)
            train_iteration(model, wrapper, batch, masks=False)
    return dict(messages=messages, quiet=wrapper.agvm.quiet_modules())


def test_nan_on_one_rank_reaches_no_multiplier(tmp_path):
    ranks = run_ranks(4, _nan_once, tmp_path)
    assert ranks[0] == ranks[1] == ranks[2] == ranks[3]
    before, after = ranks[0]
    assert before["neck"] != 1.0 and before == after


def _nan_once(rank):
    from agvm_toy import build, make_toy, toy_batch, train_iteration
    from agvm_workers import wrap

    model = wrap(make_toy())
    wrapper = build(model, dict(type="SGD", lr=0.1))
    wrapper.initialize_count_status(model, 0, 2)
    train_iteration(model, wrapper, toy_batch(rank))
    before = dict(wrapper.agvm.multipliers)
    batch = toy_batch(10 + rank)
    if rank == 3:
        batch.fill_(float("nan"))
    train_iteration(model, wrapper, batch)
    return before, dict(wrapper.agvm.multipliers)


def test_errors_are_the_same_on_every_rank(tmp_path):
    for error in run_ranks(2, _errors, tmp_path):
        assert "MMDistributedDataParallel, but got ToyDetector" in error[0]
        assert "communication hook" in error[1] and "taken" in error[1]
        assert "optim_context(model)" in error[2]
        assert "has 1 of 2" in error[3]


def _errors(rank):
    import torch.distributed as dist
    from agvm_toy import build, make_toy
    from agvm_workers import wrap

    messages = []

    def record(function, *args):
        try:
            function(*args)
        except ValueError as error:
            messages.append(str(error))

    model = make_toy()
    record(build(model).initialize_count_status, model, 0, 1)
    model = wrap(make_toy())
    build(model).initialize_count_status(model, 0, 1)
    record(build(model).initialize_count_status, model, 0, 1)
    loss = torch.ones(1, requires_grad=True).sum()
    record(build(model).backward, loss)
    groups = [dist.new_group([0]), dist.new_group([1])]
    model = wrap(make_toy(), process_group=groups[rank])
    record(build(model).initialize_count_status, model, 0, 1)
    return messages
