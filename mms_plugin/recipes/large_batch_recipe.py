"""Edit a config for a large batch: learning rate, warm-up, clipping, batch norm."""

from __future__ import annotations

import copy
import inspect
import re
from pathlib import Path
from typing import Any, Dict, Mapping, Optional

from mmengine.registry import MODELS, DefaultScope

from ..analysis.config_plan import ConfigPlan, config_plan, is_multi_scale
from ..utils.config_types import counts_iterations, kind_of, scope_of
from ..utils.lr_scaling import scaled_lr
from ..utils.validation import is_integer, is_number, parse_int
from .config_edits import RecipeError, Report, assign, nested_configs, short
from .iteration_counts import scale_iterations, scheduler_list
from .large_batch_numbers import (
    BatchShares,
    LargeBatchTimes,
    large_batch_times,
    share_batch,
)
from .large_batch_schedule import is_converted_warmup, scale_rates, set_warmup
from .save_between_updates import save_between_updates
from .warmup import Warmup, find_warmup, warn_of_iteration_schedules

__all__ = ["LARGE_BATCH_OPTIONS", "large_batch_recipe"]

LARGE_BATCH_OPTIONS = (
    "batch_size",
    "lr_rule",
    "warmup_iters",
    "base_batch_size",
    "keep",
    "world_size",
    "num_samples",
)
"""Options of :func:`large_batch_recipe`."""

_LOADER = "train_dataloader"
# As in mask-rcnn_r50_8xb2-lsj-50e_coco.py: 8 ranks with 2 images.
_NAMED_BATCH = re.compile(r"_(\d+)xb(\d+)")

# Any size will do: the number of updates does not depend on it.
_ANY_SIZE = (64, 64)


def large_batch_recipe(
    config: Any,
    batch_size: int,
    lr_rule: str = "sqrt",
    warmup_iters: Optional[int] = None,
    base_batch_size: Optional[int] = None,
    keep: Optional[str] = None,
    world_size: int = 1,
    num_samples: Optional[int] = None,
    *,
    agvm: Optional[Mapping[str, Any]] = None,
    report: Report = lambda line: None,
) -> Dict[str, Any]:
    """Convert a config to a large batch, as in the released AGVM recipes.

    Changes the images per rank, gradient accumulation, the learning rate, the warm-up
    (exponential from 0.001), gradient clipping (to norm 1 around the end of the
    warm-up) and, on several ranks, batch norm (statistics over all ranks, in the
    backbone too).

    Args:
        config: Config with ``optim_wrapper`` and ``train_dataloader``. It is changed in
            place.
        batch_size: Images per update of the weights over all ranks.
        lr_rule: Rule that scales the learning rate with the batch size, ``'sqrt'`` or
            ``'linear'``; ``'none'`` keeps the rate. Defaults to ``'sqrt'``.
        warmup_iters: Length of the warm-up, in updates of the weights. Defaults to
            None: the length in the config if that is given in epochs, otherwise see
            :func:`large_batch_times`.
        base_batch_size: Batch size that the learning rate in the config is meant for.
            Defaults to None: ``auto_scale_lr.base_batch_size``.
        keep: What stays the same in a training that counts iterations: ``'images'``,
            with fewer iterations, or ``'iterations'``. Defaults to None: ``'images'``.
        world_size: Number of ranks. Defaults to 1.
        num_samples: Number of samples in the dataset. Defaults to None: counted from
            its annotations.
        agvm: Arguments of AGVM that the user has set. Defaults to None.
        report: Called with a line for each change, ``place: old -> new``. Defaults to
            no report.

    Returns:
        ``start_iter``, ``interval`` and ``momentum`` for AGVM.

    Raises:
        ValueError: If an argument is not valid, the batch cannot be split among the
            ranks, or the number of updates is unknown.
    """
    parse_int(batch_size, "batch_size")
    parse_int(world_size, "world_size")
    if warmup_iters is not None:
        parse_int(warmup_iters, "warmup_iters")
    if num_samples is not None:
        parse_int(num_samples, "num_samples")
    for name, value, valid in (
        ("lr_rule", lr_rule, ("sqrt", "linear", "none")),
        ("keep", keep, ("images", "iterations", None)),
    ):
        if value not in valid:
            names = " or ".join(repr(each) for each in valid if each)
            raise ValueError(f"{name} must be {names}, but got {value!r}")
    if base_batch_size is None and lr_rule != "none":
        _refuse_second_time(config)
    keep_images = counts_iterations(config) and keep != "iterations"
    base = None
    if lr_rule != "none" or keep_images:
        base = _base_batch_size(config, base_batch_size, report)
    elif base_batch_size is not None:
        report(
            f"note: base_batch_size={base_batch_size} has no effect, since neither the "
            "learning rate nor the number of iterations is scaled"
        )
    if keep is not None and not counts_iterations(config):
        report(f"note: keep={keep!r} has no effect in a training that counts epochs")
    old_accumulation = config["optim_wrapper"].get("accumulative_counts", 1)
    shares = _share(config, batch_size, world_size, report)
    _scale_lr(config, shares, base, lr_rule, report)
    if keep_images and base is not None:
        _keep_images(config, base / old_accumulation, shares, report)
    warmup = find_warmup(config)
    warn_of_iteration_schedules(config, warmup, report)
    plan = _plan(config, shares, num_samples)
    times = _fit_times(plan, shares, warmup_iters, warmup, agvm or {})
    set_warmup(config, shares, times, warmup, report)
    _set_clipping(config, shares, times, report)
    if world_size > 1:
        _synchronize_norms(config, report)
    save_between_updates(config, plan, shares.accumulation, report)
    _report_measurements(times, report)
    return dict(
        start_iter=times.start * shares.accumulation,
        interval=times.interval,
        momentum=times.momentum,
    )


