"""The sizes with their batch sizes and weights, at any time of a training."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from ..utils.validation import parse_bool, parse_int
from .curriculum import ResolutionCurriculum, grown_range, grown_sizes, side_range
from .sizes import (
    Size,
    SizeDistribution,
    cost_model_batch_size,
    parse_batch_sizes,
    parse_cost_model,
    parse_size,
    parse_sizes,
    parse_weights,
    pixel_budget_batch_size,
    side_length,
)

SAMPLER_ARGUMENTS = (
    "base_size",
    "sizes",
    "weights",
    "batch_sizes",
    "variable_batch",
    "cost_model",
)
"""Arguments of the sampler that :class:`GrowingSizes` takes, beside ``batch_size``."""


class GrowingSizes:
    """The sizes to draw from, which a curriculum lets grow over a training.

    The arguments are those of :class:`MultiScaleVariableBatchSampler`.

    Args:
        batch_size: Images per rank at ``base_size``.
        base_size: Side in pixels or ``(height, width)``. Defaults to the largest size.
        sizes: Resolutions, or a range dict. Defaults to ``base_size`` only.
        weights: Relative frequency of each size. Defaults to uniform.
        batch_sizes: One batch size per size. Defaults to the pixel budget.
        variable_batch: ``False`` gives every size ``batch_size`` images. Defaults to
            ``True``.
        cost_model: Cost of an image. Defaults to its pixels.

    Attributes:
        sizes: ``(height, width)`` in pixels, in the order given.
        batch_sizes: Images of a full batch at each size, per rank.
        weights: Relative frequency of each size, by iterations.
        cost_model: Cost of an image; ``None``: its pixels.
        has_table: Whether the batch sizes were given by the user.
        curriculum: How the sizes grow; ``None``: they do not.

    Raises:
        ValueError: An argument is not valid.
    """

    def __init__(
        self,
        batch_size: int,
        base_size: Any = None,
        sizes: Any = None,
        weights: Optional[Sequence[float]] = None,
        batch_sizes: Optional[Sequence[int]] = None,
        variable_batch: bool = True,
        cost_model: Optional[Mapping[str, float]] = None,
    ) -> None:
        self.batch_size = parse_int(batch_size, "batch_size")
        if sizes is None and base_size is None:
            raise ValueError(
                "sizes must be given, such as [128, 160, 192], but got None"
            )
        self.sizes: Tuple[Size, ...] = parse_sizes(
            [base_size] if sizes is None else sizes
        )
        if base_size is None:
            base_size = max(self.sizes, key=lambda size: size[0] * size[1])
        self.base_size: Size = parse_size(base_size, "base_size")
        self.weights = parse_weights(weights, len(self.sizes))
        self.variable_batch = parse_bool(variable_batch, "variable_batch")
        table = parse_batch_sizes(batch_sizes, len(self.sizes))
        if table is not None and not variable_batch:
            raise ValueError(
                "batch_sizes must be left out with variable_batch=False, which gives "
                f"every size batch_size={batch_size} images, but got {batch_sizes!r}"
            )
        self.cost_model = parse_cost_model(cost_model)
        if cost_model is not None and (table is not None or not variable_batch):
            other = "variable_batch=False" if table is None else "batch_sizes"
            raise ValueError(
                f"cost_model must be left out with {other}, which sets the batch "
                f"sizes, but got {cost_model!r}"
            )
        self.has_table = table is not None
        self.batch_sizes = table or tuple(
            self._batch_size_by_rule(size) for size in self.sizes
        )
        self.curriculum: Optional[ResolutionCurriculum] = None
        self._start_sizes: Tuple[Size, ...] = ()
        self._end_sizes: Tuple[Size, ...] = ()
        self._known: Dict[Tuple[Size, ...], SizeDistribution] = {}
        self._grown: Dict[Tuple[int, int], SizeDistribution] = {}

    def set_curriculum(self, curriculum: ResolutionCurriculum) -> None:
        """Let the sizes grow by a curriculum.

        Raises:
            ValueError: Its start or end sizes do not fit to these sizes.
        """
        drawn = self._drawn
        ends = dict(
            start_sizes=curriculum.resolve_start_sizes(self.sizes),
            end_sizes=curriculum.resolve_end_sizes(
                self.sizes if curriculum.end_sizes else drawn
            ),
        )
        for name, chosen in ends.items():
            unlisted = [size for size in chosen if size not in self.sizes]
            if unlisted and self.has_table:
                raise ValueError(
                    f"{name} must be among the sizes that have an entry in "
                    f"batch_sizes, but got {unlisted[0]}"
                )
            if not any(size in drawn or size not in self.sizes for size in chosen):
                raise ValueError(
                    f"{name} must hold a size whose weight is not 0, but got {chosen}"
                )
            # Sizes of weight 0 are never drawn, whether they are named here or not.
            ends[name] = tuple(s for s in chosen if s in drawn or s not in self.sizes)
        self.curriculum = curriculum
        self._start_sizes, self._end_sizes = ends["start_sizes"], ends["end_sizes"]
        self._ranges = side_range(self._start_sizes), side_range(self._end_sizes)
        self._sides = sorted(side_length(s) for s in (*drawn, *self._start_sizes))
        self._grown = {}

    def distribution(self, fraction: float) -> SizeDistribution:
        """Return what is drawn from after a fraction of the training, 0 to 1."""
        if self.curriculum is None:
            return self._distribution_of(self.sizes)
        growth = self.curriculum.growth(fraction)
        key = self._sizes_reached(growth)
        if key not in self._grown:
            self._grown[key] = self._distribution_of(
                grown_sizes(self._drawn, self._start_sizes, growth, self._end_sizes)
            )
        return self._grown[key]

    def _sizes_reached(self, growth: float) -> Tuple[int, int]:
        """Return a key that is the same for growths that draw from the same sizes."""
        if not 0.0 < growth < 1.0:
            return (-1, 0) if growth <= 0.0 else (-1, 1)
        low, high = grown_range(*self._ranges, growth)
        return bisect_left(self._sides, low), bisect_right(self._sides, high)

    def distributions(self, epochs: int = 1) -> List[SizeDistribution]:
        """Return what is drawn from, each once, in the order of the training.

        Args:
            epochs: Number of epochs: what is drawn from at the start of each, and at
                the end of the training. Defaults to 1.
        """
        reached = (self.distribution(epoch / epochs) for epoch in range(epochs + 1))
        return list(dict.fromkeys(reached))

    @property
    def largest_batch(self) -> int:
        """Images of the largest batch that may be drawn, per rank."""
        drawn = [self._distribution_of(self.sizes), *self.distributions()]
        return max(max(each.batch_sizes) for each in drawn)

    @property
    def _drawn(self) -> Tuple[Size, ...]:
        """The sizes with a weight above 0."""
        return tuple(s for s, w in zip(self.sizes, self.weights) if w > 0)

    def _batch_size_by_rule(self, size: Size) -> int:
        """Return the batch size of a size that has no entry in ``batch_sizes``."""
        if not self.variable_batch:
            return self.batch_size
        if self.cost_model is None:
            return pixel_budget_batch_size(self.batch_size, self.base_size, size)
        return cost_model_batch_size(
            self.batch_size, self.base_size, size, self.cost_model
        )

    def _distribution_of(self, sizes: Tuple[Size, ...]) -> SizeDistribution:
        """Return the sizes with their batch sizes and weights.

        A start or end size that is not in ``sizes`` has the mean of the weights.
        """
        if sizes in self._known:
            return self._known[sizes]
        positive = [w for w in self.weights if w > 0]
        chosen: List[Tuple[Size, int, float]] = []
        for size in sizes:
            if size in self.sizes:
                position = self.sizes.index(size)
                batch_size, weight = self.batch_sizes[position], self.weights[position]
            else:
                batch_size, weight = (
                    self._batch_size_by_rule(size),
                    sum(positive) / len(positive),
                )
            if weight > 0:
                chosen.append((size, batch_size, weight))
        self._known[sizes] = SizeDistribution(*(tuple(c) for c in zip(*chosen)))
        return self._known[sizes]
