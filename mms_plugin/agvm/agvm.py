"""State of AGVM: the measured variances and the multipliers."""

from __future__ import annotations

import math
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

from .agvm_config import AGVMConfig
from .variance import gradient_variance, smoothed_multiplier, target_multiplier

__all__ = ["AGVM", "QUIET_MEASUREMENTS", "QUIET_VARIANCE", "anchor_modules"]

QUIET_VARIANCE = 1e-3
"""Below this variance both halves of a batch give the same update direction."""

QUIET_MEASUREMENTS = 20
"""A module that has been quiet in this many measurements in a row may be dead."""


class AGVM:
    """Keep the variances and multipliers of a model's modules over a training.

    Args:
        config: The arguments.
        modules: Names of the modules, with ``'rest'`` if it has parameters.
        fixed: Modules with a single trainable number, whose gradient has no direction.
            Their multiplier stays 1.

    Raises:
        ValueError: The anchor is not among the modules, or it is fixed.
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
        """Return the modules whose multiplier a measurement can change."""
        return [
            name
            for name in self.modules
            if name not in self._fixed and [name] != self.anchors
        ]

    def reset(self) -> None:
        """Set all multipliers to 1 and forget all measurements."""
        self.multipliers: Dict[str, float] = dict.fromkeys(self.modules, 1.0)
        """Factor of each module's learning rate."""
        self.variances: Dict[str, float] = dict.fromkeys(self.modules, math.nan)
        """Last measured variance of each module; NaN before the first measurement."""
        self.num_measured = 0
        """Number of measurements that changed the multipliers."""
        self.num_quiet: Dict[str, int] = dict.fromkeys(self.modules, 0)
        """Measurements in a row with too low a variance, or without a gradient."""

    def update(
        self,
        products: Sequence[Sequence[float]],
        half_variance: Optional[Callable[[float], float]] = None,
    ) -> List[str]:
        """Update variances and multipliers by one measurement.

        A module keeps its multiplier if its variance is not defined, because its
        gradient over one half is missing, zero or not finite. All modules keep theirs
        if the variance of the anchor is not defined.

        Args:
            products: ``[<a, a>, <a, b>, <b, b>]`` of each module's update directions
                over the two halves, in the order of :attr:`modules`.
            half_variance: Converts the measured variance to that of two halves, see
                :func:`~.variance.half_batch_variance`. Defaults to None: halves were
                compared.

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
        self._count_quiet(products, variances, reference)
        if not math.isfinite(reference):
            return measured
        self.num_measured += 1
        for name in measured:
            if [name] == self.anchors:
                continue  # its multiplier is 1 by definition, whatever the bounds
            target = target_multiplier(
                reference, variances[name], self.config.ratio_range
            )
            self.multipliers[name] = smoothed_multiplier(
                self.multipliers[name], target, self.config.momentum
            )
        return measured

    def _count_quiet(
        self,
        products: Sequence[Sequence[float]],
        variances: Mapping[str, float],
        reference: float,
    ) -> None:
        """Count the measurements in a row that find hardly any variance.

        A dead head may keep a small variance, so the limit is relative to the anchor's.
        """
        low = QUIET_VARIANCE
        if math.isfinite(reference):
            low = max(low, reference / self.config.ratio_range[1])
        for name, values in zip(self.modules, products):
            if name not in variances:
                continue  # a single number
            no_gradient = values[0] == 0 == values[2]
            limit = QUIET_VARIANCE if name in self.anchors else low
            quiet = no_gradient or variances[name] < limit
            self.num_quiet[name] = self.num_quiet[name] + 1 if quiet else 0

    def quiet_modules(self) -> List[str]:
        """Return the modules that have been quiet for :data:`QUIET_MEASUREMENTS`.

        A module is quiet if it has no gradient, if its variance is below
        :data:`QUIET_VARIANCE`, or if the anchor's is higher by more than the upper
        bound of ``ratio_range``. A head is quiet while it sees only background, and for
        good when it has died.
        """
        return [n for n in self.modules if self.num_quiet[n] >= QUIET_MEASUREMENTS]

    def lr_multiplier(self, module: str) -> float:
        """Return the factor on the learning rate of a module in the next update."""
        return self.multipliers.get(module, 1.0) if self.config.modulate else 1.0

    def state_dict(self) -> Dict[str, Any]:
        """Return the multipliers and variances that a resumed training needs."""
        return dict(
            multipliers=dict(self.multipliers),
            variances=dict(self.variances),
            num_measured=self.num_measured,
            num_quiet=dict(self.num_quiet),
        )

    def load_state_dict(self, state: Mapping[str, Any]) -> List[str]:
        """Restore a saved state.

        Args:
            state: A result of :meth:`state_dict`.

        Returns:
            list[str]: Modules that are missing in the state; they start from 1.
        """
        for name in self.modules:
            self.multipliers[name] = float(state["multipliers"].get(name, 1.0))
            self.variances[name] = float(state["variances"].get(name, math.nan))
            # Older checkpoints do not have it.
            self.num_quiet[name] = int(state.get("num_quiet", {}).get(name, 0))
        self.num_measured = int(state["num_measured"])
        return [name for name in self.modules if name not in state["multipliers"]]


def anchor_modules(anchor: str, modules: Sequence[str]) -> List[str]:
    """Return the module of this name, or else the modules that it is a prefix of.

    Raises:
        ValueError: There is no such module.
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
