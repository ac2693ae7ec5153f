"""Convert a single-scale config of any MMEngine library to a multi-scale one."""

from __future__ import annotations

import copy
import inspect
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

from ..hooks.resolution_curriculum_hook import ResolutionCurriculumHook
from ..multi_scale.growing_sizes import SAMPLER_ARGUMENTS, GrowingSizes
from ..multi_scale.sizes import Size, ordered_sizes, parse_size, parse_sizes, short_size
from ..utils.config_types import counts_iterations
from ..utils.validation import is_integer, parse_bool
from .batch_augments import BatchAugments, batch_resize_size
from .config_edits import RecipeError, Report, add_plugin_import, assign, short
from .datasets import convert_dataset, dataset_names, pipeline_chains, skip_type_keys
from .default_sizes import default_sizes, scaled_to_side, sizes_of_range
from .evaluation_size import evaluation_size
from .hooks import check_hooks, convert_hooks, hook_pipelines, hook_skip_type_keys
from .iteration_counts import scale_iterations
from .models import checked_model
from .pipelines import Steps
from .size_report import report_batches, report_losses, report_squares
from .size_transforms import Sides
from .train_loader import LOADER, SAMPLER, checked_loader, old_batch_sampler
from .warmup import find_warmup, warn_of_iteration_schedules

__all__ = ["vbs_cur_recipe", "vbs_recipe"]

_HOOK, _CURRICULUM_HOOK = "MultiScaleSamplerHook", "ResolutionCurriculumHook"

# Not as published: worth a point at the base size, see docs/multi_scale.md.
_LR_SCALING = "sqrt"

# Points of a training over which its batch sizes are averaged.
_PROBES = 1000


