"""The hook that clips gradients within a range of iterations."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Tuple

from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from ..agvm.clip_grad_range import explain_without_effect
from ..multi_scale.runner_parts import plain_optim_wrappers
from ..utils.main_process_warning import warn_on_main_process
from ..utils.validation import parse_int

__all__ = ["ClipGradRangeHook"]


@HOOKS.register_module()
class ClipGradRangeHook(Hook):
    """Clip gradients only in the iterations from ``begin`` to ``end``.

    The optimizer wrapper's ``clip_grad`` holds the arguments of the clipping. AGVM's
    recipes clip only around the end of the warm-up. The log has ``grad_norm`` within
    the range only, where MMEngine measures it.

    Args:
        begin (int): First iteration with clipping, counted from 0 over the whole
            training. Defaults to 0.
        end (int, optional): First iteration after that without clipping. Defaults to
            None: clip to the end of the training.

    Raises:
        ValueError: ``begin`` or ``end`` is not valid, or (when the training starts)
            the optimizer wrapper has no ``clip_grad``.
    """

    priority = "NORMAL"

    def __init__(self, begin: int = 0, end: Optional[int] = None) -> None:
        parse_int(begin, "ClipGradRangeHook: begin", minimum=0)
        if end is not None:
            parse_int(end, "ClipGradRangeHook: end", minimum=0)
        if end is not None and begin > end:
            raise ValueError(
                f"ClipGradRangeHook: begin={begin} lies after end={end}. Swap them."
            )
        self.begin = begin
        self.end = end
        self._clipped: List[Tuple[Any, Dict[str, Any]]] = []

    def before_train(self, runner: Any) -> None:
        """Read the wrapper's clipping arguments; warn of a range without effect."""
        self._clipped = [
            (wrapper, wrapper.clip_grad_kwargs)
            for wrapper in plain_optim_wrappers(runner.optim_wrapper)
            if getattr(wrapper, "clip_grad_kwargs", None)
        ]
        if not self._clipped:
            raise ValueError(
                "ClipGradRangeHook needs the arguments for clipping. Set "
                "optim_wrapper.clip_grad, for example dict(max_norm=1.0)."
            )
        text = explain_without_effect(
            self.begin, self.end, runner.iter, runner.max_iters
        )
        if text is not None:
            warn_on_main_process(text)

    def before_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None
    ) -> None:
        """Switch the clipping on or off for one iteration."""
        inside = runner.iter >= self.begin and (
            self.end is None or runner.iter < self.end
        )
        for wrapper, arguments in self._clipped:
            wrapper.clip_grad_kwargs = arguments if inside else None
            if not inside:
                # Else the log would repeat the last norm that was measured.
                name = f"train/{getattr(wrapper, 'grad_name', 'grad_norm')}"
                runner.message_hub.log_scalars.pop(name, None)
                # MMEngine has no public way, and warns of a resumed name without value.
                runner.message_hub._resumed_keys.pop(name, None)

    def after_train(self, runner: Any) -> None:
        """Restore the wrapper's clipping."""
        for wrapper, arguments in self._clipped:
            wrapper.clip_grad_kwargs = arguments
