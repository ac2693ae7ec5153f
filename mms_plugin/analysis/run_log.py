"""Read a training's work dir: MMEngine's local log and its dumped config."""

from __future__ import annotations

import contextlib
import io
import json
import math
import re
from bisect import bisect_right
from dataclasses import dataclass, field
from pathlib import Path
from typing import (
    Any,
    Dict,
    Iterable,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Tuple,
)

from mmengine.config import Config

from ..multi_scale.size_log import SIZES_FILE
from ..utils.config_types import counts_iterations
from ..utils.error_text import first_line
from .epoch_plan import EpochPlan

__all__ = ["RunLog", "Validation", "read_run"]

_SCALARS = Path("vis_data") / "scalars.json"
# What stands beside the metrics in a record.
_NOT_METRICS = ("step", "time", "data_time", "memory", "epoch", "iter")
_DRAWN = ("train/height", "train/width", "train/batch_size")
# How a resumed training's iterations were counted before; see TrainingLength.
_RESUMED_AT = "train/resumed_at"

Points = List[Tuple[float, float]]


class Validation(NamedTuple):
    """One validation of a training.

    Attributes:
        epoch: Epochs done before it; ``None`` in a training by iterations.
        iteration: Iterations done before it.
        values: By the metric's name.
    """

    epoch: Optional[float]
    iteration: int
    values: Dict[str, float]


@dataclass
class RunLog:
    """A training as its log tells it, all its starts joined.

    Attributes:
        work_dir: Where it was read.
        starts: Starts that it is joined from; more than one where it was resumed.
        by_epoch: Whether it counts in epochs.
        iterations: Done so far.
        records: Those of the training, by ascending iteration (``'step'``).
        drawn: ``(height, width, batch_size)`` on one rank by iteration, from 1, as
            ``MultiScaleSamplerHook`` and ``ResolutionCurriculumHook`` log them; empty
            without either.
        validations: By ascending iteration.
        world_size: Ranks of the last start; ``None`` where the text log does not say.
        ranks: Ranks by the first iteration that ran on them.
        shift: Number to add to the iteration numbers of the last start. A training that
            is resumed with another batch size counts those before in the new size.
        config: The dumped config; ``None`` where there is none that loads.
        config_error: Why there is none.
        unreadable_lines: Lines of the log left out, as the last one of a training
            that is still writing.
    """

    work_dir: Path
    starts: int = 0
    by_epoch: bool = True
    iterations: int = 0
    records: List[Dict[str, Any]] = field(default_factory=list)
    drawn: Dict[int, Tuple[int, int, int]] = field(default_factory=dict)
    validations: List[Validation] = field(default_factory=list)
    world_size: Optional[int] = None
    ranks: Dict[int, int] = field(default_factory=dict)
    shift: int = 0
    config: Optional[Config] = None
    config_error: str = ""
    unreadable_lines: int = 0

    @property
    def epochs(self) -> Optional[int]:
        """Epochs begun so far; ``None`` in a training by iterations."""
        begun = [int(r["epoch"]) for r in self.records if "epoch" in r]
        done = [math.ceil(v.epoch) for v in self.validations if v.epoch is not None]
        return max([*begun, *done], default=None) if self.by_epoch else None

    @property
    def missing(self) -> int:
        """Iterations before the first one whose size is known.

        Not 0 where the training was resumed from another work dir, or an earlier
        start's folder was deleted.
        """
        return min(self.drawn, default=1) - 1

    @property
    def plan(self) -> EpochPlan:
        """``(height, width, batch_size)`` of every iteration after the missing ones.

        Missing lines in between repeat the previous value. Empty where nothing was
        drawn.
        """
        if not self.drawn:
            return []
        plan: EpochPlan = []
        first, stop = min(self.drawn), max(self.iterations, max(self.drawn)) + 1
        last = self.drawn[first]
        for iteration in range(first, stop):
            last = self.drawn.get(iteration, last)
            plan.append(last)
        return plan

    @property
    def world_sizes(self) -> List[int]:
        """Ranks of every iteration, from the first; 1 where they are not known."""
        firsts = sorted(self.ranks)
        if not firsts:
            return [1] * self.iterations
        return [
            self.ranks[firsts[max(bisect_right(firsts, iteration) - 1, 0)]]
            for iteration in range(1, self.iterations + 1)
        ]

    def series(self, name: str) -> Points:
        """Return ``(iteration, value)`` of a training record's entry."""
        return [
            (record["step"], float(record[name]))
            for record in self.records
            if _is_number(record.get(name))
        ]

    @property
    def learning_rates(self) -> List[str]:
        """``'lr'``, or one a group of optimizers, such as ``'generator.lr'``."""
        return [
            name
            for name in self._names()
            if name.rpartition(".")[2] == "lr" and "base_lr" not in name
        ]

    @property
    def losses(self) -> List[str]:
        """Names with ``loss`` in them, the total first."""
        names = [name for name in self._names() if "loss" in name]
        return sorted(names, key=lambda name: name != "loss")

    @property
    def metrics(self) -> List[str]:
        """Names of what was validated, in the order of the log."""
        names = (name for one in self.validations for name in one.values)
        return list(dict.fromkeys(names))

    def _names(self) -> List[str]:
        return list(dict.fromkeys(name for record in self.records for name in record))


