"""The published detection recipe decays neither norms nor biases."""

from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope

pytest.importorskip("mmdet")

ROOT = Path(__file__).resolve().parents[2] / "configs" / "mask_rcnn"


def without_weights(value):
    if isinstance(value, dict):
        return {k: without_weights(v) for k, v in value.items() if k != "init_cfg"}
    if isinstance(value, (list, tuple)):
        return type(value)(map(without_weights, value))
    return value


@pytest.mark.parametrize(
    ("backbone", "rate"),
    [("r50", 0.1), ("mobilenet-v2", 0.1), ("efficientnet-b3", 0.05)],
)
def test_decay_and_rates_of_the_parameters(backbone, rate):
    config = Config.fromfile(ROOT / f"mask-rcnn-{backbone}-fpn_vbs_8xb4-100e_coco.py")
    import mmdet.models  # noqa: F401

    with DefaultScope.overwrite_default_scope("mmdet"):
        model = MODELS.build(Config(without_weights(config.model.to_dict())))
        wrapper = build_optim_wrapper(model, config.optim_wrapper)
    names = {param: name for name, param in model.named_parameters()}
    groups = wrapper.optimizer.param_groups
    assert len(names) == len(groups) > 200
    for group in groups:
        (param,) = group["params"]
        name = names[param]
        decay = 0.0 if param.dim() == 1 else 4e-5
        own = rate / 10 if name.startswith("backbone.") else rate
        assert (name, group["weight_decay"]) == (name, pytest.approx(decay))
        assert (name, group["lr"]) == (name, pytest.approx(own))