def vbs_recipe(
    config: Any,
    curriculum: Union[bool, Mapping[str, Any]] = False,
    *,
    sizes: Any = None,
    base_size: Any = None,
    weights: Optional[Sequence[float]] = None,
    start_sizes: Any = None,
    batch_sizes: Optional[Sequence[int]] = None,
    cost_model: Optional[Mapping[str, float]] = None,
    variable_batch: Optional[bool] = None,
    group_by_aspect_ratio: Optional[bool] = None,
    drop_last: Optional[bool] = None,
    seed: Optional[int] = None,
    check_model: Union[str, bool] = "run",
    keep: Optional[str] = None,
    report: Optional[Report] = None,
) -> Any:
    """Convert a config to multi-scale variable-batch sampling (MSc-VBS).

    The batch sampler becomes :class:`MultiScaleVariableBatchSampler`, the training
    dataset is wrapped in :class:`MultiScaleDataset`, and the transforms that set a size
    are wrapped in :class:`MultiScaleTransform`. Pipelines that hooks switch to and
    lists of transforms to skip are converted too. Optimizer, validation and test stay.
    The model changes only where its data preprocessor sets a size, or where
    ``pad_small_map`` lets it run at small sizes. The learning-rate schedule is scaled
    with ``keep='images'`` and stays otherwise; with a curriculum the learning rate of
    an iteration follows the root of its batch size.

    The base size is the output size of the pipeline: that of its last resize, crop or
    pad. With ``keep_ratio`` that size is an upper bound, such as mmdet's
    ``(1333, 800)``. The base size is then ``(800, 1333)`` and the other sizes have the
    same aspect ratio, so that at one size all images are scaled by the same factor
    relative to the original config. A transform whose size differs from the base size
    keeps its ratio to it.

    Args:
        config: A config, as a dict or an MMEngine ``Config``. It is not changed.
        curriculum: Let the sizes grow (MSc-VBSWC): True, or a dict of arguments of
            :class:`ResolutionCurriculumHook`, whose ``lr_scaling`` defaults to
            ``'sqrt'`` here, and ``by_epoch`` to False where the last epoch would begin
            before the largest sizes are drawn. If False,
            :class:`MultiScaleSamplerHook` is added: it logs the sizes and lets a
            training resume within an epoch. Defaults to False.
        sizes: See :class:`MultiScaleVariableBatchSampler`. Defaults to None: the sizes
            that the config draws from itself, if any, otherwise those of
            :func:`default_sizes`.
        base_size: Size that the config's ``batch_size`` is meant for. Defaults to None:
            the output size of the pipeline, or that of the test pipeline if the
            transforms draw from several sizes.
        weights: See the sampler.
        start_sizes: See the hook.
        batch_sizes: See the sampler.
        cost_model: See the sampler.
        variable_batch: See the sampler.
        group_by_aspect_ratio: See the sampler. Defaults to None: True if the config has
            mmdet's ``AspectRatioBatchSampler``, or its version for videos.
        drop_last: See the sampler. Defaults to None: the value in the config.
        seed: See the sampler.
        check_model: How to find models that work at one input size only: ``'run'``
            builds the model and runs it at every size, ``'names'`` looks at its config
            only, False does not check. Defaults to ``'run'``.
        keep: What stays the same in a training that counts iterations:
            ``'iterations'``, their number, with more images per iteration on average;
            or ``'images'``, the number of images seen, with fewer iterations
            (``max_iters``, learning-rate schedules and intervals are scaled). Defaults
            to None: ``'iterations'``.
        report: Called with a line for each change, ``place: old -> new``. If the
            annotation file exists, also called with the share of boxes that the
            smallest size loses. Defaults to None.

    Returns:
        A converted copy of the config.

    Raises:
        ValueError: If an argument is not valid. As :class:`RecipeError`, if the config
            cannot be converted, with the path of the part that prevents it.
    """
    has_report = report is not None
    report = report or (lambda line: None)
    if keep not in (None, "images", "iterations"):
        raise ValueError(f"keep must be 'images' or 'iterations', but got {keep!r}")
    config = copy.deepcopy(config)
    loader = checked_loader(config)
    old = old_batch_sampler(loader)
    check_hooks(config)
    own, base, steps = _read_pipelines(config, loader, base_size)
    augments = BatchAugments(config, own or base)
    rule = _given(
        batch_sizes=batch_sizes, cost_model=cost_model, variable_batch=variable_batch
    )
    sizes_given = sizes is not None
    if sizes is None:
        sizes = _own_sizes(base, steps, augments, base_size is not None)
    images: Dict[Size, int] = {}
    if batch_sizes is None or sizes_given:
        images = _images_by_size(loader["batch_size"], short_size(base), sizes, rule)
    checked = checked_model(
        config, base, parse_sizes(sizes), check_model, sizes_given, images
    )
    config["model"] = checked.model
    if not sizes_given:
        sizes = [short_size(size) for size in checked.sizes]
    if group_by_aspect_ratio is None:
        group_by_aspect_ratio = True if old.by_aspect_ratio else None
    sampler = dict(type=SAMPLER, base_size=short_size(base), sizes=sizes)
    sampler.update(_given(weights=weights, **rule))
    sampler.update(
        _given(
            group_by_aspect_ratio=group_by_aspect_ratio,
            drop_last=old.drop_last if drop_last is None else drop_last,
            seed=seed,
        )
    )
    hook = _sampler_hook(curriculum, start_sizes)
    schedule = _check_sizes(loader["batch_size"], sampler, hook)
    _reach_all_sizes(config, hook, schedule)

    report(f"{LOADER}.batch_sampler: {old.name or 'none'} -> {_call(sampler)}")
    for line in checked.lines:
        report(line)
    report_squares(base, checked.sizes, report)
    report_batches(schedule, report)
    _set_iterations(config, schedule, keep, report)
    warn_of_iteration_schedules(config, find_warmup(config), report)
    rewritten = _convert_loader(config, loader, sampler, steps, report)
    if has_report:
        report_losses(config, loader["dataset"], rewritten, schedule, report)
    augments.leave_out(config, report)
    augments.wrap(config, report)
    _turn_off_cudnn_benchmark(config, report)
    convert_hooks(config, steps, rewritten, report)
    _convert_variables(config, rewritten, report)
    hooks = list(config.get("custom_hooks") or ())
    report(f"custom_hooks[{len(hooks)}]: none -> {_call(hook)}")
    config["custom_hooks"] = [*hooks, hook]
    add_plugin_import(config, report)
    return config


def vbs_cur_recipe(
    config: Any, options: Mapping[str, Any], report: Optional[Report] = None
) -> Any:
    """Convert a config to sizes that grow (MSc-VBSWC), see :func:`vbs_recipe`.

    Args:
        config: A config, as a dict or an MMEngine ``Config``. It is not changed.
        options: Arguments of :func:`vbs_recipe` and of
            :class:`ResolutionCurriculumHook`, together.
        report: See :func:`vbs_recipe`.

    Returns:
        A converted copy of the config.

    Raises:
        ValueError: As :func:`vbs_recipe`.
    """
    known = inspect.signature(vbs_recipe).parameters
    curriculum = {k: v for k, v in options.items() if k not in known}
    others = {k: v for k, v in options.items() if k in known}
    return vbs_recipe(config, curriculum or True, report=report, **others)


