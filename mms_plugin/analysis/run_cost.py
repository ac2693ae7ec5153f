"""Find what a training has cost so far, by iteration, from its log and config."""

from __future__ import annotations

from typing import (
    Dict,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Set,
    Tuple,
    Union,
)

import numpy as np

from ..multi_scale.sizes import Size
from ..utils.config_types import batch_size_of
from .config_plan import is_multi_scale
from .epoch_plan import EpochPlan
from .run_log import RunLog
from .training_iterations import size_schedule
from .training_size import counted_size, fixed_size

__all__ = ["RunCost", "RunSizes", "run_cost", "run_sizes"]


class RunSizes(NamedTuple):
    """The sizes that a training ran.

    Attributes:
        plan: ``(height, width, batch_size)`` on one rank of every iteration so far,
            without the missing ones; empty where they are not in the log and the
            config has more than one.
        mixture: ``(height, width, batch_size)`` with its share of the iterations; in
            place of an empty plan.
        source: Where the plan is from, in words.
        counted_as: Size that the images of a batch have, by the batch's size.
        missing: Iterations before those of the plan, which the log does not have.
    """

    plan: EpochPlan
    mixture: List[Tuple[Tuple[int, int, int], float]]
    source: str
    counted_as: Dict[Size, Size]
    missing: int = 0

    @property
    def sizes(self) -> Set[Size]:
        """Those whose images' cost is needed."""
        return set(self.counted_as.values())


def run_sizes(log: RunLog) -> RunSizes:
    """Return sizes and batch sizes of a training's iterations.

    Those in the log; else the one size of a config without the multi-scale sampler;
    else, with the sampler but nothing in the log, the shares that it draws its sizes
    in without a curriculum.

    Raises:
        ValueError: None of these is known.
    """
    config = log.config
    if log.drawn:
        plan = log.plan
        sizes = sorted({(height, width) for height, width, _ in plan})
        counted = {s: s if config is None else counted_size(config, s) for s in sizes}
        return RunSizes(plan, [], "log", counted, log.missing)
    if config is None:
        raise ValueError(f"no sizes in the log, and {log.config_error}")
    loader = config.get("train_dataloader") or {}
    if not is_multi_scale(config):
        size, counted_as = fixed_size(config)
        batch_size = batch_size_of(loader)
        if not isinstance(batch_size, int):
            raise ValueError("train_dataloader of the config has no batch_size")
        plan = [(*size, batch_size)] * log.iterations
        return RunSizes(plan, [], "config", {size: counted_as})
    schedule = size_schedule(config)
    drawn = schedule.distribution(1.0)
    total = sum(drawn.weights)
    mixture = [
        ((*size, batch_size), weight / total)
        for size, batch_size, weight in zip(
            drawn.sizes, drawn.batch_sizes, drawn.weights
        )
    ]
    return RunSizes(
        [],
        mixture,
        "config, as shares",
        {size: counted_size(config, size) for size in drawn.sizes},
    )


class RunCost(NamedTuple):
    """What a training has cost.

    Attributes:
        total: Cost so far, over all ranks.
        cumulated: Cost up to each iteration, from the first on.
    """

    total: float
    cumulated: np.ndarray

    def after(self, iteration: int) -> float:
        """Return the cost of the iterations up to this one."""
        if iteration < 1 or not len(self.cumulated):
            return 0.0
        return float(self.cumulated[min(iteration, len(self.cumulated)) - 1])


def run_cost(
    sizes: RunSizes,
    iterations: int,
    world_size: Union[int, Sequence[int]] = 1,
    per_image: Optional[Mapping[Size, float]] = None,
) -> RunCost:
    """Return the cost of a training, summed up; missing iterations cost nothing.

    Args:
        sizes: What it ran.
        iterations: How many so far.
        world_size: Ranks, of all iterations or of each. Defaults to 1.
        per_image: Cost of an image by its size, such as its training FLOPs. Defaults to
            its pixels.
    """
    cost: Dict[Tuple[int, int, int], float] = {}
    for entry in {*sizes.plan, *(entry for entry, _ in sizes.mixture)}:
        size = sizes.counted_as[entry[0], entry[1]]
        image = size[0] * size[1] if per_image is None else per_image[size]
        cost[entry] = float(image) * entry[2]
    if sizes.mixture:
        mean = sum(cost[entry] * share for entry, share in sizes.mixture)
        each = np.full(iterations, mean)
    else:
        known = [cost[entry] for entry in sizes.plan]
        each = np.array([0.0] * sizes.missing + known)[:iterations]
    ranks = np.asarray(world_size)
    cumulated = np.cumsum(each * (ranks[: len(each)] if ranks.ndim else ranks))
    return RunCost(float(cumulated[-1]) if len(cumulated) else 0.0, cumulated)