def read_run(work_dir: Any) -> RunLog:
    """Read what a training of any MMEngine library logged.

    Each start of a training has a folder of its own, in which MMEngine's local backend
    (``LocalVisBackend``, on by default) writes ``vis_data/scalars.json``, and the hooks
    of the sampler ``vis_data/sizes.json``. A resumed training counts from its
    checkpoint: what an earlier start did beyond that is left out. A start that did not
    resume leaves out all before it.

    Args:
        work_dir: Folder of the training, or of one of its starts.

    Raises:
        ValueError: There is no such folder, no such log in it, or nothing in that.
    """
    folder = Path(work_dir)
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise ValueError(f"work dir {folder} {what}")
    starts = [each for each in [folder, *sorted(folder.glob("*"))] if _has_log(each)]
    files = [start / _SCALARS for start in starts if (start / _SCALARS).is_file()]
    if not files:
        raise ValueError(f"work dir {folder} {_why_no_log(folder)}")
    log = RunLog(folder)
    for start in starts:
        _join(log, start)
    if not log.starts:
        raise ValueError(
            f"work dir {folder} has no record of a training yet: {files[-1]} is "
            + ("empty" if not files[-1].stat().st_size else "without one")
        )
    if log.config is None:
        _read_config(log, sorted(folder.glob("*.py"), key=lambda p: p.stat().st_mtime))
    return log


def _why_no_log(folder: Path) -> str:
    if not any(folder.iterdir()):
        return "is empty"
    if any(folder.glob("**/events.out.tfevents.*")):
        return (
            "has only TensorBoard's log: add dict(type='LocalVisBackend') to the "
            "config's vis_backends, which writes vis_data/scalars.json"
        )
    return "has no */vis_data/scalars.json, the log of MMEngine's LocalVisBackend"


def _has_log(start: Path) -> bool:
    return (start / _SCALARS).is_file() or (start / SIZES_FILE).is_file()