def _read_pipelines(
    config: Any, loader: Mapping, base_size: Any
) -> Tuple[Optional[Size], Size, Steps]:
    """Return the output size of the pipelines, the base size, and the steps."""
    given = None if base_size is None else parse_size(base_size, "base_size")
    place = f"{LOADER}.dataset"
    chains = pipeline_chains(loader["dataset"], place)
    skipped = skip_type_keys(loader["dataset"]) | hook_skip_type_keys(config)
    # If the transforms draw from several sizes, the test pipeline has the base size.
    resized = batch_resize_size(config)
    around = given or resized or evaluation_size(config)
    scope = str(config.get("default_scope") or "")
    steps = Steps(scope, skipped, around, resized is not None)
    for leaf, chain in chains:
        if not chain:
            raise RecipeError(
                f"{leaf}.pipeline",
                "is missing, and no dataset=... or datasets=[...] is inside; for a "
                "dataset of another form write MultiScaleDataset and "
                "MultiScaleTransform by hand (docs/your_data.md)",
            )
        steps.read(chain, leaf)
    for pipeline in hook_pipelines(config):
        steps.read([pipeline], pipeline.place, switched_to=True)
    steps.settle()
    own = None if steps.size is None else _whole_size(steps.size, place)
    if given is not None:
        return own, given, steps
    if own is not None:
        return own, own, steps
    assert around is not None  # otherwise steps.read has raised
    return None, _whole_size(around, place), steps


def _whole_size(size: Sides, place: str) -> Size:
    if any(side < 1 or not float(side).is_integer() for side in size):
        raise RecipeError(
            place,
            "the size of its transforms must be positive integers of pixels, such as "
            f"scale=(1333, 800), but is {size}",
        )
    return int(size[0]), int(size[1])


def _own_sizes(
    base: Size, steps: Steps, augments: BatchAugments, base_given: bool
) -> List[Any]:
    """Return the sizes for a user who names none, at least two."""
    sizes = augments.sizes or _drawn_sizes(
        base, steps, augments.pad_size_divisor, base_given
    )
    if len(sizes) == 1:
        raise RecipeError(
            f"{LOADER}.dataset",
            f"there is no other size around the base size {short_size(base)!r} that is "
            "a multiple of the network's stride; name them: sizes=[...]",
        )
    return [short_size(size) for size in sizes]


def _drawn_sizes(
    base: Size, steps: Steps, pad_size_divisor: int, base_given: bool
) -> Tuple[Size, ...]:
    """Return the sizes that the pipeline draws from itself, or the default sizes."""
    if not steps.drawn or base_given:
        return default_sizes(base, steps.dense, pad_size_divisor)
    sizes: List[Size] = []
    for drawn in steps.drawn:
        sides = [min(size) for size in drawn.sizes]
        if drawn.is_range:
            sizes += sizes_of_range(base, min(sides), max(sides), pad_size_divisor)
        elif drawn.keep_ratio:
            sizes += [scaled_to_side(base, int(side)) for side in sides]
        else:
            sizes += [(int(height), int(width)) for height, width in drawn.sizes]
    shortest = [min(size) for size in sizes]
    if min(shortest) <= min(base) <= max(shortest):
        sizes.append(base)
    return tuple(ordered_sizes(set(sizes)))


def _sampler_hook(
    curriculum: Union[bool, Mapping[str, Any]], start_sizes: Any
) -> Dict[str, Any]:
    if not curriculum and not isinstance(curriculum, Mapping):
        if start_sizes is not None:
            raise ValueError(
                f"start_sizes belong to the curriculum, but got {start_sizes!r} with "
                "curriculum=False; set curriculum=True or leave start_sizes out"
            )
        return dict(type=_HOOK)
    given = dict(curriculum) if isinstance(curriculum, Mapping) else {}
    arguments = {"lr_scaling": _LR_SCALING, **given, **_given(start_sizes=start_sizes)}
    return dict(type=_CURRICULUM_HOOK, **arguments)


