"""What comes back, and that it is the same object."""

import random
from collections import OrderedDict, defaultdict, deque

import numpy as np
import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper, OptimWrapperDict, build_optim_wrapper
from torch import nn

from mms_plugin.checkpoints.training_state import kept_training_state
from mms_plugin.dry_run.trial_updates import stop_learning


class Keeper(nn.Module):
    """One attribute of every kind."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 1)
        self.register_buffer("count", torch.zeros(1))
        self.number, self.text, self.nothing = 1, "a", None
        self.queue = deque([1, 2], maxlen=3)
        self.names = {"a", "b"}
        self.table = {"inner": [torch.ones(2), {"deep": 3}]}
        self.pair = (torch.zeros(3), [0])
        self.array = np.arange(3.0)
        self.counts = defaultdict(int, x=1)
        self.shown = torch.zeros(1).expand(4)  # cannot be written to
        self.fixed = np.arange(2)
        self.fixed.flags.writeable = False
        self.circle = [self.table]
        self.circle.append(self.circle)


def change(model):
    with torch.no_grad():
        model.layer.weight.add_(1.0)
        model.count = model.count + 1.0
        model.table["inner"][0].mul_(5.0)
        model.pair[0].add_(1.0)
    model.number, model.text, model.nothing, model.new = 2, "b", 0, "new"
    model.queue.extend([3, 4])
    model.names.add("c")
    model.table["inner"][1]["deep"] = 4
    model.table["more"] = 1
    model.pair[1].append(1)
    model.array[:] = 9.0
    model.counts["y"] += 1
    model.circle.pop()
    model.layer.bias.requires_grad_(True)
    model.eval()


def test_every_kind_of_attribute():
    model = Keeper()
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    objects = dict(vars(model))
    weight, count = model.layer.weight.detach().clone(), model.count
    with kept_training_state(model, wrapper):
        change(model)
        assert model.number == 2 and not model.training
    assert {k: id(v) for k, v in vars(model).items()} == {
        k: id(v) for k, v in objects.items()
    }
    assert torch.equal(model.layer.weight, weight)
    assert model.count is count and float(count) == 0
    assert (model.number, model.text, model.nothing) == (1, "a", None)
    assert list(model.queue) == [1, 2] and model.names == {"a", "b"}
    assert model.table["inner"][0].tolist() == [1, 1]
    assert model.table["inner"][1] == {"deep": 3} and set(model.table) == {"inner"}
    assert model.pair[0].tolist() == [0, 0, 0] and model.pair[1] == [0]
    assert model.array.tolist() == [0, 1, 2]
    assert dict(model.counts) == {"x": 1}
    assert model.circle[1] is model.circle and model.training


@pytest.mark.parametrize("steps_before", [0, 2])
def test_optimizers_of_a_dict_and_their_states(steps_before):
    model = nn.ModuleDict(dict(a=nn.Linear(2, 1), b=nn.Linear(2, 1)))
    wrappers = OptimWrapperDict(
        a=OptimWrapper(torch.optim.Adam(model["a"].parameters(), lr=0.1)),
        b=OptimWrapper(torch.optim.SGD(model["b"].parameters(), lr=0.1, momentum=0.9)),
    )
    hub = MessageHub("test_training_state")
    hub.update_scalar("train/loss", 1.0)

    def train():
        for name, wrapper in wrappers.items():
            wrapper.update_params(model[name](torch.ones(1, 2)).sum())
            hub.update_scalar("train/loss", 2.0)
        random.random(), np.random.rand(), torch.rand(1)

    def state():
        return [
            [w.state_dict() for w in wrappers.values()],
            [w.inner_count for w in wrappers.values()],
            [p.detach().clone() for p in model.parameters()],
            [p.grad for p in model.parameters()],
            hub.get_scalar("train/loss").data[0].tolist(),
            random.getstate(),
            np.random.get_state()[1].tolist(),
            torch.get_rng_state(),
        ]

    for _ in range(steps_before):
        train()
    before = repr(state())
    states = [dict(w.optimizer.state) for w in wrappers.values()]
    with pytest.raises(KeyError), kept_training_state(model, wrappers, hub):
        train()
        train()
        raise KeyError("whatever happens")
    assert repr(state()) == before
    for wrapper, found in zip(wrappers.values(), states):
        own = wrapper.optimizer.state
        assert len(own) == (2 if steps_before else 0)
        assert all(own[p] is found[p] for p in own)


class Keyed(dict):
    """A dict that changes what it is given."""

    def __setitem__(self, key, value):
        super().__setitem__(key, [value])


def test_dicts_of_other_kinds_come_back_as_they_were():
    model = Keeper()
    model.ordered = OrderedDict(a=1, b=2)
    model.keyed = Keyed(a=[torch.zeros(1)])
    model.config = ConfigDict(inner=dict(x=1), names=["a"])
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    with kept_training_state(model, wrapper):
        model.ordered["c"] = 3
        model.keyed["a"] = model.keyed["b"] = 1
        model.config.inner.x = 2
        model.config.names.append("b")
    assert list(model.ordered.items()) == [("a", 1), ("b", 2)]
    model.ordered.move_to_end("a")
    assert list(model.ordered) == ["b", "a"]
    assert model.keyed == {"a": [torch.zeros(1)]}
    assert model.config == dict(inner=dict(x=1), names=["a"])
    assert isinstance(model.config.inner, ConfigDict)


def test_learning_rates_of_param_groups_that_mmengine_makes():
    """With paramwise_cfg, a group is a ConfigDict."""
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    config = dict(
        optimizer=dict(type="AdamW", lr=0.1, weight_decay=0.01),
        paramwise_cfg=dict(norm_decay_mult=0.0, bias_lr_mult=2.0),
    )
    wrapper = build_optim_wrapper(model, Config(config)._cfg_dict)
    groups = list(wrapper.optimizer.param_groups)
    assert any(isinstance(group, ConfigDict) for group in groups)

    def settings():
        names = [key for key in groups[0] if key != "params"]
        return [{key: group[key] for key in names} for group in groups]

    before = settings()
    assert {group["lr"] for group in before} == {0.1, 0.2}
    with kept_training_state(model, wrapper):
        stop_learning(wrapper)
        assert {group["lr"] for group in groups} == {0.0}
        groups[0]["weight_decay"] = 7.0
    assert settings() == before
    assert all(a is b for a, b in zip(wrapper.optimizer.param_groups, groups))


def test_gradients_under_way_come_back():
    model = nn.Linear(2, 1)
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    model(torch.ones(1, 2)).sum().backward()
    grad = model.weight.grad
    with kept_training_state(model, wrapper):
        model(torch.ones(1, 2)).sum().backward()
        assert grad.tolist() == [[2, 2]]
        model.zero_grad()
    assert model.weight.grad is grad and grad.tolist() == [[1, 1]]
