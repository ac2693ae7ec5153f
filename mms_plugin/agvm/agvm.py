"""State of AGVM: when it measures, what it measured, and the multipliers."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from ..utils.validation import is_number, parse_int
from .variance import gradient_variance, smoothed_multiplier, target_multiplier

__all__ = ["AGVM", "AGVMConfig"]

_SINGLE_PROCESS = ("lookback", "consecutive")

QUIET_VARIANCE = 1e-3
"""Below this variance both halves of a batch ask for the same step."""

QUIET_MEASUREMENTS = 20
"""A module that has been quiet in this many measurements in a row may be dead."""


@dataclass(frozen=True)
class AGVMConfig:
    """Arguments of AGVM.

    Args:
        interval: Updates of the weights from one measurement to the next; tau of the
            paper. Defaults to 10. The paper takes 5 above a batch of about 1,000.
        momentum: Weight of the old multiplier in the moving average, in [0, 1);
            alpha of the paper. Defaults to 0.97.
        start_iter: Iteration of the training, counted from 0 as the schedulers do, of
            the first measurement. It should lie shortly after the warm-up.
            Defaults to 600.
        stop_iter: Iteration from which on nothing is measured; the multipliers stay
            as they are. Defaults to None: never.
        anchor: Module that the others are compared with. It may also be a prefix of
            several modules (``'backbone'`` of ``'backbone.layer1'``, ...), which are
            then taken as one for the comparison. Defaults to ``'backbone'``.
        modules: Dotted names of modules. Defaults to None: found from the model, see
            :func:`~.modules.find_modules`.
        ratio_range: Bounds of the ratio of two variances, before the root.
            Defaults to (0.5, 10.0).
        modulate: Whether the multipliers act on the rates. False: measure and log
            only. Defaults to True.
        single_process: What stands in for the halves in one process without
            accumulation. ``'lookback'``: the batch of the last iteration against a
            part of this one, run once more at the last weights. ``'consecutive'``:
            the batches of the last iteration and of this one, each at its weights,
            which costs no pass but mistakes the change of the weights for noise.
            Defaults to ``'lookback'``.
        lookback_fraction: Part of the batch that is run once more, in (0, 1]; at least
            one image. Defaults to 0.25.

    Raises:
        TypeError: An argument is of the wrong type.
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
        """From the ``agvm`` dict of an optimizer wrapper; None gives the defaults."""
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
        return cls(**dict(config or {}))

    def measures(self, update: int, accumulative_counts: int = 1) -> bool:
        """Whether an update of the weights is preceded by a measurement.

        Args:
            update: Index of the update, from 0.
            accumulative_counts: Iterations per update. Defaults to 1.

        Returns:
            bool: A pure function of the arguments, the same on every rank and after
            a resume.
        """
        first = -(-self.start_iter // accumulative_counts)
        if update < first or (update - first) % self.interval:
            return False
        return self.stop_iter is None or update * accumulative_counts < self.stop_iter


class AGVM:
    """Variances and multipliers of a model's modules over a training.

    Args:
        config: The arguments.
        modules: Names of the modules, ``'rest'`` among them where it has parameters.
        fixed: Modules whose variance has no meaning (a single number) and whose
            multiplier stays 1.

    Raises:
        ValueError: The anchor is not among the modules, or fixed.
    """

    def __init__(
        self, config: AGVMConfig, modules: Sequence[str], fixed: Sequence[str] = ()
    ) -> None:
        self.config = config
        self.modules: List[str] = list(modules)
        self.anchors = anchor_modules(config.anchor, self.modules)
        self._fixed = set(fixed)
        if self._fixed.issuperset(self.anchors):
            raise ValueError(
                f"agvm: anchor {config.anchor!r} has a single trainable number, whose "
                "gradient has no direction to compare. Choose another anchor."
            )
        self.reset()

    @property
    def adjusted(self) -> List[str]:
        """Modules whose multiplier a measurement can change."""
        return [
            name
            for name in self.modules
            if name not in self._fixed and [name] != self.anchors
        ]

    def reset(self) -> None:
        """Back to the start: all multipliers 1, nothing measured."""
        self.multipliers: Dict[str, float] = dict.fromkeys(self.modules, 1.0)
        """Factor of each module's learning rate."""
        self.variances: Dict[str, float] = dict.fromkeys(self.modules, math.nan)
        """The last variance measured of each module; NaN before the first."""
        self.num_measured = 0
        """How many measurements changed the multipliers."""
        self.num_quiet: Dict[str, int] = dict.fromkeys(self.modules, 0)
        """Measurements in a row with next to no variance, or no gradient at all."""

    def update(
        self,
        products: Sequence[Sequence[float]],
        half_variance: Optional[Callable[[float], float]] = None,
    ) -> List[str]:
        """Takes in one measurement.

        A module keeps its multiplier where its variance is undefined: no gradient, or
        one that is zero or not finite in a half. All keep theirs where the anchor's
        is.

        Args:
            products: ``[<a, a>, <a, b>, <b, b>]`` of each module's update directions
                over the two halves, in the order of :attr:`modules`.
            half_variance: Turns the variance of what was compared into that of two
                halves, see :func:`~.variance.half_batch_variance`. Defaults to None:
                halves were compared.

        Returns:
            list[str]: Modules whose variance was measured.
        """
        anchor = [0.0, 0.0, 0.0]
        for name, values in zip(self.modules, products):
            if name in self.anchors:
                anchor = [total + float(value) for total, value in zip(anchor, values)]
        variances = {
            name: gradient_variance(values)
            for name, values in zip(self.modules, products)
            if name not in self._fixed
        }
        reference = gradient_variance(anchor)
        if half_variance is not None:
            reference = half_variance(reference)
            variances = {k: half_variance(v) for k, v in variances.items()}
        measured = [name for name, value in variances.items() if math.isfinite(value)]
        for name in measured:
            self.variances[name] = variances[name]
        self._count_quiet(products, variances)
        if not math.isfinite(reference):
            return measured
        self.num_measured += 1
        for name in measured:
            if [name] == self.anchors:
                continue  # its ratio is 1 by definition, free of the bounds
            target = target_multiplier(
                reference, variances[name], self.config.ratio_range
            )
            self.multipliers[name] = smoothed_multiplier(
                self.multipliers[name], target, self.config.momentum
            )
        return measured

    def _count_quiet(
        self, products: Sequence[Sequence[float]], variances: Mapping[str, float]
    ) -> None:
        for name, values in zip(self.modules, products):
            if name not in variances:
                continue  # a single number
            no_gradient = values[0] == 0 == values[2]
            quiet = no_gradient or variances[name] < QUIET_VARIANCE
            self.num_quiet[name] = self.num_quiet[name] + 1 if quiet else 0

    def quiet_modules(self) -> List[str]:
        """Return the modules that have been quiet for :data:`QUIET_MEASUREMENTS`.

        A head is quiet while it sees only background, and for good when it has died.
        """
        return [n for n in self.modules if self.num_quiet[n] >= QUIET_MEASUREMENTS]

    def rate_multiplier(self, module: str) -> float:
        """Factor by which the next update scales the rate of a module."""
        return self.multipliers.get(module, 1.0) if self.config.modulate else 1.0

    def state_dict(self) -> Dict[str, Any]:
        """Plain numbers, all that a resumed training needs."""
        return dict(
            multipliers=dict(self.multipliers),
            variances=dict(self.variances),
            num_measured=self.num_measured,
            num_quiet=dict(self.num_quiet),
        )

    def load_state_dict(self, state: Mapping[str, Any]) -> List[str]:
        """Takes over a saved state.

        Args:
            state: What :meth:`state_dict` gave.

        Returns:
            list[str]: Modules that the state does not know; they start from 1.
        """
        for name in self.modules:
            self.multipliers[name] = float(state["multipliers"].get(name, 1.0))
            self.variances[name] = float(state["variances"].get(name, math.nan))
            # Checkpoints saved before it was counted lack it.
            self.num_quiet[name] = int(state.get("num_quiet", {}).get(name, 0))
        self.num_measured = int(state["num_measured"])
        return [name for name in self.modules if name not in state["multipliers"]]


def anchor_modules(anchor: str, modules: Sequence[str]) -> List[str]:
    """The modules that ``anchor`` means: itself, or those that it is a prefix of.

    Raises:
        ValueError: There is none.
    """
    if anchor in modules:
        return [anchor]
    inside = [name for name in modules if name.startswith(f"{anchor}.")]
    if not inside:
        raise ValueError(
            f"agvm: anchor {anchor!r} is not among the modules with trainable "
            f"parameters ({', '.join(modules)}). Name one of them, or unfreeze a part "
            "of it."
        )
    return inside
