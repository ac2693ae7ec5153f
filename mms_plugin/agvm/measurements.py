"""Count the measurements of a training, and how far they can move a multiplier.

Pure functions of the arguments and of the training's length.
"""

from __future__ import annotations

import math
from typing import List, Mapping, Optional, Sequence, Tuple

from .agvm import QUIET_MEASUREMENTS, QUIET_VARIANCE
from .agvm_config import FITTED, AGVMConfig

__all__ = [
    "ENOUGH_SHARE",
    "explain_failed_measurement",
    "explain_quiet_module",
    "explain_without_effect",
    "first_measured_iterations",
    "moved_share",
    "needed_measurements",
]


def moved_share(momentum: float, measurements: int) -> float:
    """Return the share of the way from 1 to a fixed target that a multiplier moves.

    Args:
        momentum: Weight of the old multiplier in the moving average, in [0, 1).
        measurements: Number of measurements, at least 0.

    Returns:
        float: From 0 (it stays at 1) to 1 (it is at the target).
    """
    return 1.0 - momentum**measurements


ENOUGH_SHARE = moved_share(0.97, 20)
"""Share of the way below which the multipliers hardly leave 1: about 46 %.

That of twenty measurements with the default momentum.
"""


def needed_measurements(momentum: float) -> int:
    """Return the smallest number of measurements that moves a multiplier far enough.

    Far enough is :data:`ENOUGH_SHARE` of the way from 1 to the target.

    Args:
        momentum: Weight of the old multiplier in the moving average, in [0, 1).
    """
    if momentum <= 0.0:
        return 1
    count = max(1, math.ceil(math.log(1.0 - ENOUGH_SHARE) / math.log(momentum) - 1e-9))
    # Logarithms round: step to the exact boundary.
    while moved_share(momentum, count) < ENOUGH_SHARE:
        count += 1
    return count


