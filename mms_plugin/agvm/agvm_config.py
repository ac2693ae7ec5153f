"""Arguments of AGVM."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from ..utils.validation import is_integer, is_number, parse_int
from .fit_measurements import fit_measurements

__all__ = ["FITTED", "AGVMConfig", "arguments_to_fit"]

FITTED = ("start_iter", "interval", "momentum")
"""Arguments that can be fitted to the length of a training."""

_SINGLE_PROCESS = ("lookback", "consecutive")


@dataclass(frozen=True)
class AGVMConfig:
    """Hold and check the arguments of AGVM.

    In the ``agvm`` dict of an optimizer wrapper, ``interval``, ``momentum`` and
    ``start_iter`` may be None: they are fitted to the number of updates when the
    training begins, see :func:`~.fit_measurements.fit_measurements`. Where nothing
    tells the wrapper that number, as with several optimizers, the defaults hold.

    Args:
        interval: Updates of the weights from one measurement to the next; tau in the
            paper, which uses 5 above a batch size of about 1,000. Defaults to 10.
        momentum: Weight of the old multiplier in the moving average, in [0, 1);
            alpha in the paper. Defaults to 0.97.
        start_iter: Iteration of the first measurement, counted from 0 over the
            training. It should come some time after the warm-up: a start before the
            first losses have come down can diverge. Defaults to 600.
        stop_iter: Iteration from which nothing is measured; the multipliers keep
            their values. Defaults to None: never.
        anchor: Module that the others are compared with. A prefix of several modules
            (``'backbone'`` for ``'backbone.layer1'``, ...) compares with all of them
            as one. Defaults to ``'backbone'``.
        modules: Dotted names of modules. Defaults to None: found from the model, see
            :func:`~.find_modules.find_modules`.
        ratio_range: Bounds of the ratio of two variances, before the square root.
            Defaults to (0.5, 10.0).
        modulate: Whether the multipliers scale the learning rates. False: measure and
            log only. Defaults to True.
        single_process: What is compared in one process without accumulation.
            ``'lookback'``: the last batch with a part of this one, which is run once
            more at the last weights. ``'consecutive'``: the last batch with this one,
            each at its own weights, which needs no extra pass but counts the change of
            the weights as noise. Defaults to ``'lookback'``.
        lookback_fraction: Part of the batch that is run once more, in (0, 1]; at least
            two images. Defaults to 0.25.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of its range.
    """

    interval: int = 10
    momentum: float = 0.97
    start_iter: int = 600
    stop_iter: Optional[int] = None
    anchor: str = "backbone"
    modules: Optional[Sequence[str]] = None
    ratio_range: Tuple[float, float] = (0.5, 10.0)
    modulate: bool = True
    single_process: str = "lookback"
    lookback_fraction: float = 0.25

    def __post_init__(self) -> None:
        self._check_integer("interval", 1)
        self._check_integer("start_iter", 0)
        if self.stop_iter is not None:
            self._check_integer("stop_iter", 0)
            if self.start_iter > self.stop_iter:
                raise ValueError(
                    f"agvm: start_iter={self.start_iter} lies after "
                    f"stop_iter={self.stop_iter}. Swap them, or leave stop_iter None."
                )
        if not is_number(self.momentum) or not 0 <= self.momentum < 1:
            raise ValueError(
                "agvm: momentum must be a number in [0, 1), such as 0.97, but got "
                f"{self.momentum!r}."
            )
        if not isinstance(self.anchor, str):
            raise TypeError(
                "agvm: anchor must be the name of a module, such as 'backbone', but "
                f"got {self.anchor!r}."
            )
        if not isinstance(self.modulate, bool):
            raise TypeError(
                f"agvm: modulate must be True or False, but got {self.modulate!r}."
            )
        if self.single_process not in _SINGLE_PROCESS:
            raise ValueError(
                f"agvm: single_process must be one of {', '.join(_SINGLE_PROCESS)}, "
                f"but got {self.single_process!r}."
            )
        fraction = self.lookback_fraction
        if not is_number(fraction) or not 0 < fraction <= 1:
            raise ValueError(
                "agvm: lookback_fraction must be a number in (0, 1], such as 0.25, but "
                f"got {fraction!r}."
            )
        bounds = self.ratio_range
        if (
            isinstance(bounds, str)
            or not isinstance(bounds, Sequence)
            or len(bounds) != 2
            or not all(map(is_number, bounds))
        ):
            raise ValueError(
                "agvm: ratio_range must be two numbers (low, high), such as "
                f"(0.5, 10.0), but got {bounds!r}."
            )
        if not 0 < bounds[0] <= bounds[1] < math.inf:
            raise ValueError(
                "agvm: ratio_range must be positive and finite, low first, such as "
                f"(0.5, 10.0), but got {tuple(bounds)!r}."
            )

    def _check_integer(self, name: str, low: int) -> None:
        parse_int(getattr(self, name), f"agvm: {name}", low)

    @classmethod
    def build(cls, config: Optional[Mapping[str, Any]]) -> AGVMConfig:
        """Build the arguments from the ``agvm`` dict of an optimizer wrapper.

        Args:
            config: Arguments by name. None: the defaults. Arguments to be fitted,
                which are None, get their defaults too, until :meth:`fitted`.

        Raises:
            TypeError: ``config`` is not a dict, or an argument has the wrong type.
            ValueError: An argument is unknown or out of its range.
        """
        if isinstance(config, cls):
            return config
        if config is not None and not isinstance(config, Mapping):
            raise TypeError(f"agvm must be a dict of arguments, but got {config!r}.")
        names = [field.name for field in fields(cls)]
        unknown = sorted(set(config or {}) - set(names))
        if unknown:
            raise ValueError(
                f"agvm: unknown argument {unknown[0]!r}. It takes {', '.join(names)}."
            )
        to_fit = arguments_to_fit(config)
        given = {k: v for k, v in (config or {}).items() if k not in to_fit}
        stop: Any = given.get("stop_iter")
        if "start_iter" in to_fit and is_integer(stop) and 0 <= stop < cls.start_iter:
            given["start_iter"] = stop  # the default would lie after it
        return cls(**given)

    def fitted(
        self, names: Sequence[str], updates: int, accumulative_counts: int = 1
    ) -> AGVMConfig:
        """Return these arguments with some of them fitted to a training's length.

        Args:
            names: Those to fit, of :data:`FITTED`.
            updates: Updates of the weights in the whole training.
            accumulative_counts: Iterations per update. Defaults to 1.
        """
        kept: Dict[str, Any] = {
            name: None if name in names else getattr(self, name) for name in FITTED
        }
        start, stop = (
            None if value is None else -(-value // accumulative_counts)
            for value in (kept["start_iter"], self.stop_iter)
        )
        times = fit_measurements(
            updates,
            start=start,
            interval=kept["interval"],
            momentum=kept["momentum"],
            stop=stop,
        )
        start_iter = times.start * accumulative_counts
        if self.stop_iter is not None:
            start_iter = min(start_iter, self.stop_iter)
        fitted = dict(
            start_iter=start_iter,
            interval=times.interval,
            momentum=times.momentum,
        )
        changes: Dict[str, Any] = {name: fitted[name] for name in names}
        return replace(self, **changes)

    def measures(self, update: int, accumulative_counts: int = 1) -> bool:
        """Return whether a measurement precedes an update of the weights.

        The answer depends on the arguments only, so it is the same on every rank and
        in a resumed training.

        Args:
            update: Index of the update, from 0.
            accumulative_counts: Iterations per update. Defaults to 1.
        """
        return bool(self.measured_updates(update, update + 1, accumulative_counts))

    def measured_updates(
        self, begin: int, end: int, accumulative_counts: int = 1
    ) -> range:
        """Return the updates that a measurement precedes.

        Args:
            begin: First update to look at, counted from 0 over the training.
            end: The update after the last one to look at.
            accumulative_counts: Iterations per update. Defaults to 1.
        """
        first = -(-self.start_iter // accumulative_counts)
        if self.stop_iter is not None:
            end = min(end, -(-self.stop_iter // accumulative_counts))
        intervals = max(0, -(-(begin - first) // self.interval))
        return range(first + intervals * self.interval, end, self.interval)


def arguments_to_fit(config: Any) -> List[str]:
    """Return the arguments whose value None asks for one fitted to the training."""
    if not isinstance(config, Mapping):
        return []
    return [name for name in FITTED if name in config and config[name] is None]
