"""Gradient clipping within a range of iterations."""

from __future__ import annotations

from typing import Any, Dict, Optional

from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from ..agvm.clip_grad_range import explain_without_effect
from ..utils.main_process_warning import warn_on_main_process
from ..utils.validation import parse_int

__all__ = ["ClipGradRangeHook"]


@HOOKS.register_module()
class ClipGradRangeHook(Hook):
    """Clips gradients from iteration ``begin`` up to ``end``, and not outside.

    How they are clipped is the optimizer wrapper's ``clip_grad``. AGVM's recipes clip
    around the end of the warm-up alone.

    Args:
        begin (int): First iteration with clipping, counted from 0 over the whole
            training. Defaults to 0.
        end (int, optional): First iteration without it again. Defaults to None: to
            the end of the training.

    Raises:
        ValueError: ``begin`` or ``end`` is no iteration, ``begin`` lies after ``end``,
            or the optimizer wrapper has no ``clip_grad`` (when the training starts).
    """

    priority = "NORMAL"

    def __init__(self, begin: int = 0, end: Optional[int] = None) -> None:
        for name, value in (("begin", begin), ("end", end)):
            if value is None and name == "end":
                continue
            parse_int(value, f"ClipGradRangeHook: {name}", minimum=0)
        if end is not None and begin > end:
            raise ValueError(
                f"ClipGradRangeHook: begin={begin} lies after end={end}. Swap them."
            )
        self.begin = begin
        self.end = end
        self._clip_grad: Dict[str, Any] = {}

    def before_train(self, runner: Any) -> None:
        """Take note of the wrapper's own clipping; warn of a range without effect."""
        if not getattr(runner.optim_wrapper, "clip_grad_kwargs", None):
            raise ValueError(
                "ClipGradRangeHook needs the arguments for clipping. Set "
                "optim_wrapper.clip_grad, for example dict(max_norm=1.0)."
            )
        self._clip_grad = runner.optim_wrapper.clip_grad_kwargs
        text = explain_without_effect(
            self.begin, self.end, runner.iter, runner.max_iters
        )
        if text is not None:
            warn_on_main_process(text)

    def before_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None
    ) -> None:
        """Switches the clipping on or off for one iteration."""
        inside = runner.iter >= self.begin and (
            self.end is None or runner.iter < self.end
        )
        runner.optim_wrapper.clip_grad_kwargs = self._clip_grad if inside else None

    def after_train(self, runner: Any) -> None:
        """Leaves the wrapper as it was."""
        runner.optim_wrapper.clip_grad_kwargs = self._clip_grad
