"""Runners, and what the errors of a run are: bad input, or a fault."""

from __future__ import annotations

import traceback
from contextlib import contextmanager
from typing import Any, Iterator, List

from mmengine.config import Config
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from mmengine.runner.base_loop import BaseLoop
from torch.utils.data import RandomSampler, SequentialSampler

from ..checkpoints.find_checkpoint import unreadable_reason
from ..hooks.first_batch_hook import FirstBatchHook
from ..multi_scale.path_in_errors import put_paths_in_errors
from .errors import RunError, UserError, debugging, one_line, setting_up
from .explain_fault import explain_fault


def build_runner(config: Config) -> Runner:
    """Return the config's runner: its ``runner_type``, or MMEngine's."""
    if "runner_type" in config:
        return RUNNERS.build(config)
    return Runner.from_cfg(config)


class _RunNotes(Hook):
    """Note how far a run has come, and let errors of its data name the file."""

    def __init__(self) -> None:
        self.begun = self.training = False

    def before_run(self, runner: Runner) -> None:
        _check_samplers(runner)
        for loop in _loops(runner):
            dataset = getattr(getattr(loop, "dataloader", None), "dataset", None)
            if dataset is not None:
                put_paths_in_errors(dataset)

    def before_train_iter(self, *args: Any, **kwargs: Any) -> None:
        self.begun = self.training = True

    def before_val_iter(self, *args: Any, **kwargs: Any) -> None:
        self.begun = True

    before_test_iter = before_val_iter


def check_first_batch(runner: Runner) -> None:
    """Let a training make its first batch before it starts."""
    runner.register_hook(FirstBatchHook())


@contextmanager
def run_started(runner: Runner) -> Iterator[None]:
    """Show errors before the first iteration of a run as the user's input.

    Datasets, samplers, hooks and optimizers are built and checked only inside
    ``runner.train()``. What fails there is shown in one line. What fails later ends
    with exit code 1: a fault from outside (a full disk, a killed worker, a lost rank)
    with one line, a sample that fails to load with one below its traceback, and
    everything else with its traceback.
    """
    note = _RunNotes()
    runner.register_hook(note)
    try:
        yield
    except Exception as error:
        if debugging():
            raise
        fault = explain_fault(error)
        if fault is not None and (note.begun or fault.outside):
            text = fault.text
            if note.training:
                text += "; then resume from the last checkpoint with --resume"
            if fault.outside:
                raise RunError(text) from error
            traceback.print_exc()
            raise RunError(text) from None
        if note.begun:
            raise
        load_from = runner.cfg.get("load_from")
        if load_from:
            raise_if_unreadable(str(load_from), error)
        raise UserError(one_line(error)) from error
    end_workers(runner)


def end_workers(runner: Runner) -> None:
    """Delete a runner's data loaders, which ends their workers.

    Left to the garbage collector, torch waits five seconds for each worker.
    """
    for loop in _loops(runner):
        for name in ("dataloader_iterator", "dataloader"):
            vars(loop).pop(name, None)


def _check_samplers(runner: Runner) -> None:
    """Refuse an evaluation in which each of several ranks has all images.

    MMEngine would count the first images several times, and the last ones not at all.
    """
    if get_world_size() == 1:
        return
    for kind in ("val", "test"):
        loader = getattr(getattr(runner, f"_{kind}_loop", None), "dataloader", None)
        batches = getattr(loader, "batch_sampler", None)
        sampler = getattr(loader if batches is None else batches, "sampler", None)
        # What torch takes where the config has none.
        if type(sampler) in (SequentialSampler, RandomSampler):
            raise UserError(
                f"{kind}_dataloader has no sampler: every rank would evaluate all "
                "images; add sampler=dict(type='DefaultSampler', shuffle=False)"
            )


def _loops(runner: Runner) -> List[BaseLoop]:
    # Not the properties, which would build the loops.
    loops = (
        getattr(runner, f"_{kind}_loop", None) for kind in ("train", "val", "test")
    )
    return [loop for loop in loops if isinstance(loop, BaseLoop)]


@contextmanager
def loading_checkpoint(name: str) -> Iterator[None]:
    """Show errors while a checkpoint is loaded in one line that names it."""
    with setting_up(f"checkpoint {name} does not load"):
        try:
            yield
        except Exception as error:
            raise_if_unreadable(name, error)
            raise


def raise_if_unreadable(name: str, error: Exception) -> None:
    """Say what is wrong with a checkpoint's file: torch and pickle do not name it.

    Raises:
        UserError: The file cannot be read. Not while debugging.
    """
    if debugging() or "://" in name:
        return
    reason = unreadable_reason(name)
    if reason is not None:
        raise UserError(f"checkpoint {name} does not load: {reason}") from error