def _check_sizes(batch_size: int, sampler: Mapping, hook: Mapping) -> GrowingSizes:
    """Check the arguments now, before the training builds the sampler and the hook."""
    for name in ("group_by_aspect_ratio", "drop_last"):
        if name in sampler:
            parse_bool(sampler[name], name)
    given = {name: sampler[name] for name in SAMPLER_ARGUMENTS if name in sampler}
    schedule = GrowingSizes(batch_size, **given)
    if hook["type"] == _CURRICULUM_HOOK:
        arguments = {k: v for k, v in hook.items() if k != "type"}
        schedule.set_curriculum(ResolutionCurriculumHook(**arguments).curriculum)
    return schedule


def _reach_all_sizes(config: Any, hook: Dict[str, Any], schedule: GrowingSizes) -> None:
    """Let the sizes grow within epochs where the last one begins too early."""
    epochs: Any = (config.get("train_cfg") or {}).get("max_epochs")
    if hook["type"] != _CURRICULUM_HOOK or "by_epoch" in hook:
        return
    if counts_iterations(config) or not is_integer(epochs) or epochs < 1:
        return
    starts = [schedule.distribution(epoch / epochs).sizes for epoch in range(epochs)]
    if {*schedule.distribution(1.0).sizes} - {size for each in starts for size in each}:
        hook["by_epoch"] = False


def _images_by_size(
    batch_size: int, base_size: Any, sizes: Any, rule: Mapping[str, Any]
) -> Dict[Size, int]:
    """Return the images per rank of a full batch by size."""
    schedule = GrowingSizes(batch_size, base_size=base_size, sizes=sizes, **rule)
    return dict(zip(schedule.sizes, schedule.batch_sizes))


def _set_iterations(
    config: Any, schedule: GrowingSizes, keep: Optional[str], report: Report
) -> None:
    """Lower the number of iterations if the number of images is to stay the same."""
    if not counts_iterations(config):
        if keep is not None:
            report(f"note: keep={keep!r} has no effect: the training counts epochs")
        return
    fractions = ((i + 0.5) / _PROBES for i in range(_PROBES))
    images = sum(schedule.distribution(f).mean_batch_size for f in fractions) / _PROBES
    most = config["train_cfg"].get("max_iters")
    if keep == "images":
        scale_iterations(config, schedule.batch_size / images, report)
    elif most:
        report(
            f"note: train_cfg.max_iters={most} is kept, while an iteration now has "
            f"{images:.3g} images on average instead of {schedule.batch_size}; "
            "keep='images' lowers it"
        )


def _turn_off_cudnn_benchmark(config: Any, report: Report) -> None:
    """Let cuDNN not search for the fastest algorithms, anew with each input size."""
    environment = config.get("env_cfg")
    if isinstance(environment, Mapping) and environment.get("cudnn_benchmark"):
        assign(config, "env_cfg.cudnn_benchmark", False)
        report("env_cfg.cudnn_benchmark: True -> False")


def _convert_loader(
    config: Any,
    loader: Mapping,
    sampler: Mapping,
    steps: Steps,
    report: Report,
) -> List[Tuple[Any, Any]]:
    """Replace the training loader; return its pipelines with what they became."""
    place, names = f"{LOADER}.dataset", dataset_names(loader["dataset"])
    report(f"{place}: {names} -> MultiScaleDataset({names})")
    rewritten: List[Tuple[Any, Any]] = []
    dataset = convert_dataset(loader["dataset"], place, steps, rewritten, report)
    new_loader: Any = copy.copy(loader)
    # The batch sampler has drop_last instead; torch does not accept both.
    new_loader.pop("drop_last", None)
    new_loader["batch_sampler"] = sampler
    new_loader["dataset"] = dict(type="MultiScaleDataset", dataset=dataset)
    config[LOADER] = new_loader
    return rewritten


def _convert_variables(
    config: Any, rewritten: Sequence[Tuple[Any, Any]], report: Report
) -> None:
    """Update variables such as ``train_pipeline`` that equal a converted pipeline."""
    for key in list(config.keys()):
        if not isinstance(config[key], (list, tuple)) or key == "custom_hooks":
            continue
        for old, new in rewritten:
            if config[key] == old and new != old:
                config[key] = copy.deepcopy(new)
                report(f"{key}: converted as in the dataset")
                break


def _given(**options: Any) -> Dict[str, Any]:
    return {key: value for key, value in options.items() if value is not None}


def _call(config: Mapping) -> str:
    shown = [f"{k}={short(v)}" for k, v in config.items() if k != "type"]
    return f"{config['type']}({', '.join(shown)})"
