from types import SimpleNamespace

import pytest
import torch
from mmengine.optim import OptimWrapper, OptimWrapperDict

from mms_plugin.hooks import ClipGradRangeHook


@pytest.mark.parametrize(
    "arguments, words",
    [
        (dict(begin=-1), "begin must be an integer of at least 0, but got -1"),
        (dict(begin=None), "begin must be an integer"),
        (dict(end=2.5), "end must be an integer.*2.5"),
        (dict(begin=9, end=3), "begin=9 lies after end=3"),
    ],
)
def test_wrong_ranges(arguments, words):
    with pytest.raises(ValueError, match=words):
        ClipGradRangeHook(**arguments)


def test_it_needs_the_wrappers_clipping():
    runner = SimpleNamespace(optim_wrapper=SimpleNamespace(clip_grad_kwargs=None))
    with pytest.raises(ValueError, match="Set optim_wrapper.clip_grad"):
        ClipGradRangeHook().before_train(runner)


def made_runner(optim_wrapper, max_iters):
    return SimpleNamespace(
        optim_wrapper=optim_wrapper,
        iter=0,
        max_iters=max_iters,
        message_hub=SimpleNamespace(log_scalars={}, _resumed_keys={}),
    )


def test_wrappers_of_several_optimizers():
    def wrapper(**arguments):
        weight = torch.nn.Parameter(torch.zeros(1))
        return OptimWrapper(torch.optim.SGD([weight], lr=1.0), **arguments)

    clips, plain = wrapper(clip_grad=dict(max_norm=1.0)), wrapper()
    both = OptimWrapperDict(clips=clips, plain=plain)
    runner = made_runner(both, 3)
    hook = ClipGradRangeHook(begin=1)
    hook.before_train(runner)
    clipped = []
    for runner.iter in range(3):
        hook.before_train_iter(runner, 0)
        clipped.append(clips.clip_grad_kwargs)
        assert plain.clip_grad_kwargs is None
    assert clipped == [None, dict(max_norm=1.0), dict(max_norm=1.0)]


@pytest.mark.parametrize("end, expected", [(None, [2, 3, 4]), (4, [2, 3]), (2, [])])
def test_where_it_clips(end, expected):
    wrapper = SimpleNamespace(clip_grad_kwargs=dict(max_norm=1.0))
    runner = made_runner(wrapper, 5)
    hook = ClipGradRangeHook(begin=2, end=end)
    hook.before_train(runner)
    clipped = []
    for runner.iter in range(5):
        hook.before_train_iter(runner, 0)
        if wrapper.clip_grad_kwargs:
            clipped.append(runner.iter)
    hook.after_train(runner)
    assert clipped == expected and wrapper.clip_grad_kwargs == dict(max_norm=1.0)
