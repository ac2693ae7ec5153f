import pytest
import torch
from agvm_toy import make_toy, toy_batch, train, weights
from mmengine.registry import OPTIM_WRAPPERS

import mms_plugin  # noqa: F401


def _trained(kind, counts):
    model, dtypes = make_toy(), []
    model.neck.register_forward_hook(lambda *args: dtypes.append(args[-1].dtype))
    wrapper = OPTIM_WRAPPERS.build(
        dict(type=kind, accumulative_counts=counts),
        default_args=dict(optimizer=torch.optim.SGD(model.parameters(), lr=0.1)),
    )
    train(model, wrapper, [toy_batch(i) for i in range(4)])
    return model, set(dtypes)


@pytest.mark.parametrize("counts", [1, 2])
def test_the_forward_pass_is_in_bfloat16_and_the_weights_are_not(counts):
    start = weights(make_toy())
    plain, dtypes = _trained("OptimWrapper", counts)
    assert dtypes == {torch.float32}
    ours, dtypes = _trained("BFloat16OptimWrapper", counts)
    assert dtypes == {torch.bfloat16}
    for name, weight in weights(ours).items():
        assert weight.dtype == torch.float32
        change = weights(plain)[name] - start[name]
        assert (weight - start[name] - change).norm() < 0.1 * change.norm(), name
