"""From the settings of an arm to the arguments of MMEngine's runner."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Dict, List, Optional

import numpy as np
from lab.evaluation import validation
from lab.models import detector
from lab.training import fixed_size_loader
from mmengine.dataset import DefaultSampler

from mms_plugin.multi_scale import MultiScaleVariableBatchSampler, ResolutionCurriculum

from .protocol import Protocol

OPTIMIZERS: Dict[str, Dict[str, Any]] = {
    "sgd": dict(type="SGD", momentum=0.9, weight_decay=1e-4),
    "adamw": dict(type="AdamW", weight_decay=0.05),
    "lamb": dict(type="mmpretrain.Lamb", weight_decay=0.05),
}

EMA_UPDATES = 50
"""Updates that the averaged weights of the arms with EMA span."""

METRICS = {"mask-rcnn": ("bbox", "segm"), "panoptic-fpn": ("panoptic",)}
"""What is measured, where it is not only the box AP."""

MULTI_SCALE_SIZES = (48, 64, 80)
"""Sizes of the arms with the multi-scale sampler; 64 is the base size. At 32 px the
coarsest level would have a single anchor, at which mmdet's RPN head fails."""


def runner_config(
    arm: Dict[str, Any],
    protocol: Protocol,
    train_set: Path,
    val_set: Path,
    backbone: Optional[Path] = None,
) -> Dict[str, Any]:
    """Return the arguments of ``Runner`` for one arm.

    Args:
        arm: See :func:`~.grid.make_arm`.
        protocol: What all arms share.
        train_set: Folder of the scenes to train on.
        val_set: Folder of the scenes to validate on.
        backbone: Checkpoint of a detector whose backbone this one starts with.
            Defaults to random weights.
    """
    settings = arm["settings"]
    protocol = dataclasses.replace(
        protocol, warmup=protocol.warmup * settings.get("warmup_factor", 1)
    )
    batch, ranks = arm["batch"], settings.get("ranks", 1)
    micro = protocol.micro(batch)
    counts = protocol.counts(batch) // ranks
    epochs = arm_epochs(arm, protocol)
    with_mask = arm["model"] in ("mask-rcnn", "panoptic-fpn")
    train_loader = fixed_size_loader(
        dict(
            type="DrawnScenes",
            folder=str(train_set),
            with_mask=with_mask,
            with_seg=arm["model"] == "panoptic-fpn",
            pipeline=[dict(type="RandomFlip", prob=0.5), dict(type="PackDetInputs")],
        ),
        micro,
        protocol.side,
    )
    curriculum = dict(type="ResolutionCurriculumHook", schedule="constant")
    iterations = epochs * (protocol.train_images // (micro * ranks))
    if settings.get("multi_scale"):
        iterations = _make_multi_scale(train_loader, curriculum, arm, epochs)
    updates = iterations / counts
    begin, end = protocol.clip_range(updates)
    last = None if settings.get("clip_to_end") else end * counts
    hooks: List[Dict[str, Any]] = [
        curriculum,
        dict(type="ClipGradRangeHook", begin=begin * counts, end=last),
    ]
    if settings.get("ema"):
        momentum = 1 / (EMA_UPDATES * counts)  # the hook averages in every iteration
        hooks.append(dict(type="EMAHook", momentum=momentum))
    distributed: Dict[str, Any] = {}
    if ranks > 1:
        distributed = dict(
            launcher="pytorch",
            # On a CPU; rank 0's statistics of batch norm count, as in its checkpoints.
            cfg=dict(
                model_wrapper_cfg=dict(
                    type="MMDistributedDataParallel",
                    device_ids=None,
                    broadcast_buffers=True,
                )
            ),
            env_cfg=dict(dist_cfg=dict(backend="gloo")),
        )
    model = detector(arm["model"])
    if backbone is not None:
        model["backbone"]["init_cfg"] = dict(
            type="Pretrained", checkpoint=str(backbone), prefix="backbone."
        )
    return dict(
        model=model,
        default_scope="mmdet",
        train_dataloader=train_loader,
        train_cfg=dict(max_epochs=epochs),
        optim_wrapper=optim_wrapper(arm, protocol, updates, counts),
        param_scheduler=schedule(protocol, iterations, counts),
        custom_hooks=hooks,
        randomness=dict(seed=arm["seed"]),
        **distributed,
        **validation(val_set, METRICS.get(arm["model"], ("bbox",))),
    )


def arm_epochs(arm: Dict[str, Any], protocol: Protocol) -> int:
    """Return the epochs that an arm trains."""
    return protocol.epochs * arm["settings"].get("epoch_factor", 1)


def optim_wrapper(
    arm: Dict[str, Any], protocol: Protocol, updates: float, counts: int
) -> Dict[str, Any]:
    """Return the config of the optimizer wrapper, plain or AGVM's.

    Fixed multipliers of a plain arm become ``paramwise_cfg``.
    """
    wrapper: Dict[str, Any] = dict(
        type="OptimWrapper",
        optimizer=dict(OPTIMIZERS[arm["optimizer"]], lr=arm["lr"]),
        clip_grad=dict(max_norm=protocol.clip_norm),
        accumulative_counts=counts,
    )
    settings = arm["settings"]
    multipliers = settings.get("multipliers")
    if multipliers:
        keys = {f"{name}.": dict(lr_mult=mu) for name, mu in multipliers.items()}
        wrapper["paramwise_cfg"] = dict(custom_keys=keys)
    if arm["agvm"]:
        wrapper.update(
            type="AGVMOptimWrapper",
            constructor="AGVMOptimWrapperConstructor",
            agvm=agvm_args(arm, protocol, updates, counts),
        )
    return wrapper


def agvm_args(
    arm: Dict[str, Any], protocol: Protocol, updates: float, counts: int
) -> Dict[str, Any]:
    """Return the arguments of AGVM: the protocol's schedule and the arm's own."""
    settings = arm["settings"]
    chosen = protocol.agvm(int(updates), settings.get("measurements", 0))
    start = round(chosen["start"] * settings.get("start_factor", 1))
    usual = dict(
        start_iter=start * counts,
        interval=chosen["interval"],
        momentum=chosen["momentum"],
    )
    return {**usual, **settings.get("agvm_args", {})}


def schedule(protocol: Protocol, iterations: int, counts: int) -> List[Dict[str, Any]]:
    """Return the released schedule: an exponential warm-up and two steps.

    The rate changes with every update, not within one: MMEngine's schedulers go by
    iteration, which only matters for the iterations that end an update.
    """
    updates: Any = iterations / counts  # not a whole number: rounded at the end
    warmup = max(1, round(protocol.warmup_updates(updates) * counts))
    gamma = 1000.0 ** (1 / warmup)
    return [
        dict(type="ConstantLR", factor=0.001, by_epoch=False, end=10**9),
        dict(type="ExponentialLR", gamma=gamma, by_epoch=False, end=warmup + 1),
        dict(
            type="MultiStepLR",
            by_epoch=False,
            gamma=0.1,
            milestones=[
                max(1, round(part * iterations / counts)) * counts
                for part in protocol.decays
            ],
        ),
    ]


def _make_multi_scale(
    loader: Dict[str, Any], hook: Dict[str, Any], arm: Dict[str, Any], epochs: int
) -> int:
    """Turn a fixed-size data loader and its hook into multi-scale ones.

    Returns:
        int: Iterations of the whole training.
    """
    batch_sampler = loader["batch_sampler"]
    batch_sampler.update(sizes=list(MULTI_SCALE_SIZES))
    hook.update(schedule="linear", start_sizes=[MULTI_SCALE_SIZES[0]])
    pipeline = loader["dataset"]["dataset"]["pipeline"]
    pipeline.insert(0, dict(type="MultiScaleResize", keep_ratio=True))
    with np.load(Path(loader["dataset"]["dataset"]["folder"]) / "objects.npz") as file:
        images = len(file["shapes"])
    inner = DefaultSampler(range(images), shuffle=True, seed=arm["seed"])
    arguments = {k: v for k, v in batch_sampler.items() if k != "type"}
    sampler = MultiScaleVariableBatchSampler(inner, **arguments)
    curriculum = {k: v for k, v in hook.items() if k != "type"}
    sampler.set_curriculum(ResolutionCurriculum(**curriculum), epochs)
    return sampler.total_batches(epochs)
