"""The published recipes: every config builds, and says what was published."""

from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.optim import (
    ConstantLR,
    ExponentialLR,
    MultiStepLR,
    build_optim_wrapper,
)
from mmengine.registry import HOOKS, DefaultScope

pytest.importorskip("mmdet")
ROOT = Path(__file__).resolve().parents[2] / "configs"
SCHEDULERS = dict(
    ConstantLR=ConstantLR, ExponentialLR=ExponentialLR, MultiStepLR=MultiStepLR
)
RECIPES = {
    "faster_rcnn/faster-rcnn-r50-fpn_agvm_16xb16-16e_coco.py": (0.22627, 920),
    "faster_rcnn/faster-rcnn-r50-fpn_agvm_32xb16-16e_coco.py": (0.38, 460),
    "mask_rcnn/mask-rcnn-r50-fpn_agvm_16xb16-16e_coco.py": (0.22627, 920),
    "mask_rcnn/mask-rcnn-r50-fpn_agvm_32xb16-16e_coco.py": (0.32, 460),
}


def _wrapper(config):
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules

    register_all_modules(False)
    config.model.backbone.update(init_cfg=None, norm_cfg=dict(type="BN"))
    with DefaultScope.overwrite_default_scope("mmdet"):
        model = MODELS.build(config.model)
        return build_optim_wrapper(model, config.optim_wrapper)


@pytest.mark.parametrize("path", RECIPES)
def test_released_recipes(path):
    rate, warmup = RECIPES[path]
    config = Config.fromfile(ROOT / path)
    assert config.model.backbone.norm_cfg.type == "SyncBN"
    assert config.model.backbone.norm_eval is False
    assert config.train_dataloader.batch_size == 16
    assert config.train_cfg.max_epochs == 16
    wrapper = _wrapper(config)
    assert "roi_head.bbox_head" in wrapper.agvm.modules
    assert ("roi_head.mask_head" in wrapper.agvm.modules) == ("mask" in path)
    assert wrapper.agvm.config.start_iter == warmup + 100
    assert wrapper.agvm.config.interval == 10
    (hook,) = [HOOKS.build(dict(hook)) for hook in config.custom_hooks]
    assert (hook.begin, hook.end) == (warmup - 100, warmup + 100)

    schedulers = []
    for scheduler in config.param_scheduler:
        arguments = dict(scheduler)
        schedulers.append(SCHEDULERS[arguments.pop("type")](wrapper, **arguments))
    seen = []
    for _iteration in range(warmup + 50):
        seen.append(wrapper.get_lr()["lr"][0])
        wrapper.step()
        for scheduler in schedulers[:2]:
            scheduler.step()
    assert seen[0] == pytest.approx(rate * 0.001, rel=1e-4)
    assert seen[warmup // 2] == pytest.approx(rate * 0.001**0.5, rel=1e-4)
    assert seen[warmup] == seen[-1] == pytest.approx(rate, rel=1e-4)
    epochs = []
    for _epoch in range(16):
        epochs.append(wrapper.get_lr()["lr"][0])
        wrapper.step()
        schedulers[2].step()
    expected = [rate] * 12 + [rate / 10] * 2 + [rate / 100] * 2
    assert epochs == pytest.approx(expected, rel=1e-4)


def test_sampler_curriculum_and_agvm_together():
    path = "mask_rcnn/mask-rcnn-r50-fpn_vbs-cur-agvm_8xb4-12e_coco.py"
    config = Config.fromfile(ROOT / path)
    sampler = config.train_dataloader.batch_sampler
    assert sampler == dict(
        type="MultiScaleVariableBatchSampler",
        base_size=1024,
        sizes=dict(min=512, max=1280, num=10, divisor=32),
    )
    assert config.train_dataloader.dataset.type == "MultiScaleDataset"
    assert HOOKS.build(dict(config.custom_hooks[0])).__class__.__name__ == (
        "ResolutionCurriculumHook"
    )
    assert "roi_head.mask_head" in _wrapper(config).agvm.modules