def first_measured_iterations(
    config: AGVMConfig, accumulative_counts: int = 1
) -> Optional[Tuple[int, int]]:
    """Return the iterations of the first measurement in one process.

    Args:
        config: Arguments of AGVM.
        accumulative_counts: Iterations per update. Defaults to 1: an update is
            compared with the one before.

    Returns:
        tuple, optional: The first iteration, counted over the training, and the number
        of iterations. None if nothing is measured.
    """
    begin = max(config.start_iter // accumulative_counts, 1)
    updates = config.measured_updates(
        begin, begin + config.interval + 2, accumulative_counts
    )
    if not updates:
        return None
    if accumulative_counts > 1:
        return updates[0] * accumulative_counts, accumulative_counts
    return updates[0] - 1, 2


def explain_without_effect(
    config: AGVMConfig,
    done: int,
    total: int,
    accumulative_counts: int = 1,
    measured_before: int = 0,
    compares_updates: bool = False,
) -> Optional[str]:
    """Explain why AGVM has no effect, or too little, in a training of this length.

    Args:
        config: Arguments of AGVM.
        done: Iterations that are done; above 0 in a resumed training.
        total: Iterations of the whole training.
        accumulative_counts: Iterations per update. Defaults to 1.
        measured_before: Measurements that the resumed training has made.
            Defaults to 0.
        compares_updates: Whether an update is compared with the one before, so that
            the first update of a training is never measured. Defaults to False.

    Returns:
        str, optional: The values, how far the multipliers can move, and what to set.
        None if enough is measured, or if no iteration is left.
    """
    if done >= total:
        return None
    begin = max(done // accumulative_counts, int(compares_updates))
    end = -(-total // accumulative_counts)
    count = measured_before + len(
        config.measured_updates(begin, end, accumulative_counts)
    )
    if _is_enough(config, count):
        return None
    share = moved_share(config.momentum, count)
    length = f"{total} iterations"
    if accumulative_counts > 1:
        length += (
            f" ({end} updates of the weights with "
            f"accumulative_counts={accumulative_counts})"
        )
    if done:
        length += f", of which {done} are done"
    values = f"start_iter={config.start_iter}, interval={config.interval}"
    if config.stop_iter is not None:
        values += f", stop_iter={config.stop_iter}"
    values += f", momentum={config.momentum}"
    remedies = _remedies(config, begin, end, accumulative_counts, measured_before)
    hint = ""
    fitted = config.fitted(FITTED, end, accumulative_counts)
    fitted_updates = fitted.measured_updates(begin, end, accumulative_counts)
    if _is_enough(fitted, measured_before + len(fitted_updates)):
        hint = f" Or set {', '.join(FITTED)} to None to fit them to the training."
    if count:
        effect = (
            f"AGVM measures only {_times(count)} in this training, so that a "
            f"multiplier moves at most {100 * share:.0f} % of the way from 1 to its "
            "target (1 - momentum ** measurements)"
        )
    else:
        effect = "AGVM never measures in this training, so that all multipliers stay 1"
    return (
        f"{effect}: agvm=dict({values}), but the training has {length}. Set "
        f"{' or '.join(remedies)}.{hint}"
    )


def _is_enough(config: AGVMConfig, measurements: int) -> bool:
    """Return whether a number of measurements has enough effect."""
    share = moved_share(config.momentum, measurements)
    return measurements > 0 and (not config.modulate or share >= ENOUGH_SHARE)


def explain_failed_measurement(
    iteration: int, products: Mapping[str, Sequence[float]]
) -> str:
    """Explain why the gradient of the anchor allowed no measurement.

    Args:
        iteration: Index of the iteration.
        products: Inner products of the anchor's modules over the two halves.
    """
    kind, remedy = "zero", "Check that agvm.anchor names a module that trains."
    if not all(math.isfinite(value) for row in products.values() for value in row):
        kind = "not finite"
        remedy = (
            "The update of the weights is not finite either: check the loss, lower the "
            "learning rate, or train without mixed precision."
        )
    return (
        f"AGVM: no measurement in iteration {iteration}: the gradient of "
        f"{', '.join(products)} is {kind} in a half of the batch. All multipliers keep "
        f"their values. {remedy} Further measurements that fail are not reported."
    )


def explain_quiet_module(
    name: str, iteration: int, has_gradient: bool, config: AGVMConfig
) -> str:
    """Explain that a module has become quiet: frozen, dead, or without objects.

    Args:
        name: The module.
        iteration: Index of the iteration of the last measurement.
        has_gradient: Whether the module had a gradient in that iteration.
        config: Arguments of AGVM.
    """
    if has_gradient:
        cause = (
            "all images give the same update direction. A head does so while it only "
            "sees background, and for good when it has died. Its multiplier moves "
            "towards the upper bound of agvm.ratio_range. Check that its loss falls; "
            "if not, use a lower learning rate, a longer warm-up or a later start_iter."
        )
    else:
        cause = (
            "it has no gradient. Its multiplier keeps its value. Check that its "
            "weights are not frozen, and that its loss has samples and a weight above "
            "0."
        )
    return (
        f"AGVM: in iteration {iteration}, the gradient variance of {name} has been "
        f"below {QUIET_VARIANCE:g}, or below 1/{config.ratio_range[1]:g} of the "
        f"anchor's ({config.anchor}; agvm.ratio_range), in the last "
        f"{QUIET_MEASUREMENTS} measurements (start_iter={config.start_iter}, "
        f"interval={config.interval}): {cause} The next warning follows only if it "
        "recovers and this happens again."
    )


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _remedies(
    config: AGVMConfig,
    begin: int,
    end: int,
    accumulative_counts: int,
    measured_before: int,
) -> List[str]:
    """Return the changes of one argument, each of which gives enough measurements."""
    needed = 1
    if config.modulate:
        needed = needed_measurements(config.momentum) - measured_before
    found: List[str] = []
    first = max(-(-config.start_iter // accumulative_counts), begin)
    if config.stop_iter is not None:
        # A later stop, if the training is long enough for it.
        stop = (first + (needed - 1) * config.interval) * accumulative_counts + 1
        if stop <= (end - 1) * accumulative_counts + 1:
            found.append(f"stop_iter to at least {stop}, or to None,")
        end = min(end, -(-config.stop_iter // accumulative_counts))
    latest = end - 1 - (needed - 1) * config.interval
    if begin <= latest < first:
        found.append(f"start_iter to at most {latest * accumulative_counts}")
    widest = (end - 1 - first) // (needed - 1) if needed > 1 else 0
    if 1 <= widest < config.interval:
        found.append(f"interval to at most {widest}")
    if found:
        return found
    if end - begin >= needed:
        start = begin * accumulative_counts
        interval = (end - 1 - begin) // (needed - 1) if needed > 1 else 1
        return [f"start_iter to at most {start} and interval to at most {interval}"]
    return ["optim_wrapper to one without AGVM, or train for more iterations"]