def _refuse_second_time(config: Mapping) -> None:
    """Refuse a config that the recipe has converted: its rate is scaled already."""
    for index, scheduler in enumerate(scheduler_list(config)):
        if is_converted_warmup(scheduler):
            raise RecipeError(
                f"param_scheduler[{index}]",
                "is the warm-up of this recipe, so the learning rate is that of a "
                "large batch already; convert the original config, or set "
                "base_batch_size=N, the batch that this rate is meant for",
            )


def _base_batch_size(config: Any, given: Any, report: Report) -> int:
    if given is not None:
        return parse_int(given, "base_batch_size")
    known = (config.get("auto_scale_lr") or {}).get("base_batch_size")
    if known is None:
        raise RecipeError(
            "auto_scale_lr.base_batch_size",
            "is missing, so the batch size that the learning rate is meant for is "
            "unknown; set base_batch_size=N",
        )
    base = parse_int(known, "auto_scale_lr.base_batch_size")
    own: Any = (config.get(_LOADER) or {}).get("batch_size")
    if is_integer(own) and own > base:
        # mmdet's RTMDet inherits 16 from a schedule that it replaces.
        raise RecipeError(
            "auto_scale_lr.base_batch_size",
            f"is {base}, but a single rank has {own} images, so the learning rate is "
            "not meant for this batch; set base_batch_size=N, the batch that it is "
            "meant for",
        )
    name = Path(str(getattr(config, "filename", None) or "")).name
    named = _NAMED_BATCH.search(name)
    if named and int(named[1]) * int(named[2]) != base:
        report(
            f"note: the config's name says {named[1]} x {named[2]} images, and its "
            f"auto_scale_lr.base_batch_size {base}; if the learning rate is meant for "
            f"the former, set base_batch_size={int(named[1]) * int(named[2])}"
        )
    return base


def _keep_images(
    config: Any, old_images: float, shares: BatchShares, report: Report
) -> None:
    """Change the number of iterations so that the number of images stays the same."""
    new_images = shares.images_of_iteration
    if old_images != new_images:
        report(f"images of an iteration: {old_images:g} -> {new_images}")
    scale_iterations(config, old_images / new_images, report)


def share_batch_first(
    config: Any, options: Mapping[str, Any], report: Optional[Report]
) -> None:
    """Set only the images per rank of a large batch, before its recipe is applied.

    Args:
        config: It is changed in place.
        options: Those of :func:`large_batch_recipe` and of ``vbs_recipe``, together.
        report: Called with a line for the change. None: it is not reported.

    Raises:
        ValueError: If the batch cannot be split among the ranks, or the option
            ``batch_sizes`` is for another number of images.
    """
    old = _images_per_rank(config)
    batch_size = parse_int(options["batch_size"], "batch_size")
    ranks = parse_int(options.get("world_size", 1), "world_size")
    images = share_batch(batch_size, ranks, old).images
    if images != old and options.get("batch_sizes") is not None:
        raise ValueError(
            f"batch_sizes={options['batch_sizes']} are for {old} images per rank at "
            f"the base size, but batch_size={batch_size} gives {images} to each of "
            f"{ranks}; leave them out, or calibrate with "
            f"train_dataloader.batch_size={images}"
        )
    _set_images_per_rank(config, images, report or (lambda line: None))


