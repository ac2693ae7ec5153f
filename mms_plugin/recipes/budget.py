"""Choose sizes and their growth to meet a budget: a share of the original cost."""

from __future__ import annotations

import copy
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Tuple

from mmengine.registry import DefaultScope

from ..analysis.config_plan import config_plan
from ..analysis.iteration_costs import load_times
from ..analysis.model_flops import ModelFlops
from ..analysis.training_cost import TrainingCost, cost_ratios, training_cost
from ..analysis.training_iterations import size_schedule
from ..analysis.training_size import counted_size, fixed_size
from ..multi_scale.curriculum import ResolutionCurriculum, grown_sizes
from ..multi_scale.growing_sizes import GrowingSizes
from ..multi_scale.sizes import Size, short_size, side_length, size_text
from ..utils.config_types import counts_iterations, scope_of
from ..utils.si_prefix import si_text
from ..utils.validation import is_number, parse_int
from .budget_search import (
    LATEST_END,
    BudgetChoice,
    CostRates,
    best_choice,
    size_sets,
    solve_growth,
)
from .config_edits import RecipeError, Report
from .counted_flops import counted_flops
from .vbs import vbs_cur_recipe

__all__ = ["BUDGET_OPTIONS", "budget_options", "refuse_unused_options"]

BUDGET_OPTIONS = (
    "budget",
    "times",
    "estimate",
    "positive_rois",
    "world_size",
    "num_samples",
)
"""Options of :func:`budget_options`."""

# Options that the budget chooses. The user must not set them as well.
_DECIDED = ("start_sizes", "end_sizes", "schedule", "begin", "end", "milestones")

_CLOSE = 0.002
_CORRECTIONS = 4
_PARTS = 1000  # of a training, in which the sizes are looked at


class _Costs(NamedTuple):
    iteration: Callable[[int, int, int], float]  # by height, width, batch size
    own: float  # of an iteration of the original config
    own_size: Size  # size of the batches in the original config
    own_counted: Size  # size of their images, which may keep their ratio
    what: str  # what is counted, for messages
    model: Optional[ModelFlops]
    seconds: Optional[Callable[[int, int, int], float]]


def refuse_unused_options(options: Mapping[str, Any]) -> None:
    """Check that options that need ``budget`` are not given without it.

    Raises:
        ValueError: If one is.
    """
    if "budget" in options:
        return
    for name in ("times", "estimate", "num_samples", "world_size"):
        if name in options:
            raise ValueError(
                f"{name}={options[name]!r} needs budget=B, a share of the cost"
            )


def budget_options(
    config: Any, options: Mapping[str, Any], report: Report
) -> Dict[str, Any]:
    """Choose options of recipe ``vbs-cur`` that meet a budget.

    The function chooses the sizes (unless given), the start sizes, and the begin and
    end of the linear growth. After the growth, only the base size is drawn. Of all
    choices that meet the budget, the one with the most updates is returned.

    Args:
        config: A config, see :func:`vbs_recipe`. It is not changed.
        options: Options of recipe ``vbs-cur``, and these:

            - ``budget``: Share of the cost of the original training, above 0 and at
              most 1.
            - ``times``: File written by ``calibrate_batch_sizes.py --json``. The cost
              is then the time of the iterations on that device. Defaults to None: the
              cost is the training FLOPs.
            - ``estimate``: ``'pixels'`` assumes that FLOPs are proportional to the
              pixels. Defaults to None: FLOPs are counted.
            - ``positive_rois``: Positive RoIs per image, see :func:`model_flops`.
            - ``world_size``: Number of ranks. Defaults to 1.
            - ``num_samples``: Number of samples in the dataset. Defaults to None: the
              number in the annotations. If that is unknown, the prediction assumes
              many samples.
        report: Called with a line for the choice and a line for its cost.

    Returns:
        Options for recipe ``vbs-cur``, without those listed above.

    Raises:
        ValueError: If an option is not valid, or the budget cannot be reached.
    """
    budget = _parse_budget(options["budget"])
    own_options = {k: v for k, v in options.items() if k in BUDGET_OPTIONS}
    options = {k: v for k, v in options.items() if k not in BUDGET_OPTIONS}
    _check_options(own_options, options)
    if counts_iterations(config):
        if options.get("keep") == "iterations":
            raise RecipeError(
                "train_cfg",
                "counts iterations, which cost about the same at every size; a budget "
                "needs keep='images'",
            )
        options["keep"] = "images"
    with DefaultScope.overwrite_default_scope(scope_of(config)):
        probe = vbs_cur_recipe(config, options)
        schedule = _sizes_to_try(probe, options)
        costs = _costs(config, probe, schedule, own_options, report)
        choice = _search(probe, schedule, costs, budget, _are_fixed(options))
        base = schedule.base_size
        choice, source = _as_planned(
            config, base, choice, budget, options, costs, own_options
        )
    _report_choice(choice, base, budget, costs, source, report)
    return {**options, **_chosen(choice, base)}


