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

from mms_plugin.recipes import agvm_recipe
from mms_plugin.recipes.large_batch_numbers import large_batch_times

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


# Updates of a training: epochs of ceil(117,266 images / batch).
CONTINUED = {
    "faster_rcnn/faster-rcnn-r50-fpn_agvm_64xb16-16e_coco.py": 16 * 115,
    "faster_rcnn/faster-rcnn-r50-fpn_agvm_96xb16-16e_coco.py": 16 * 77,
    "mask_rcnn/mask-rcnn-r50-fpn_agvm_64xb16-16e_coco.py": 16 * 115,
    "retinanet/retinanet-r50-fpn_agvm_64xb16-16e_coco.py": 16 * 115,
    "faster_rcnn/faster-rcnn-r50-fpn_agvm_16xb16-adamw-12e_coco.py": 12 * 459,
    "faster_rcnn/faster-rcnn-r50-fpn_agvm_32xb16-adamw-12e_coco.py": 12 * 230,
    "faster_rcnn/faster-rcnn-r50-fpn_agvm_64xb16-adamw-12e_coco.py": 12 * 115,
    "faster_rcnn/faster-rcnn-r50-fpn_agvm_96xb16-adamw-12e_coco.py": 12 * 77,
    "retinanet/retinanet-r18-fpn_agvm_640xb16-adamw-12e_coco.py": 12 * 12,
    "sem_fpn/sem-fpn-r50_agvm_16xb16-10k_ade20k.py": 10_000,
}


@pytest.mark.parametrize("path", CONTINUED)
def test_other_batches_are_as_the_recipe_gives_them(path):
    """Warm-up, clipping and start of AGVM are those of ``--recipe agvm``."""
    config = Config.fromfile(ROOT / path)
    batch = config.auto_scale_lr.base_batch_size
    times = large_batch_times(CONTINUED[path], batch)
    warmup = config.param_scheduler[1]
    assert warmup.end == times.warmup + 1
    assert warmup.gamma**times.warmup == pytest.approx(1000)
    (hook,) = config.custom_hooks
    assert (hook.begin, hook.end) == (times.clip_begin, times.clip_end)
    agvm = config.optim_wrapper.agvm
    assert (agvm.start_iter, agvm.interval) == (times.start, times.interval)
    assert agvm.momentum == pytest.approx(times.momentum, abs=0.003)
    if "sem_fpn" in path:  # the others by epoch stay as they are
        baseline = Config.fromfile(ROOT / "sem_fpn/sem-fpn-r50_fbs_4xb4-160k_ade20k.py")
        given = agvm_recipe(baseline, batch_size=batch, world_size=64).param_scheduler
        own = dict(config.param_scheduler[2])
        assert own == {key: given[-1][key] for key in own}