def _images_per_rank(config: Mapping) -> int:
    loader = config.get(_LOADER)
    if not isinstance(loader, Mapping) or loader.get("batch_size") is None:
        raise RecipeError(f"{_LOADER}.batch_size", "is missing")
    sampler = loader.get("batch_sampler")
    own = sampler.get("batch_size") if isinstance(sampler, Mapping) else None
    if own is not None:
        raise RecipeError(
            f"{_LOADER}.batch_sampler.batch_size",
            f"is {own}, which MMEngine uses instead of {_LOADER}.batch_size, the one "
            "that the recipe changes; leave it out, and set "
            f"{_LOADER}.batch_size={own}",
        )
    return parse_int(loader["batch_size"], f"{_LOADER}.batch_size")


def _set_images_per_rank(config: Any, images: int, report: Report) -> None:
    old = _images_per_rank(config)
    if images != old:
        assign(config, f"{_LOADER}.batch_size", images)
        report(f"{_LOADER}.batch_size: {old} -> {images}")


def _share(
    config: Any, batch_size: int, world_size: int, report: Report
) -> BatchShares:
    shares = share_batch(batch_size, world_size, _images_per_rank(config))
    ranks = "1 rank" if world_size == 1 else f"{world_size} ranks"
    line = f"batch of {batch_size} images: {ranks} x {shares.images} images"
    if shares.accumulation > 1:
        line += (
            f" x {shares.accumulation} accumulated iterations; without accumulation it "
            f"takes {batch_size // shares.images} ranks"
        )
    report(line)
    _set_images_per_rank(config, shares.images, report)
    wrapper = config["optim_wrapper"]
    accumulated = wrapper.get("accumulative_counts", 1)
    if accumulated != shares.accumulation:
        wrapper["accumulative_counts"] = shares.accumulation
        report(
            f"optim_wrapper.accumulative_counts: {accumulated} -> {shares.accumulation}"
        )
    return shares


def _scale_lr(
    config: Any, shares: BatchShares, base: Optional[int], rule: str, report: Report
) -> None:
    optimizer = config["optim_wrapper"]["optimizer"]
    if config["optim_wrapper"].get("lr_scaling"):
        raise RecipeError(
            "optim_wrapper.lr_scaling",
            "scales the rate already; remove it, or leave out the recipe's "
            f"batch_size={shares.total}, which scales it too",
        )
    if rule == "none" or base is None:
        report(f"optim_wrapper.optimizer.lr: {optimizer.get('lr')} (lr_rule='none')")
    else:
        rate = optimizer.get("lr")
        if not is_number(rate):
            raise RecipeError(
                "optim_wrapper.optimizer.lr",
                f"must be a number to be scaled to batch_size={shares.total}, but is "
                f"{rate!r}",
            )
        optimizer["lr"] = scaled_lr(rate, shares.total, base, rule)
        report(
            f"optim_wrapper.optimizer.lr: {rate:.6g} -> {optimizer['lr']:.6g} ({rule} "
            f"rule, from a batch of {base} to {shares.total})"
        )
        scale_rates(config, optimizer["lr"] / rate, report)
    # MMEngine ignores accumulation, so that --auto-scale-lr has no effect with this.
    scaling = dict(config.get("auto_scale_lr") or dict(enable=False))
    old = scaling.get("base_batch_size")
    scaling["base_batch_size"] = shares.images_of_iteration
    config["auto_scale_lr"] = scaling
    if old != shares.images_of_iteration:
        report(
            f"auto_scale_lr.base_batch_size: {old or 'none'} -> "
            f"{shares.images_of_iteration}, the images of one iteration"
        )


def _plan(config: Any, shares: BatchShares, num_samples: Optional[int]) -> ConfigPlan:
    size = None if is_multi_scale(config) else _ANY_SIZE
    try:
        with DefaultScope.overwrite_default_scope(scope_of(config)):
            # Building the dataset to count samples removes entries from its config.
            return config_plan(
                copy.deepcopy(config), num_samples, shares.world_size, size
            )
    except (KeyError, ValueError) as error:
        raise RecipeError(
            "train_cfg",
            f"the number of updates, which the recipe depends on, is unknown: {error}",
        ) from error


