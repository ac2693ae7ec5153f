"""Measured iterations put to use: batch sizes, and what an epoch takes."""

from __future__ import annotations

import json
import math
import os
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Sequence, Tuple

from ..multi_scale.sizes import Size, pixel_budget_batch_size, size_text
from .cost_fit import CostFit, Measurement, fit_cost

__all__ = [
    "EpochTime",
    "IterationCosts",
    "batch_sizes_to_measure",
    "epoch_time",
    "exceeds_memory",
    "fill_batch_sizes",
    "fitting_batch_sizes",
    "level_batch_sizes",
    "load_times",
    "read_times",
]

# Added before rounding down: a whole number stays whole in spite of rounding errors.
_TOLERANCE = 1e-9


class IterationCosts:
    """Cost of an iteration by size and batch size: measured sizes, fitted others.

    At a measured size an iteration costs the fit's overhead and, for each image, what
    the measurements at that size say; at any other size, what the fit says.

    Args:
        fit: The model of all measurements.
        measurements: What was measured, in the fit's unit.
        conservative: Where the measurements at one size disagree on the cost of an
            image, take the highest. Defaults to their mean by least squares.
    """

    def __init__(
        self,
        fit: CostFit,
        measurements: Sequence[Measurement],
        conservative: bool = False,
    ) -> None:
        self.fit = fit
        self.per_image: Dict[Size, float] = {}
        for size in dict.fromkeys((m.height, m.width) for m in measurements):
            own = [m for m in measurements if (m.height, m.width) == size]
            if conservative:
                cost = max((m.value - fit.overhead) / m.batch_size for m in own)
            else:
                # Of the relative errors, as in the fit.
                above = sum(
                    m.batch_size * (m.value - fit.overhead) / m.value**2 for m in own
                )
                cost = above / sum((m.batch_size / m.value) ** 2 for m in own)
            if cost > 0:
                self.per_image[size] = cost

    @classmethod
    def of(
        cls, measurements: Sequence[Measurement], conservative: bool = False
    ) -> IterationCosts:
        """Return what fits to measurements; see :func:`fit_cost` for the errors."""
        return cls(fit_cost(measurements), measurements, conservative)

    def at(self, height: int, width: int, batch_size: int) -> float:
        """Return the cost of an iteration of ``batch_size`` images of this size."""
        return self.fit.overhead + batch_size * self._of_image((height, width))

    def overhead_share(self, height: int, width: int, batch_size: int) -> float:
        """Return the part of an iteration that does not depend on its images, 0 to 1.

        Where it is large the device waits for Python most of the time, and times say
        nothing about batch sizes.
        """
        return self.fit.overhead / self.at(height, width, batch_size)

    def grows_with_images(self, size: Size) -> bool:
        """Return whether more images of ``size`` cost more.

        Not where a device waits for Python: then the measurements are noise.
        """
        return self._of_image(size) > 0

    def largest_batch(self, size: Size, budget: float) -> int:
        """Return the most images of ``size`` whose iteration costs at most ``budget``.

        0 where one image costs more.

        Raises:
            ValueError: By the measurements, more images of this size cost no more.
        """
        if not self.grows_with_images(size):
            raise ValueError(
                f"iterations at {size_text(size)} cost no more with more images"
            )
        images = (budget - self.fit.overhead) / self._of_image(size)
        return max(0, math.floor(images + _TOLERANCE))

    def _of_image(self, size: Size) -> float:
        if size in self.per_image:
            return self.per_image[size]
        return self.fit.per_image(*size)


