import pytest
import torch
from torch import nn

from mms_plugin.utils.model_state import kept_model_state


class Changing(nn.Module):
    """A model whose forward pass changes all that it can."""

    def __init__(self):
        super().__init__()
        self.layer, self.norm = nn.Linear(3, 3), nn.BatchNorm1d(3)
        self.average = nn.Parameter(torch.zeros(3), requires_grad=False)
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("unset", None)

    def forward(self, x):
        self.calls = self.calls + 1  # a new tensor in the place of the buffer
        self.unset = torch.ones(1)
        with torch.no_grad():
            self.average.lerp_(x.mean(0), 0.5)
        return self.norm(self.layer(x))


def _run(model):
    model(torch.randn(4, 3)).pow(2).sum().backward()


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_as_before(fails):
    torch.manual_seed(0)
    model = Changing()
    model.norm.eval()
    _run(model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    grads = [p.grad for p in model.parameters()]
    values = [None if grad is None else grad.clone() for grad in grads]
    buffers = dict(model.named_buffers())
    try:
        with kept_model_state(model):
            assert all(p.grad is None for p in model.parameters())
            model.train()
            _run(model)
            assert not torch.equal(model.norm.running_mean, before["norm.running_mean"])
            assert not torch.equal(model.average, before["average"])
            assert model.calls == 2
            if fails:
                raise KeyError
    except KeyError:
        assert fails
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert all(
        buffer is dict(model.named_buffers())[n] for n, buffer in buffers.items()
    )
    for param, grad, value in zip(model.parameters(), grads, values):
        assert param.grad is grad
        assert grad is None or torch.equal(grad, value)
    assert model.training and not model.norm.training


def test_weights_and_other_attributes_are_not_put_back():
    model = Changing()
    model.history = []
    with kept_model_state(model), torch.no_grad():
        model.layer.weight.fill_(7.0)
        model.history.append(1)
    assert model.history == [1] and (model.layer.weight == 7.0).all()
