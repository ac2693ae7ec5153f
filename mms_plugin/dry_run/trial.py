"""One kind of batch of a dry run: its iterations and what they take."""

from __future__ import annotations

import time
from typing import Any, Callable, Iterator, Mapping, Optional

import torch
from mmengine.dist import get_rank
from mmengine.runner import Runner

from ..multi_scale.dry_run_plan import NO_ROOM, DryRunPoint, too_large
from ..utils.device import device_module, free_cache, is_out_of_memory, run_measured
from ..utils.error_text import first_line
from .trial_batches import base_batch_size
from .trial_updates import accumulated_iterations, start_at, update_iterations

__all__ = ["Trial"]


class Trial:
    """Run the iterations of one kind of batch on this rank.

    Nothing is raised before the ranks have told each other: see :meth:`error`.

    Args:
        runner: Of the training.
        point: The kind of batch.

    Attributes:
        failure (str, optional): Why an iteration has failed.
        peak (int, optional): Bytes that the device's allocator held at the peak, where
            it counts them.
    """

    def __init__(self, runner: Runner, point: DryRunPoint) -> None:
        self.failure: Optional[str] = None
        self.peak: Optional[int] = None
        self._runner, self._point = runner, point
        self._device = str(next(runner.model.parameters()).device)
        self._module = device_module(self._device)
        self._cause: Optional[Exception] = None
        self._batch: Any = None
        self._loss_is_finite = True
        self._seconds = 0.0

    def run(self, batches: Iterator[Any], times: int = 1) -> None:
        """Load the next batch and run an update on it.

        Args:
            batches: Of the dry run's data loader.
            times: How often. Defaults to 1.
        """

        def run() -> None:
            self._batch = next(batches)
            for _ in range(times):
                self._run_update()

        self._try(run)

    def run_with_all_gradients(self) -> None:
        """Run one more iteration, in which the ranks exchange gradients.

        ``find_unused_parameters`` notes what is used in any pass until gradients are
        next exchanged, and fails if such a parameter then has none.
        """

        def run() -> None:
            wrapper = self._runner.optim_wrapper
            for param in self._runner.model.parameters():
                if param.requires_grad and param.grad is None:
                    param.grad = torch.zeros_like(param)
            start_at(wrapper, accumulated_iterations(wrapper) - 1)
            self._iterate()

        self._try(run)

    def error(self, failure: str) -> Exception:
        """Return the error for a failure, of this rank or of another one."""
        text = f"Dry run: {failure}"
        if NO_ROOM in failure:
            return ValueError(text)
        error = RuntimeError(text)
        error.__cause__ = self._cause
        return error

    def log(self, number: int, total: int) -> None:
        """Log time and memory of the last iteration.

        Args:
            number: Of this trial, from 1.
            total: Number of trials.
        """
        text = f"Dry run {number}/{total}: {self._point}: {self._seconds:.2f} s"
        if self.peak is not None:
            text += f", {self.peak / 1e9:.2f} GB at the peak"
        self._runner.logger.info(text)
        if not self._loss_is_finite:
            self._runner.logger.warning(
                f"Dry run: the loss of {self._point} is not finite"
            )

    def _try(self, function: Callable[[], None]) -> None:
        try:
            function()
        except Exception as error:
            self.failure = self._describe(error)
            if not is_out_of_memory(error):
                self._cause = error
        if self.failure is not None and self._cause is None:
            # Outside the handler, whose traceback holds the iteration's tensors.
            free_cache(self._module)

    def _run_update(self) -> None:
        """Run the iterations that show an update's peak."""
        wrapper = self._runner.optim_wrapper
        first, count = update_iterations(wrapper)
        start_at(wrapper, first)
        peaks = []
        for _ in range(count):
            self._seconds, peak = run_measured(
                self._iterate, self._module, time.perf_counter
            )
            peaks.append(peak)
        self.peak = max((peak for peak in peaks if peak is not None), default=None)

    def _iterate(self) -> None:
        logged = self._runner.model.train_step(
            self._batch, optim_wrapper=self._runner.optim_wrapper
        )
        loss = logged.get("loss") if isinstance(logged, Mapping) else None
        if isinstance(loss, torch.Tensor):
            self._loss_is_finite &= bool(loss.isfinite().all())

    def _describe(self, error: Exception) -> str:
        text, name = first_line(error), type(error).__name__
        text = text if name in text else f"{name}: {text}"
        # A batch that fails to load has filled the host's memory, not the device's.
        device = "the host" if self._batch is None else self._device
        where = f"{device}, rank {get_rank()}"
        if not is_out_of_memory(error):
            return f"an iteration of {self._point} fails on {where}: {text}"
        batch_size = base_batch_size(self._runner.train_loop.dataloader)
        return too_large(self._point, batch_size, where, text)