def _join(log: RunLog, start: Path) -> None:
    """Add a start to what was before it."""
    records, broken = _read_lines(start / _SCALARS)
    drawn, broken_sizes = _read_lines(start / SIZES_FILE)
    log.unreadable_lines += broken + broken_sizes
    if not drawn:  # of versions that wrote both to one file
        drawn = [r for r in records if _DRAWN[0] in r or _RESUMED_AT in r]
    steps = [r["step"] for r in [*records, *drawn] if _is_training(r)]
    if not steps:  # only a validation
        return
    config, error = log.config, log.config_error
    log.config = None
    _read_config(log, [start / _SCALARS.parent / "config.py"])
    resumed = True
    if log.config is not None:
        resumed = bool(log.config.get("resume", False))
    elif config is not None:
        log.config, log.config_error = config, error
    first = 0
    log.shift = log.shift if resumed and log.starts else 0
    if resumed and log.starts:
        for record in drawn:
            if _RESUMED_AT in record:
                log.shift += int(record[_RESUMED_AT]) - record["step"]
        first = min(steps) + log.shift
    if log.shift:
        records, drawn = _shifted(records, log.shift), _shifted(drawn, log.shift)
        steps = [step + log.shift for step in steps]
    log.records = [record for record in log.records if record["step"] < first]
    log.drawn = {step: size for step, size in log.drawn.items() if step < first}
    log.validations = [one for one in log.validations if one.iteration < first]
    log.starts = log.starts + 1 if log.records or log.drawn else 1
    text = _text_log(start)
    log.world_size = _world_size(text) or log.world_size
    log.ranks = {step: ranks for step, ranks in log.ranks.items() if step < first}
    if log.world_size is not None:
        log.ranks[max(first, 1)] = log.world_size

    loop = (log.config or {}).get("train_cfg") or {}
    log.by_epoch = _counts_epochs(loop, [*records, *drawn])
    hooks = (log.config or {}).get("default_hooks") or {}
    logger = hooks.get("logger") or {}
    for record in drawn:
        if all(_is_finite(record.get(name)) for name in _DRAWN):
            height, width, batch_size = (int(record[name]) for name in _DRAWN)
            log.drawn[record["step"]] = (height, width, batch_size)
    log.records += [record for record in records if "iter" in record]
    log.records = _later_wins(log.records)
    ends = _epoch_ends(records, text)
    ends.update({r["epoch"]: r["step"] for r in drawn if "epoch" in r})
    log.iterations = max([*steps, *_saved_iterations(text, log, ends)])
    log.validations += _validations(records, log, loop, logger, ends)
    log.validations.sort(key=lambda one: one.iteration)
    if log.validations:
        log.iterations = max(log.iterations, log.validations[-1].iteration)


def _read_lines(file: Path) -> Tuple[List[Dict[str, Any]], int]:
    records: List[Dict[str, Any]] = []
    broken = 0
    if not file.is_file():
        return records, broken
    with file.open(encoding="utf-8", errors="replace") as stream:
        for line in stream:
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                record = None
            if isinstance(record, dict) and _is_finite(record.get("step")):
                record["step"] = int(record["step"])
                if not _is_finite(record.get("epoch")):
                    record.pop("epoch", None)
                records.append(record)
            else:
                broken += 1
    return records, broken


def _shifted(records: List[Dict[str, Any]], by: int) -> List[Dict[str, Any]]:
    return [
        {**record, "step": record["step"] + by} if _is_training(record) else record
        for record in records
    ]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_finite(value: Any) -> bool:
    return _is_number(value) and math.isfinite(value)


def _is_training(record: Mapping[str, Any]) -> bool:
    return "iter" in record or _DRAWN[0] in record


def _is_validation(record: Mapping[str, Any]) -> bool:
    # The timer tells them from what a user's hook may log.
    return not _is_training(record) and ("time" in record or "data_time" in record)


def _later_wins(records: Iterable[Dict[str, Any]]) -> List[Dict[str, Any]]:
    by_step = {record["step"]: record for record in records}
    return [by_step[step] for step in sorted(by_step)]


def _counts_epochs(
    loop: Mapping[str, Any], records: Iterable[Mapping[str, Any]]
) -> bool:
    if loop.get("type") is not None or "by_epoch" in loop:
        return not counts_iterations(dict(train_cfg=loop))
    return any("epoch" in record for record in records)


def _epoch_ends(records: Iterable[Mapping[str, Any]], text: str) -> Dict[int, int]:
    """Return the last iteration of each epoch of one start.

    MMEngine's logger passes over the last iterations of an epoch. How many they are
    stands in the text log: 6 after ``Epoch(train) [2][10/16]``.
    """
    place = re.compile(r"Epoch\(train\)\s*\[\s*(\d+)\]\[\s*(\d+)/(\d+)\]")
    after = {int(epoch): int(n) - int(i) for epoch, i, n in place.findall(text)}
    last = {r["epoch"]: r["step"] for r in records if "iter" in r and "epoch" in r}
    return {epoch: last[epoch] + after[epoch] for epoch in last if epoch in after}


def _saved_iterations(text: str, log: RunLog, ends: Mapping[int, int]) -> List[int]:
    """Return after which iterations one start saved checkpoints, by its text log."""
    saved = re.findall(r"Saving checkpoint at (\d+) (epoch|iteration)s", text)
    iterations = [int(n) + log.shift for n, unit in saved if unit == "iteration"]
    epochs = [int(n) for n, unit in saved if unit == "epoch" and log.by_epoch]
    return iterations + [ends[epoch] for epoch in epochs if epoch in ends]


