"""Statistics of batch norm, estimated again."""

import pytest
import torch

from mms_plugin.utils.batch_norm import estimate_batch_norm, has_batch_norm


@pytest.fixture
def batches():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(8, 3, generator=generator) + 5 for _ in range(4)]


def test_plain_means_over_the_batches(batches):
    model = torch.nn.Sequential(torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 2)).eval()
    norm = model[0]
    norm.num_batches_tracked += 17
    weights = [parameter.clone() for parameter in model.parameters()]
    assert estimate_batch_norm(model, iter(batches), model) == 1
    expected = torch.stack([batch.mean(0) for batch in batches]).mean(0)
    assert torch.allclose(norm.running_mean, expected, atol=1e-6)
    variance = torch.stack([batch.var(0) for batch in batches]).mean(0)
    assert torch.allclose(norm.running_var, variance, atol=1e-5)
    assert norm.momentum == 0.1 and not model.training
    assert norm.num_batches_tracked == 17
    assert all(map(torch.equal, model.parameters(), weights))
    assert all(parameter.grad is None for parameter in model.parameters())


class Frozen(torch.nn.BatchNorm1d):
    """As with mmdet's ``norm_eval=True``."""

    def train(self, mode=True):
        return super().train(False)


def test_layers_that_follow_no_batch_keep_their_statistics(batches):
    model = torch.nn.ModuleList(
        [Frozen(3), torch.nn.BatchNorm1d(3), torch.nn.BatchNorm1d(3)]
    )
    untracked = torch.nn.BatchNorm1d(3, track_running_stats=False)
    model.append(untracked)
    for norm in model[:3]:
        norm.running_mean.fill_(7.0)

    def run(batch):
        return untracked(model[1](model[0](batch)))

    assert estimate_batch_norm(model, batches, run) == 1
    # The third layer is reached by no batch.
    assert [bool((norm.running_mean == 7).all()) for norm in model[:3]] == [
        True,
        False,
        True,
    ]
    assert has_batch_norm(model) and not has_batch_norm(torch.nn.Linear(3, 3))
    assert not has_batch_norm(untracked)
    assert estimate_batch_norm(torch.nn.Linear(3, 3), batches, lambda batch: None) == 0


def test_a_failed_run_changes_nothing(batches):
    model = torch.nn.BatchNorm1d(3).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}

    def run(batch):
        model(batch)
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        estimate_batch_norm(model, batches, run)
    assert all(torch.equal(value, before[n]) for n, value in model.state_dict().items())
    assert model.momentum == 0.1 and not model.training
