"""Iterations with the optimizer's real work that do not change the weights."""

from __future__ import annotations

from typing import Any, Tuple

from ..multi_scale.runner_parts import plain_optim_wrappers

__all__ = [
    "accumulated_iterations",
    "start_at",
    "stop_learning",
    "update_iterations",
]


def stop_learning(optim_wrapper: Any) -> None:
    """Set all learning rates to 0: the weights stay, at the cost of a real step.

    Args:
        optim_wrapper: An optimizer wrapper, or an ``OptimWrapperDict``.
    """
    for wrapper in plain_optim_wrappers(optim_wrapper):
        for group in wrapper.optimizer.param_groups:
            group["lr"] = 0.0 * group["lr"]
        scaler = getattr(wrapper, "loss_scaler", None)
        if scaler is None:
            continue
        state = scaler.state_dict()
        if "scale" in state:
            # At the usual start of 65,536 the gradients overflow, and no step is made.
            scaler.load_state_dict({**state, "scale": 1.0})


def update_iterations(optim_wrapper: Any) -> Tuple[int, int]:
    """Return the first iteration and the number of those that show an update's peak.

    With accumulated gradients these are the last two of an update: the first of them
    leaves its gradients behind. AGVM tells which iterations it measures in.

    Args:
        optim_wrapper: An optimizer wrapper, or an ``OptimWrapperDict``.
    """
    for wrapper in plain_optim_wrappers(optim_wrapper):
        measuring = getattr(wrapper, "measuring_iterations", None)  # AGVM
        found = None if measuring is None else measuring()
        if found is not None:
            first, count = found
            return int(first), int(count)
    accumulated = accumulated_iterations(optim_wrapper)
    count = min(accumulated, 2)
    return accumulated - count, count


def accumulated_iterations(optim_wrapper: Any) -> int:
    """Return the iterations of an update, whose gradients are accumulated."""
    wrappers = plain_optim_wrappers(optim_wrapper)
    return max(getattr(each, "_accumulative_counts", 1) for each in wrappers)


def start_at(optim_wrapper: Any, iteration: int) -> None:
    """Let an optimizer wrapper count its next iteration as the given one.

    Args:
        optim_wrapper: An optimizer wrapper, or an ``OptimWrapperDict``.
        iteration: Iterations that count as done.
    """
    for wrapper in plain_optim_wrappers(optim_wrapper):
        # Not by initialize_count_status, which warns of such a start.
        wrapper._inner_count = iteration
        wrapper._max_counts = -1
