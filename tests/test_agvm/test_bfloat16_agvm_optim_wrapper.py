import torch
from agvm_toy import build, make_toy, toy_batch, train


def test_bfloat16():
    model = make_toy()
    wrapper = build(model, type="BFloat16AGVMOptimWrapper")
    seen = []
    model.neck.register_forward_hook(lambda *a: seen.append(a[-1].dtype))
    train(model, wrapper, [toy_batch(i) for i in range(4)])
    assert set(seen) == {torch.bfloat16}
    assert wrapper.agvm.num_measured == 3
    assert wrapper.agvm.multipliers["neck"] != 1.0
