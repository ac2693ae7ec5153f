"""A source of one's own needs ``take`` only."""

import pytest
import torch
from torch import nn

from mms_plugin.agvm.halves_source import Halves, HalvesSource
from mms_plugin.agvm.micro_batch import MicroBatch


class Fixed(HalvesSource):
    def take(self, micro_batch):
        gradients = {param: torch.ones(2) for param in self.params}
        return Halves(gradients, gradients) if micro_batch.measured else None


def test_the_defaults_of_a_source():
    source = Fixed([nn.Parameter(torch.zeros(2))])
    place = MicroBatch(measured=True, next_measured=False)
    with source.forward(nn.Identity(), place), source.backward(place):
        pass
    halves = source.take(place)
    assert halves.other_is_total and halves.half_variance is None
    products = torch.ones(1, 3)
    assert halves.reduce(products) is products
    assert source.take(MicroBatch(False, True)) is None
    assert source.failure is None and not source.compares_updates
    source.load_state_dict(source.state_dict())
    assert source.state_dict() == {}


def test_a_source_without_take():
    with pytest.raises(NotImplementedError):
        HalvesSource([]).take(MicroBatch(True, False))