def _fit_times(
    plan: ConfigPlan,
    shares: BatchShares,
    warmup_iters: Optional[int],
    warmup: Warmup,
    agvm: Mapping[str, Any],
) -> LargeBatchTimes:
    updates = plan.optimizer_updates
    if warmup_iters is None and warmup.epochs and plan.by_epoch:
        if warmup.epochs >= len(plan.epochs):
            raise RecipeError(
                "param_scheduler",
                f"warms up for {warmup.epochs} epochs, but the training has "
                f"{len(plan.epochs)}; set warmup_iters=N, the length of the warm-up in "
                f"updates, below {updates}",
            )
        before = sum(epoch.iterations for epoch in plan.epochs[: warmup.epochs])
        warmup_iters = max(1, before // shares.accumulation)

    def updates_of(key: str) -> Optional[int]:
        value = agvm.get(key)
        return None if value is None else -(-value // shares.accumulation)

    return large_batch_times(
        updates,
        shares.total,
        warmup_iters,
        updates_of("start_iter"),
        agvm.get("interval"),
        agvm.get("momentum"),
        updates_of("stop_iter"),
    )


def _set_clipping(
    config: Any, shares: BatchShares, times: LargeBatchTimes, report: Report
) -> None:
    wrapper = config["optim_wrapper"]
    clip = wrapper.get("clip_grad")
    if clip and not isinstance(clip, Mapping):
        raise RecipeError(
            "optim_wrapper.clip_grad",
            f"must be a dict such as dict(max_norm=35), but is {short(clip)}",
        )
    hooks = list(config.get("custom_hooks") or ())
    others = [
        hook
        for hook in hooks
        if not (isinstance(hook, Mapping) and kind_of(hook).name == "ClipGradRangeHook")
    ]
    if wrapper.get("clip_grad") and len(others) == len(hooks):
        report(
            f"optim_wrapper.clip_grad: {short(dict(wrapper['clip_grad']))} is kept "
            "for the whole training"
        )
        return
    if not wrapper.get("clip_grad"):
        wrapper["clip_grad"] = dict(max_norm=1.0, norm_type=2)
    hook = dict(
        type="ClipGradRangeHook",
        begin=times.clip_begin * shares.accumulation,
        end=times.clip_end * shares.accumulation,
    )
    config["custom_hooks"] = [*others, hook]
    report(
        f"optim_wrapper.clip_grad: {short(dict(wrapper['clip_grad']))}, from iteration "
        f"{hook['begin']} to {hook['end']} (ClipGradRangeHook)"
    )


def _synchronize_norms(config: Any, report: Report) -> None:
    old = config.get("sync_bn")
    if old is None:
        config["sync_bn"] = "torch"
        report("sync_bn: none -> 'torch' (batch norm over all ranks)")
    scope = scope_of(config)
    for place, part in nested_configs(config.get("model"), "model"):
        if "type" not in part:
            continue
        if part.get("norm_eval", _default_norm_eval(part, scope)) is True:
            norm = part.get("norm_cfg")
            if isinstance(norm, Mapping) and norm.get("requires_grad", True) is False:
                report(
                    f"{place}.norm_eval: True is kept, since norm_cfg freezes its "
                    "batch norm too (requires_grad=False)"
                )
                continue
            assign(config, f"{place}.norm_eval", False)
            report(f"{place}.norm_eval: True -> False")


def _default_norm_eval(part: Mapping, scope: str) -> bool:
    """Return a network's default of ``norm_eval``, such as True of mmdet's ResNet."""
    kind = part["type"]
    if isinstance(kind, str):
        with MODELS.switch_scope_and_registry(scope) as registry:
            kind = registry.get(kind)
    for base in getattr(kind, "__mro__", ()):
        own = base.__dict__.get("__init__")
        found = inspect.signature(own).parameters.get("norm_eval") if own else None
        if found is not None:
            return found.default is True
    return False


def _report_measurements(times: LargeBatchTimes, report: Report) -> None:
    report(
        f"AGVM measures {times.measurements} times in the {times.updates} updates of "
        f"the training: from update {times.start} on, every {times.interval}"
    )
    if times.measurements < 100:
        report(
            f"note: {times.measurements} measurements are few; for about 100 or more, "
            "train for longer or with a smaller batch"
        )
