"""Predict what the trainings of the zoo's configs cost, and keep it in a JSON file.

What decides a config's cost has a fingerprint: model, data loader, loop, curriculum.
A config whose fingerprint is in the file is not counted again: the file is updated in
minutes, and a test compares the fingerprints in seconds.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os.path as osp
import re
import time
from glob import glob
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Set

from mms_plugin import cli
from mms_plugin.analysis import (
    ConfigPlan,
    ModelFlops,
    UncountedError,
    build_model,
    config_plan,
    model_flops,
    training_cost,
)
from mms_plugin.multi_scale import Size
from mms_plugin.utils.files import write_atomically

ROOT = osp.dirname(osp.dirname(osp.dirname(osp.abspath(__file__))))
CONFIGS = osp.join(ROOT, "configs")
COSTS = osp.join(ROOT, "docs", "results", "zoo.json")

#: Folders of ``configs/`` that are no part of the zoo.
NO_MODELS = ("_base_", "demo")

#: Libraries whose configs and models decide the costs.
LIBRARIES = ("mmdet", "mmpretrain", "mmseg", "torch")

NAME = re.compile(
    r"(?P<model>[a-z0-9-]+)_(?P<recipe>fbs|vbs|vbs-cur|agvm|vbs-cur-agvm)"
    r"_(?P<gpus>\d+)xb(?P<batch>\d+)-(?P<schedule>[a-z0-9-]+)_(?P<data>[a-z0-9]+)"
)

#: Samples of the datasets that the plugin does not know without their files.
SAMPLES = dict(nuclei=535)

# Detectors whose attention runs on real tensors only: at the sizes of their trainings
# that takes many gigabytes and minutes for each size.
_NOT_COUNTED = ("DINO",)

# What a config says of the training beside its model.
_TRAINING = ("train_dataloader", "train_cfg", "randomness")


class ZooName(NamedTuple):
    """Parts of a config's name.

    Attributes:
        model: ``resnet50``.
        recipe: ``fbs``, ``vbs``, ``vbs-cur``, ``agvm`` or ``vbs-cur-agvm``.
        gpus: Number of GPUs.
        batch: Images per GPU at the base size.
        schedule: ``600e``, ``ra4-600e``, ``adamw-12e``, ``80k``.
        data: ``in1k``.
    """

    model: str
    recipe: str
    gpus: int
    batch: int
    schedule: str
    data: str

    @property
    def total_batch(self) -> int:
        """Images of an iteration over all GPUs at the base size."""
        return self.gpus * self.batch

    @property
    def length(self) -> str:
        """The end of :attr:`schedule`: ``600e`` for epochs, ``80k`` for iterations."""
        return self.schedule.rpartition("-")[2]


def parse_name(stem: str) -> ZooName:
    """Return the parts of a config's name, ``resnet50_vbs_8xb128-600e_in1k``.

    Raises:
        ValueError: The name has another form.
    """
    match = NAME.fullmatch(stem)
    if match is None:
        raise ValueError(
            f"{stem} must be named model_recipe_GPUSxbBATCH-schedule_data, such as "
            "resnet50_vbs_8xb128-600e_in1k"
        )
    parts = match.groupdict()
    gpus, batch = int(parts["gpus"]), int(parts["batch"])
    return ZooName(
        parts["model"], parts["recipe"], gpus, batch, parts["schedule"], parts["data"]
    )


def zoo_configs() -> Dict[str, str]:
    """Return the files of the zoo's configs by their names, sorted by folder."""
    files = sorted(glob(osp.join(CONFIGS, "*", "*.py")))
    return {
        osp.splitext(osp.basename(file))[0]: file
        for file in files
        if osp.basename(osp.dirname(file)) not in NO_MODELS
    }


def versions() -> Dict[str, str]:
    """Return the versions of the libraries that decide the costs."""
    from importlib import import_module

    found = {name: str(import_module(name).__version__) for name in LIBRARIES}
    # torch's build (+cpu) decides nothing.
    return {name: version.partition("+")[0] for name, version in found.items()}


def model_fingerprint(config: Any) -> str:
    """Return the fingerprint of what decides the FLOPs of an image."""
    parts = {key: config.get(key) for key in ("model", "data_preprocessor")}
    return _fingerprint(_without_weights(parts))


def plan_fingerprint(config: Any, gpus: int) -> str:
    """Return the fingerprint of what decides the batches of a training."""
    hooks = [
        hook
        for hook in config.get("custom_hooks") or []
        if "Curriculum" in str(hook["type"])
    ]
    parts = {key: config.get(key) for key in _TRAINING}
    return _fingerprint(dict(parts, hooks=hooks, gpus=gpus))