def batch_sizes_to_measure(batch_size: int, pixel_batch_size: int) -> List[int]:
    """Choose batch sizes that tell what an image costs at one size.

    Any rule between a fixed batch and the pixel budget gives a batch between those two.
    They are measured, their geometric mean too and, if they are close, a smaller one.

    Args:
        batch_size: Images at the base size.
        pixel_batch_size: Images at this size by the pixel budget.

    Returns:
        At least two, ascending.
    """
    low, high = sorted((batch_size, pixel_batch_size))
    chosen = {low, high, round(math.sqrt(low * high))}
    if high < 2 * low:
        chosen.add(max(1, low // 2))
    if len(chosen) == 1:
        chosen.add(high + 1)
    return sorted(chosen)


def level_batch_sizes(
    costs: IterationCosts, batch_size: int, base_size: Size, sizes: Sequence[Size]
) -> List[int]:
    """Return for each size the largest batch that costs at most as much as the base's.

    Args:
        costs: Of an iteration, in time.
        batch_size: Images at ``base_size``; its entry is always this.
        base_size: ``(height, width)`` in pixels.
        sizes: Likewise.

    Returns:
        One batch size a size, at least 1.
    """
    budget = costs.at(*base_size, batch_size)

    def level(size: Size) -> int:
        if size == base_size or not costs.grows_with_images(size):
            return pixel_budget_batch_size(batch_size, base_size, size)
        return max(1, costs.largest_batch(size, budget))

    return [level(size) for size in sizes]


def fill_batch_sizes(
    costs: IterationCosts, budget: float, sizes: Sequence[Size]
) -> List[int]:
    """Return the most images at each size that fit into a memory budget.

    Args:
        costs: Of an iteration, in bytes.
        budget: Bytes.
        sizes: ``(height, width)`` in pixels.

    Raises:
        ValueError: Not even one image of a size fits.
    """
    table = [costs.largest_batch(size, budget) for size in sizes]
    for size, images in zip(sizes, table):
        if not images:
            raise ValueError(
                f"no image of {size_text(size)} fits into {budget / 1e9:g} GB: an "
                f"iteration of one takes {costs.at(*size, 1) / 1e9:.3g} GB"
            )
    return table


def exceeds_memory(batch_size: int, fits: Mapping[int, bool]) -> bool:
    """Return whether a batch is as large as one that does not fit, or larger.

    Args:
        batch_size: Images.
        fits: Whether each measured batch size fits, at the same size of the images.
    """
    return any(not fit and batch_size >= images for images, fit in fits.items())


def fitting_batch_sizes(
    batch_sizes: Sequence[int],
    sizes: Sequence[Size],
    fits: Mapping[Size, Mapping[int, bool]],
) -> List[int]:
    """Lower batch sizes to what fits into the memory, by what was measured.

    A batch size as large as one that does not fit, or larger, becomes the largest
    smaller one that does.

    Args:
        batch_sizes: One of each size.
        sizes: ``(height, width)`` in pixels.
        fits: By size, whether each measured batch size fits.

    Raises:
        ValueError: No smaller one that was measured fits.
    """
    table = list(batch_sizes)
    for index, size in enumerate(sizes):
        measured = fits.get(size, {})
        if not exceeds_memory(table[index], measured):
            continue
        fitting = [b for b in measured if not exceeds_memory(b, measured)]
        if not fitting:
            raise ValueError(
                f"{min(measured)} images of {size_text(size)} do not fit into the "
                "memory, and fewer were not measured: measure smaller batches as well"
            )
        table[index] = max(fitting)
    return table


class EpochTime(NamedTuple):
    """What an epoch takes on one rank.

    Attributes:
        iterations: Of the epoch; a mean, not rounded.
        seconds: All of them.
        slowest: Seconds of the slowest kind of iteration.
    """

    iterations: float
    seconds: float
    slowest: float


def epoch_time(
    costs: IterationCosts,
    sizes: Sequence[Size],
    batch_sizes: Sequence[int],
    weights: Sequence[float],
    num_samples: int,
) -> EpochTime:
    """Return the time of an epoch in which each size is drawn by its weight.

    Args:
        costs: Of an iteration, in seconds.
        sizes: ``(height, width)`` in pixels.
        batch_sizes: Images at each.
        weights: Relative frequency of each, by iterations.
        num_samples: Images of the epoch on this rank.
    """
    drawn = [
        (weight, images, costs.at(*size, images))
        for size, images, weight in zip(sizes, batch_sizes, weights)
        if weight > 0
    ]
    total = sum(weight for weight, _, _ in drawn)
    images_each = sum(weight * images for weight, images, _ in drawn) / total
    seconds_each = sum(weight * seconds for weight, _, seconds in drawn) / total
    iterations = num_samples / images_each
    return EpochTime(
        iterations, iterations * seconds_each, max(seconds for _, _, seconds in drawn)
    )


def load_times(path: Any) -> Tuple[IterationCosts, Mapping[str, Any]]:
    """Load a file that ``calibrate_batch_sizes.py --json`` wrote.

    Args:
        path: Of the file.

    Returns:
        Costs of iterations in seconds, and the whole document.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no such file.
    """
    if not isinstance(path, (str, os.PathLike)):  # open() accepts file descriptors
        raise ValueError(
            "times must be a file that calibrate_batch_sizes.py --json wrote, but got "
            f"{path!r}"
        )
    try:
        with open(path) as stream:
            document = json.load(stream)
    except RecursionError as error:
        raise ValueError("its lists are nested too deeply") from error
    return read_times(document), document


def read_times(document: Mapping[str, Any]) -> IterationCosts:
    """Read the seconds of an iteration from a file of ``calibrate_batch_sizes.py``.

    Args:
        document: The parsed JSON: ``sizes`` with ``height``, ``width``,
            ``batch_sizes`` and ``seconds`` each, and ``cost_model`` with
            ``overhead``, ``alpha`` and ``beta``.

    Raises:
        ValueError: It is no such document.
    """
    try:
        model = document["cost_model"]
        fit = CostFit(*(float(model[key]) for key in CostFit._fields))
        measurements = list(_measurements(document["sizes"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            "times must be what calibrate_batch_sizes.py --json printed, with sizes "
            f"and cost_model, but got {type(error).__name__}: {error}"
        ) from None
    values = [*fit, *(m.value for m in measurements)]
    if not all(math.isfinite(value) and value >= 0 for value in values) or not any(fit):
        raise ValueError("times must be finite and not negative, and not all zero")
    return IterationCosts(fit, [m for m in measurements if m.value > 0])


def _measurements(sizes: Iterable[Mapping[str, Any]]) -> Iterable[Measurement]:
    for size in sizes:
        pairs: List[Tuple[int, Any]] = list(zip(size["batch_sizes"], size["seconds"]))
        for batch_size, seconds in pairs:
            if seconds is not None:  # it did not fit into the memory
                yield Measurement(
                    int(size["height"]),
                    int(size["width"]),
                    int(batch_size),
                    float(seconds),
                )