def _validations(
    records: List[Dict[str, Any]],
    log: RunLog,
    loop: Mapping[str, Any],
    logger: Mapping[str, Any],
    ends: Mapping[int, int],
) -> Iterator[Validation]:
    """Read the curves of one start.

    MMEngine notes the epoch, or 0 in a training by iterations.

    Args:
        records: Of the start, in their order.
        log: What is known of the training so far.
        loop: ``train_cfg``.
        logger: Config of ``LoggerHook``.
        ends: The last iteration by epoch, where it is known.
    """
    among = any(_DRAWN[0] in record for record in records)  # every iteration is there
    notes_iteration = not logger.get("log_metric_by_epoch", True)
    length = _epoch_length(log, int(logger.get("interval", 10) or 10))
    interval = loop.get("val_interval", 1000) if loop else 1
    before, epoch = 0, 0
    validated = max((one.iteration for one in log.validations), default=0)
    for record in records:
        if _is_training(record):
            before = record["step"]
            epoch = int(record.get("epoch", epoch))
        if not _is_validation(record):
            continue
        step, done = record["step"], before
        if notes_iteration:
            done = step + log.shift
        elif log.by_epoch and step in ends:
            done = ends[step]
        elif not among and log.by_epoch and length is not None:
            # The log may pass over an epoch's last iterations.
            done = max(done, round(step * length))
        elif not among and not log.by_epoch and isinstance(interval, int):
            # The log may pass over the iterations since the last validation.
            done = max(done, validated + 1)
            done = _next_validation(loop, done) if loop else done
        validated = done
        at: Optional[float] = None
        if log.by_epoch:
            at = float(epoch if notes_iteration else step)
        values = {
            name: float(value)
            for name, value in record.items()
            if name not in _NOT_METRICS and _is_number(value)
        }
        yield Validation(at, done, values)


def _next_validation(loop: Mapping[str, Any], iteration: int) -> int:
    """Return the first iteration, from this one on, that a validation follows.

    Args:
        loop: Config of an ``IterBasedTrainLoop``, whose rule it is.
        iteration: Number of iterations done.
    """
    most = loop.get("max_iters")
    intervals = [(0, loop.get("val_interval", 1000))]
    intervals += loop.get("dynamic_intervals") or []
    starts = [start for start, _ in intervals]
    iteration = max(iteration, loop.get("val_begin", 1))
    while not isinstance(most, int) or iteration < most:
        interval = intervals[bisect_right(starts, iteration + 1) - 1][1]
        if iteration % max(1, interval) == 0:
            return iteration
        iteration += 1
    return most


def _epoch_length(log: RunLog, interval: int) -> Optional[float]:
    """Return the iterations of an epoch, all being equal, from the log."""
    numbered = [(r["epoch"], r["step"]) for r in log.records if "epoch" in r]
    if not numbered:
        return None
    # (epoch - 1) * length < step <= epoch * length
    least = max(math.ceil(step / epoch) for epoch, step in numbered)
    firsts: Dict[int, int] = {}
    for epoch, step in numbered:
        firsts.setdefault(epoch, step)
    for epoch, step in sorted(firsts.items(), reverse=True):
        length, rest = divmod(step - interval, max(1, epoch - 1))
        if epoch > 1 and not rest and length >= least:
            return length
    return least


def _text_log(start: Path) -> str:
    files = sorted(start.glob("*.log"))
    return "".join(file.read_text("utf-8", errors="replace") for file in files)


def _world_size(text: str) -> Optional[int]:
    found = re.search(r"GPU number: (\d+)", text)
    return int(found[1]) if found else None


def _read_config(log: RunLog, candidates: List[Path]) -> None:
    """Set ``log.config`` to the last candidate that is there and loads."""
    if not log.config_error:
        log.config_error = "no config was dumped"
    for path in reversed(candidates):
        if not path.is_file():
            continue
        try:
            # What it imports may print.
            with contextlib.redirect_stdout(io.StringIO()):
                log.config = Config.fromfile(str(path))
        except Exception as error:  # whatever a config's imports raise
            log.config_error = f"{path} does not load: {first_line(error)}"
            continue
        log.config_error = ""
        return