def _fingerprint(value: Any) -> str:
    text = json.dumps(_plain(value), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return value


def _without_weights(value: Any) -> Any:
    """Leave out which weights a model starts from."""
    if isinstance(value, Mapping):
        return {
            key: _without_weights(each)
            for key, each in value.items()
            if key not in ("init_cfg", "pretrained")
        }
    if isinstance(value, (list, tuple)):
        return [_without_weights(each) for each in value]
    return value


def read_costs() -> Dict[str, Any]:
    """Return the kept costs; empty ones without a file."""
    if not osp.exists(COSTS):
        return dict(about={}, models={}, configs={})
    with open(COSTS, encoding="utf-8") as stream:
        return dict(json.load(stream))


def flops_of(kept: Mapping) -> Optional[ModelFlops]:
    """Return a model's kept FLOPs; ``None`` where they cannot be counted."""
    if kept["counted_on"] is None:
        return None
    per_image: Dict[Size, float] = {}
    for text, flops in kept["per_image"].items():
        height, _, width = text.partition("x")
        per_image[int(height), int(width)] = flops
    return ModelFlops(
        per_image, kept["counted_on"], kept["rois"] and tuple(kept["rois"])
    )


def stale(costs: Mapping, configs: Mapping[str, Any]) -> List[str]:
    """Return the configs whose cost is missing, or kept for another config.

    Args:
        costs: As in the file.
        configs: Loaded configs of the zoo by name.
    """
    found = []
    for name, config in configs.items():
        kept = costs["configs"].get(name)
        if (
            kept is None
            or kept["model"] != model_fingerprint(config)
            or kept["plan"] != plan_fingerprint(config, parse_name(name).gpus)
        ):
            found.append(name)
    return found


def update_costs(configs: Mapping[str, Any], only: Sequence[str] = ()) -> None:
    """Count what is missing and write the file after every model.

    Args:
        configs: Loaded configs of the zoo by name.
        only: Parts of names. Default: all configs.
    """
    costs = read_costs()
    costs["about"] = dict(
        versions=versions(), command="python tools/misc/zoo_tables.py --count"
    )
    costs["configs"] = {n: c for n, c in costs["configs"].items() if n in configs}
    by_model: Dict[str, List[str]] = {}
    for name in stale(costs, configs):
        if not only or any(part in name for part in only):
            by_model.setdefault(model_fingerprint(configs[name]), []).append(name)
    plans: Dict[str, ConfigPlan] = {}
    for model, names in by_model.items():
        began = time.perf_counter()
        keys = {}
        for name in names:
            gpus = parse_name(name).gpus
            key = keys[name] = plan_fingerprint(configs[name], gpus)
            if key not in plans:
                plans[key] = plan_of(name, configs[name])
        sizes = {s for key in keys.values() for s in plans[key].counted_as.values()}
        flops = _flops(costs["models"], model, configs[names[0]], sizes)
        for name, key in keys.items():
            costs["configs"][name] = dict(
                model=model, plan=key, **_cost(plans[key], flops)
            )
        used = {each["model"] for each in costs["configs"].values()}
        costs["models"] = {k: costs["models"][k] for k in sorted(used)}
        costs["configs"] = dict(sorted(costs["configs"].items()))
        text = json.dumps(costs, indent=1) + "\n"
        write_atomically(text.encode(), COSTS)
        seconds, counted = time.perf_counter() - began, costs["models"][model]
        print(
            f"{', '.join(names)}: {counted['counted_on']}, {seconds:.0f} s", flush=True
        )


def plan_of(name: str, config: Any) -> ConfigPlan:
    """Return the plan of a config's training on the GPUs of its name."""
    parts = parse_name(name)
    cli.enter_scope(config)
    samples = SAMPLES.get(parts.data)
    return config_plan(config, num_samples=samples, world_size=parts.gpus)


def _cost(plan: ConfigPlan, flops: Optional[ModelFlops]) -> Dict[str, Any]:
    """Return what is kept of a training's cost."""
    cost = training_cost(plan, flops)
    return dict(
        epochs=len(plan.epochs) if plan.by_epoch else None,
        iterations=plan.iterations,
        images=cost.images,
        train_pixels=cost.pixels,
        train_flops=cost.flops,
        assumptions=plan.assumptions,
    )


def _flops(
    models: Dict[str, Any], model: str, config: Any, sizes: Set[Size]
) -> Optional[ModelFlops]:
    """Return a model's FLOPs at the sizes, counted where they are not kept."""
    known = flops_of(models[model]) if model in models else None
    if known is not None:
        sizes = sizes | set(known.per_image)
        if sizes <= set(known.per_image):
            return known
    elif model in models:
        return None
    if config.model.type in _NOT_COUNTED:
        models[model] = dict(counted_on=None, rois=None, per_image={}, why="too large")
        return None
    cli.enter_scope(config)
    try:
        # Building a model changes its config.
        counted = model_flops(build_model(copy.deepcopy(config)), sizes)
    except UncountedError as error:
        models[model] = dict(counted_on=None, rois=None, per_image={}, why=str(error))
        return None
    models[model] = dict(
        counted_on=counted.counted_on,
        rois=counted.rois,
        per_image={f"{h}x{w}": counted.per_image[h, w] for h, w in sorted(sizes)},
    )
    return counted