def _parse_budget(value: Any) -> float:
    if not is_number(value) or not 0 < value <= 1:
        raise ValueError(
            "budget must be a share of the config's own cost, above 0 and at most 1, "
            f"but got {value!r}"
        )
    return float(value)


def _check_options(own: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    for name in (*_DECIDED, "by_epoch"):
        if name in options:
            raise ValueError(
                f"{name}={options[name]!r} must be left out with budget, which chooses "
                "it"
            )
    for name in ("world_size", "num_samples"):
        if own.get(name) is not None:
            parse_int(own[name], name)
    if own.get("positive_rois") is not None:
        parse_int(own["positive_rois"], "positive_rois", 0)
    if own.get("estimate") not in (None, "pixels"):
        raise ValueError(
            f"estimate must be 'pixels' or left out, but got {own['estimate']!r}"
        )
    if own.get("times") is not None and own.get("estimate") is not None:
        raise ValueError("estimate='pixels' must be left out with times")


def _are_fixed(options: Mapping[str, Any]) -> bool:
    """Return whether the user set the sizes or a list with one value per size."""
    return any(
        options.get(name) is not None for name in ("sizes", "weights", "batch_sizes")
    )


def _sizes_to_try(probe: Any, options: Mapping[str, Any]) -> GrowingSizes:
    """Return the sizes up to and including the base size."""
    schedule = size_schedule(probe)
    base = schedule.base_size
    above = [s for s in schedule.sizes if side_length(s) > side_length(base)]
    if above and _are_fixed(options):
        raise ValueError(
            f"sizes must not be above the base size, {size_text(base)}, at which a "
            f"training with a budget ends, but got {size_text(above[0])}"
        )
    if base in schedule.sizes and not above:
        return schedule
    for name in ("weights", "batch_sizes"):
        if options.get(name) is not None:
            raise ValueError(
                f"sizes must include the base size, {size_text(base)}, at which a "
                f"training with a budget ends, so that {name} has a value for it"
            )
    below = [size for size in schedule.sizes if side_length(size) < side_length(base)]
    return size_schedule(probe, sizes=[*below, base])


# ----------------------------------------------------------------------------- cost


def _costs(
    config: Any,
    probe: Any,
    schedule: GrowingSizes,
    own: Mapping[str, Any],
    report: Report,
) -> _Costs:
    base, batch_size = schedule.base_size, schedule.batch_size
    try:
        size, counted = fixed_size(config)
    except ValueError:  # the config draws from several sizes
        size, counted = base, counted_size(probe, base)
        report(
            "note: the config has no single size; its own cost is taken to be that of "
            f"a training at {size_text(base)}"
        )
    if own.get("times") is not None:
        try:
            times, _ = load_times(own["times"])
        except (OSError, ValueError) as error:
            raise ValueError(
                f"times={own['times']!r} cannot be read: {error}"
            ) from error
        return _Costs(
            times.at,
            times.at(*size, batch_size),
            size,
            counted,
            "time",
            None,
            times.at,
        )
    counted_as = {each: counted_size(probe, each) for each in schedule.sizes}
    if own.get("estimate") == "pixels":

        def pixels(height: int, width: int, images: int) -> float:
            rows, columns = counted_as[height, width]
            return float(images * rows * columns)

        paid = float(batch_size * counted[0] * counted[1])
        return _Costs(pixels, paid, size, counted, "pixels", None, None)
    if not isinstance(probe.get("model"), Mapping):
        raise RecipeError("model", "is missing")
    sizes = {*counted_as.values(), counted}
    remedy = "estimate='pixels' assumes FLOPs proportional to pixels"
    model = counted_flops(probe, sizes, own.get("positive_rois"), remedy, report)

    def flops(height: int, width: int, images: int) -> float:
        return images * model.per_image[counted_as[height, width]]

    paid = batch_size * model.per_image[counted]
    return _Costs(flops, paid, size, counted, "training FLOPs", model, None)


# --------------------------------------------------------------------------- search


def _search(
    probe: Any, schedule: GrowingSizes, costs: _Costs, budget: float, fixed: bool
) -> BudgetChoice:
    base, batch_size = schedule.base_size, schedule.batch_size
    by_images = not counts_iterations(probe)
    unit = batch_size if by_images else 1
    own = CostRates(costs.own / unit, batch_size / unit, 1 / unit)
    found: List[BudgetChoice] = []
    least, smallest = float("inf"), base
    for sizes, start_sizes in size_sets(schedule.sizes, base, fixed):
        tried = schedule if fixed else size_schedule(probe, sizes=list(sizes))
        choice, reached = solve_growth(
            tried, start_sizes, budget, costs.iteration, own, by_images
        )
        if choice is not None:
            found.append(choice)
        if reached < least:
            least, smallest = reached, sizes[0]
    if not found:
        if smallest == base:
            raise ValueError(
                f"budget={budget:g} cannot be reached: there is no size below the base "
                f"size, {size_text(base)}; set sizes=[...]"
            )
        raise ValueError(
            f"budget={budget:g} cannot be reached: sizes down to "
            f"{size_text(smallest)}, and {size_text(base)} in the last tenth of the "
            f"training, cost at least {least:.3f} of the config's own {costs.what}; "
            "set smaller sizes=[...]"
        )
    return best_choice(found)


def _chosen(choice: BudgetChoice, base: Size) -> Dict[str, Any]:
    return dict(
        sizes=[short_size(size) for size in choice.sizes],
        start_sizes=[short_size(size) for size in choice.start_sizes],
        end_sizes=[short_size(base)],
        schedule="linear",
        begin=round(choice.begin, 4),
        end=round(choice.end, 4),
        by_epoch=False,
    )


def _as_planned(
    config: Any,
    base: Size,
    choice: BudgetChoice,
    budget: float,
    options: Mapping[str, Any],
    costs: _Costs,
    own: Mapping[str, Any],
) -> Tuple[BudgetChoice, str]:
    """Refine a choice with the plan of the whole training, if that is known."""
    world_size, num_samples = own.get("world_size") or 1, own.get("num_samples")

    def planned(config: Any, *sizes: Size) -> TrainingCost:
        plan = config_plan(copy.deepcopy(config), num_samples, world_size, *sizes)
        return training_cost(plan, costs.model, costs.seconds)

    try:
        baseline = planned(config, costs.own_size, costs.own_counted)
    except (KeyError, ValueError):
        return choice, "for a training of many samples"
    key = "seconds" if costs.what == "time" else "train_flops"
    tried: List[BudgetChoice] = []
    for _ in range(_CORRECTIONS):
        # The model was checked before the search.
        changes = {**_chosen(choice, base), "check_model": False}
        converted = vbs_cur_recipe(config, {**options, **changes})
        ratios = cost_ratios(planned(converted), baseline)
        cost, updates = ratios[key], ratios["iterations"]
        assert cost is not None and updates is not None
        tried.append(choice._replace(cost=cost, updates=updates))
        if abs(cost - budget) <= _CLOSE or not 0 < cost < 1:
            break
        # Step as if the cost were linear, as in the search. The plan consists of whole
        # batches and epochs, so it is only nearly so. The growth begins at 0 or ends at
        # LATEST_END; either way, it saves about in proportion to the sum of the two.
        total = (choice.begin + choice.end) * (1 - budget) / (1 - cost)
        begin = min(max(total - LATEST_END, 0.0), LATEST_END)
        choice = choice._replace(begin=begin, end=min(total, LATEST_END))
    best = min(tried, key=lambda each: abs(each.cost - budget))
    return best, "by the plan of the training"


def _share_of_single_size(choice: BudgetChoice, base: Size) -> float:
    """Return the part of the training in which a single size is drawn."""
    curriculum = ResolutionCurriculum(
        "linear", list(choice.start_sizes), choice.begin, choice.end
    )
    drawn = [
        grown_sizes(choice.sizes, choice.start_sizes, curriculum.growth(part), [base])
        for part in ((i + 0.5) / _PARTS for i in range(_PARTS))
    ]
    return sum(len(sizes) == 1 for sizes in drawn) / _PARTS


def _report_choice(
    choice: BudgetChoice,
    base: Size,
    budget: float,
    costs: _Costs,
    source: str,
    report: Report,
) -> None:
    drawn = ", ".join(map(size_text, choice.start_sizes))
    report(
        f"budget={budget:g}: sizes {', '.join(map(size_text, choice.sizes))}; the "
        f"training draws from {drawn} at first, the sizes grow from {choice.begin:.1%} "
        f"to {choice.end:.1%} of it, and then it draws only {size_text(base)}"
    )
    single = _share_of_single_size(choice, base)
    if single > 0.25:
        report(
            f"note: in {single:.0%} of the training a single size is drawn; "
            "sizes=[...] sets others"
        )
    report(
        f"predicted cost: {choice.cost:.3f} of the config's own {costs.what}, with "
        f"{choice.updates:.3f} of its iterations ({source})"
    )
    if abs(choice.cost - budget) > 0.02:
        report(
            f"note: the cost differs from the budget by {choice.cost - budget:+.3f}; "
            "with few batches per epoch it cannot be closer"
        )
    if costs.model is not None:
        line = (
            f"an iteration of the original config has {si_text(costs.own, 'FLOPs')} "
            f"per rank, counted on {costs.model.counted_on}"
        )
        if costs.model.rois is not None:
            line += f", with {costs.model.rois[1]} positive RoIs per image"
        report(line)
