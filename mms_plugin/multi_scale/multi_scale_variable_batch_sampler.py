"""The batch sampler: one resolution per batch, as many images as its pixels allow.

This file holds what MMEngine and the hooks see, and the walk over an epoch. Plans are
made in :mod:`epoch_planner`, an endless stream in :mod:`batch_stream`, and
:mod:`sampler_state` finds where an interrupted training continues.
"""

from __future__ import annotations

import copy
import itertools
from dataclasses import replace
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

import numpy as np
from mmengine.dist import sync_random_seed
from mmengine.registry import DATA_SAMPLERS
from torch.utils.data import Sampler

from ..utils.random_state import mixed_seed
from ..utils.validation import parse_bool, parse_int
from .aspect_groups import landscape_flags
from .batch_stream import BatchStream
from .curriculum import ResolutionCurriculum
from .curriculum_effect import even_fractions, explain_without_effect
from .epoch_planner import EpochPlanner
from .growing_sizes import GrowingSizes
from .inner_sampler import (
    EpochListener,
    indices_of_epoch,
    is_endless,
    remaining_indices,
    too_few_indices,
)
from .multi_scale_dataset import check_wrapped
from .sampler_state import (
    changes_since,
    common_to_ranks,
    epoch_state,
    from_the_first_index,
    images_before,
    resume_epoch,
    stream_state,
    with_seeds_of,
)
from .sized_index import SizedIndex, sized_batch
from .sizes import Size
from .training_settings import TrainingSettings, check_inner_sampler


@DATA_SAMPLERS.register_module()
class MultiScaleVariableBatchSampler(Sampler[List[SizedIndex]]):
    r"""Give batches of one resolution each, drawn for every iteration (MSc-VBS).

    At each iteration one resolution :math:`(H_t, W_t)` is drawn from ``sizes``, the
    same on every rank, and the batch has
    :math:`\max(1, \lfloor B H W / (H_t W_t) \rfloor)` images, so that an iteration
    costs about the same at every resolution. With ``cost_model``, an image's cost
    takes the place of its pixels in that budget. An epoch gives each index of the inner
    sampler exactly once; its last batch is cut to the remaining images.

    The draws depend on the seed and the epoch only, not on any global generator, and
    need no communication. Without a curriculum all epochs have equally many
    iterations. The iterations of an epoch are shared out among the sizes by
    ``weights`` as evenly as possible, in random order.

    It yields lists of :class:`SizedIndex`; wrap the dataset in
    :class:`MultiScaleDataset` to get the size into the pipeline.

    Source: arXiv 2309.04502, section 3; arXiv 2110.02178 (MobileViT), section 3.3.

    Args:
        sampler: The inner sampler, which gives the indices of this rank. Built by
            MMEngine from ``train_dataloader.sampler``.
        batch_size: Images per rank at ``base_size``. Given by MMEngine from
            ``train_dataloader.batch_size``.
        base_size: Side in pixels, or ``(height, width)``, whose pixels times
            ``batch_size`` are the budget of a batch. Defaults to the largest of
            ``sizes``.
        sizes: Resolutions, sides in pixels or ``(height, width)``, or a range
            ``dict(min=128, max=320, num=7, divisor=32)``. Defaults to ``base_size``
            only, the fixed-size baseline (SSc-FBS).
        weights: Relative frequency of each size, by iterations. Defaults to uniform.
        batch_sizes: Images per rank at each size, in place of the pixel budget.
            Defaults to the budget.
        variable_batch: ``False`` gives every size ``batch_size`` images (MSc-FBS).
            Defaults to ``True``.
        group_by_aspect_ratio: Portrait and landscape images never share a batch; the
            dataset's ``get_data_info`` gives their ``width`` and ``height``. The
            last batches of each kind may be partly empty: on each rank and in each
            epoch by fewer images than two of the largest batches hold. Defaults to
            ``False``.
        drop_last: Leave out the images that do not fill a last batch. The sizes are
            then chosen so that these are few: fewer than one batch
            (than two, with ``group_by_aspect_ratio``). Defaults to ``False``.
        seed: Seed of the draws, the same on every rank. Defaults to the inner
            sampler's, else to one shared through MMEngine.
        cost_model: ``dict(alpha=1.0, beta=0.0)``: an image costs ``alpha * height *
            width + beta``, and a batch has :math:`\max(1, \lfloor B (\alpha H W +
            \beta) / (\alpha H_t W_t + \beta) \rfloor)` images, exactly. For models
            of which a part, such as RoI heads, costs the same for an image of any
            size. Defaults to the pixel budget, which is ``beta=0``.

    Attributes:
        inner_sampler: The sampler that gives the indices of this rank.
        growing_sizes: Gives the sizes drawn from after any fraction of the training.
        batch_size: Images per rank at the base size.
        base_size: ``(height, width)`` in pixels that the budget of a batch refers to.
        sizes: The resolutions, ``(height, width)`` in pixels, in the order given.
        batch_sizes: Images of a full batch at each of ``sizes``, per rank.
        curriculum: How the sizes grow; ``None``: not at all.
        max_epochs: Epochs that the curriculum grows over; ``None`` if it counts
            iterations.
        max_iters: Iterations that the curriculum grows over; ``None`` if it counts
            epochs.
        landscape: Shape ``(samples,)``, ``bool``: which images are at least as wide as
            high. ``None`` without ``group_by_aspect_ratio``.
        endless: Whether the inner sampler has no end, so that there are no epochs.
        epoch: The current epoch, from 0.

    Raises:
        ValueError: An argument is not valid; the message says what is.
    """

    def __init__(
        self,
        sampler: Any,
        batch_size: int,
        base_size: Any = None,
        sizes: Any = None,
        weights: Optional[Sequence[float]] = None,
        batch_sizes: Optional[Sequence[int]] = None,
        variable_batch: bool = True,
        group_by_aspect_ratio: bool = False,
        drop_last: bool = False,
        seed: Optional[int] = None,
        cost_model: Optional[Mapping[str, float]] = None,
    ) -> None:
        if sampler is None:
            raise ValueError(
                "sampler must be given, but got None; set train_dataloader.sampler, "
                "such as dict(type='DefaultSampler', shuffle=True)"
            )
        growing = GrowingSizes(
            batch_size,
            base_size,
            sizes,
            weights,
            batch_sizes,
            variable_batch,
            cost_model,
        )
        group = parse_bool(group_by_aspect_ratio, "group_by_aspect_ratio")
        dataset = getattr(sampler, "dataset", None)
        check_wrapped(dataset)
        if seed is None:
            seed = getattr(sampler, "seed", None)
        if seed is None:
            seed = sync_random_seed()
        settings = TrainingSettings(
            inner_sampler=sampler,
            growing_sizes=growing,
            seed=parse_int(seed, "seed", minimum=0),
            drop_last=parse_bool(drop_last, "drop_last"),
            landscape=landscape_flags(dataset) if group else None,
        )
        check_inner_sampler(settings)
        self.endless = is_endless(sampler)
        self.epoch = 0
        self._planner = EpochPlanner(settings, self._indices_of)
        self._stream = BatchStream(settings) if self.endless else None
        # (epoch, position in its plan) that iterating it starts from, and that the
        # next batch has.
        self._begin = self._next = (0, 0)
        self._use(settings)

    def _use(self, settings: TrainingSettings) -> None:
        """Continue in other settings, from the same place."""
        self._settings = settings
        self.sampler = EpochListener(settings.inner_sampler, self.set_epoch)
        self.inner_sampler = settings.inner_sampler
        self.growing_sizes = growing = settings.growing_sizes
        self.seed, self.drop_last = settings.seed, settings.drop_last
        self.landscape = settings.landscape
        self.max_epochs, self.max_iters = settings.max_epochs, settings.max_iters
        self.batch_size, self.base_size = growing.batch_size, growing.base_size
        self.sizes, self.batch_sizes = growing.sizes, growing.batch_sizes
        self.curriculum = growing.curriculum
        self._planner = replace(self._planner, settings=settings)
        if self._stream is not None:
            self._stream.settings = settings

    def set_curriculum(
        self,
        curriculum: ResolutionCurriculum,
        max_epochs: Optional[int] = None,
        max_iters: Optional[int] = None,
    ) -> None:
        """Let the sizes grow over a training.

        Give exactly one of ``max_epochs`` and ``max_iters``.

        Args:
            curriculum: How they grow.
            max_epochs: Epochs of the training, for a loop that counts epochs.
                Defaults to ``None``.
            max_iters: Iterations of the training, for a loop that counts these.
                Defaults to ``None``.

        Raises:
            ValueError: Both or none are given, the inner sampler has no end and
                ``max_iters`` is missing, or the curriculum does not fit the sizes.
        """
        if (max_epochs is None) == (max_iters is None):
            raise ValueError(
                "one of max_epochs and max_iters must be given, but got "
                f"max_epochs={max_epochs!r}, max_iters={max_iters!r}"
            )
        if self.endless and max_iters is None:
            raise ValueError(
                f"{_text_of_endless(self.inner_sampler)}; in code: max_iters must be "
                f"given, but got max_epochs={max_epochs}"
            )
        for name, value in (("max_epochs", max_epochs), ("max_iters", max_iters)):
            if value is not None:
                parse_int(value, name)
        # A copy, so that a refused curriculum leaves no trace.
        growing = copy.copy(self.growing_sizes)
        growing.set_curriculum(curriculum)
        settings = replace(
            self._settings,
            growing_sizes=growing,
            max_epochs=max_epochs,
            max_iters=max_iters,
        )
        check_inner_sampler(settings)
        if self._stream is not None and not self._stream.can_rewind:
            settings = from_the_first_index(settings)  # workers have drawn far ahead
        self._use(settings)

    def sizes_at(self, fraction: float) -> Tuple[Size, ...]:
        """Return what is drawn from after a fraction of the training, 0 to 1."""
        return self.growing_sizes.distribution(fraction).sizes

    def sizes_of_epoch(self, epoch: int) -> Tuple[Size, ...]:
        """Return all resolutions drawn from in an epoch."""
        return self._epochs.sizes_of(epoch)

    def sizes_of_iteration(self, iteration: int) -> Tuple[Size, ...]:
        """Return the resolutions drawn from around an iteration of the training.

        Those of its epoch, where the inner sampler has epochs.
        """
        if self._stream is not None:
            return self.sizes_at(self._stream.fraction(iteration))
        return self.sizes_of_epoch(self.epoch_of(iteration))

    def explain_curriculum(self) -> Optional[str]:
        """Explain which setting of the curriculum has no effect in this training.

        Returns:
            The values and what to set; ``None`` where the sizes grow as they should,
            or where there is no curriculum.
        """
        curriculum = self.curriculum
        if curriculum is None:
            return None
        by_epoch = curriculum.by_epoch and not self.endless
        fractions = self.lookup_fractions()
        return explain_without_effect(curriculum, self.sizes_at, fractions, by_epoch)

    def lookup_fractions(self) -> List[float]:
        """Return the fractions of the training at which its sizes are looked up.

        Of very many within epochs about 4,096, evenly spaced. Without a curriculum
        only the first, 0.
        """
        curriculum = self.curriculum
        if curriculum is None:
            return [0.0]
        if curriculum.by_epoch and not self.endless:
            return self._planner.epoch_fractions()
        if self.max_epochs is not None:
            return even_fractions(self.max_epochs * self._planner.lookups())
        assert self.max_iters is not None
        return even_fractions(self.max_iters)

    # Saving and resuming

    def state_dict(self) -> Dict[str, Any]:
        """Return where the sampler stands: after the batches that it has given.

        With workers, these are more than the training has taken; the hook saves the
        place of the training, :meth:`state_at`.
        """
        if self._stream is not None:
            return self.state_at(self._stream.iteration)
        epoch, position = self._next
        if self.epoch != epoch:
            epoch, position = self.epoch, self._start_of(self.epoch)
        position += self._planner.iterations_done_elsewhere(epoch)
        return self.state_at(self._planner.iterations_before(epoch) + position, epoch)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where a saved sampler stood, see :meth:`resume`.

        Iterating gives the remaining batches of its epoch until :meth:`set_epoch` names
        another one, as MMEngine does for every epoch.

        Args:
            state: From :meth:`state_dict` or :meth:`state_at`.

        Raises:
            ValueError: The remaining images are not known in the current settings.
        """
        if self._stream is not None and "iteration" not in state:
            raise ValueError(
                "state must hold 'iteration', but it was saved by an earlier version; "
                "call resume(iteration, state=state)"
            )
        self.resume(state.get("iteration", 0), state.get("epoch"), state)
        if self._stream is None:
            self.set_epoch(self._begin[0])

    def state_at(self, iteration: int, epoch: Optional[int] = None) -> Dict[str, Any]:
        """Return where a training stands, for its checkpoint: plain numbers and text.

        Args:
            iteration: Iterations that are done, over the training.
            epoch: Epoch that they are done in. Defaults to the one that ``iteration``
                lies in.
        """
        if self._stream is not None:
            return stream_state(self._stream, iteration)
        return epoch_state(self._planner, iteration, epoch)

    def resume(
        self,
        iteration: int,
        epoch: Optional[int] = None,
        state: Optional[Mapping[str, Any]] = None,
    ) -> int:
        """Continue where an interrupted training stood.

        With unchanged settings the batches are those that would have followed. With
        other ranks or batch sizes the remaining images of the epoch are planned again:
        no image is left out, and none is used twice except those that fill up equal
        shares.

        Args:
            iteration: Iterations that are done, over the training.
            epoch: Epoch that the training stands in, where the loop counts epochs:
                the iterations are then counted as if all had been run in the current
                settings. ``None``: the loop counts iterations, and these stay.
            state: :meth:`state_at` of the checkpoint. ``None``: the current settings
                were those of the interrupted training.

        Returns:
            The iterations that are done, as they are counted from here on.

        Raises:
            ValueError: The remaining images are not known in these settings.
        """
        parse_int(iteration, "iteration", minimum=0)
        if state is not None:
            self._use(with_seeds_of(self._settings, state))
        if self._stream is not None:
            resumed_before = self._stream.start != (0, 0)
            if iteration or resumed_before:  # else workers may have drawn ahead already
                images = images_before(self._stream, iteration, state)
                if resumed_before or not self._stream.can_rewind:
                    self._use(from_the_first_index(self._settings))
                self._stream.start_at(iteration, images)
            return iteration
        resumed = resume_epoch(self._planner, iteration, epoch, state)
        self._planner = resumed.planner
        self._begin = self._next = (resumed.epoch, resumed.position)
        return resumed.iterations

    def changes_since(self, state: Mapping[str, Any]) -> List[str]:
        """Name the settings that differ from a checkpoint's and change the plans.

        Args:
            state: :meth:`state_at` of the checkpoint. One of an earlier version tells
                the world size and the number of samples only.

        Returns:
            One text for each, such as ``'max_epochs is 6 (was 3)'``.
        """
        return changes_since(self._settings, state)

    def common_to_ranks(self) -> Dict[str, Any]:
        """Return what must be equal on all ranks: the seed, the settings and the plan.

        Returns:
            Values by name, as ``num_samples`` and ``batch_size``; of the plan of the
            epoch that the training begins or continues in, a digest.
        """
        planner = self._planner if self._stream is None else None
        return common_to_ranks(self._settings, planner)

    # Planning

    def set_epoch(self, epoch: int) -> None:
        """Set the current epoch, of the inner sampler too."""
        self.epoch = parse_int(epoch, "epoch", minimum=0)
        if hasattr(self.inner_sampler, "set_epoch"):
            self.inner_sampler.set_epoch(epoch)

    def plan(self, epoch: int) -> List[Tuple[int, int, int]]:
        """Return ``(height, width, batch_size)`` of this rank's batches in an epoch.

        A pure function of the seed, the epoch, the curriculum and the number of
        samples; sizes and length are those of every rank. Of an epoch that was
        started in other settings (:meth:`resume`), the remaining batches.

        Raises:
            ValueError: The inner sampler has no end; call :meth:`plan_iterations`.
        """
        planner = self._epochs
        return planner.plan(parse_int(epoch, "epoch", minimum=0)).to_list()

    def plan_iterations(self, start: int, stop: int) -> List[Tuple[int, int, int]]:
        """Return ``(height, width, batch_size)`` of iterations over the training.

        Args:
            start: First iteration, from 0, over all epochs.
            stop: The iteration after the last.
        """
        parse_int(start, "start", minimum=0)
        if self._stream is not None:
            return self._stream.plan(start, stop).to_list()
        return self._planner.plan_iterations(start, stop)

    def batch_at(self, epoch: int, position: int) -> Tuple[int, int, int]:
        """Return ``(height, width, batch_size)`` of one batch of an epoch.

        Raises:
            IndexError: The epoch has no such batch. Of an epoch that was started in
                other settings (:meth:`resume`), only the remaining batches are known.
        """
        planner = self._epochs
        return planner.plan(epoch).at(
            position - planner.iterations_done_elsewhere(epoch)
        )

    def shared_batch_size(self, epoch: int, position: int) -> int:
        """Return the images per rank of one batch of an epoch, the same on all ranks.

        Where ranks have unequal shares or group images by their aspect ratio, some
        cut the batch to the images that they have: :meth:`batch_at`.
        """
        return self._epochs.shared_batch_size(epoch, position)

    def batch_at_iteration(self, iteration: int) -> Tuple[int, int, int]:
        """Return ``(height, width, batch_size)`` of an iteration over the training.

        Raises:
            IndexError: As of :meth:`batch_at`.
        """
        if self.endless:
            return self.plan_iterations(iteration, iteration + 1)[0]
        epoch = self.epoch_of(iteration)
        return self.batch_at(epoch, iteration - self.iterations_before(epoch))

    def total_batches(self, max_epochs: int) -> int:
        """Return the exact iterations of a training of ``max_epochs`` epochs."""
        return self.iterations_before(parse_int(max_epochs, "max_epochs", minimum=0))

    def iterations_before(self, epoch: int) -> int:
        """Return the iterations of all epochs before ``epoch``."""
        return self._epochs.iterations_before(epoch)

    def epoch_of(self, iteration: int) -> int:
        """Return the epoch that an iteration counted over the training lies in."""
        return self._epochs.epoch_of(iteration)

    def __len__(self) -> int:
        """Return the number of batches of the current epoch.

        Where the inner sampler has no end: about those of one pass over the dataset, as
        in MMEngine's own batch samplers.
        """
        if self._stream is not None:
            return self._stream.batches_of_a_pass()
        return self._planner.length(self.epoch)

    def __iter__(self) -> Iterator[List[SizedIndex]]:
        if self._stream is not None:
            yield from self._stream
            return
        epoch, planner = self.epoch, self._planner
        plan, groups = planner.planned(epoch)
        start = self._start_of(epoch)
        used = planner.used_before(epoch)
        if groups is None:
            skip = int(plan.batch_sizes[:start].sum())
            shares = self._settings.shares
            sources = [remaining_indices(self.inner_sampler, shares, used, skip)]
            of_batches = np.zeros(len(plan), dtype=np.int64)
        else:
            of_batches = groups.of_batches
            sources = groups.sources(plan, start)
        seed_of_epoch = self._settings.seed_on_rank(epoch, used)
        for position in range(start, len(plan)):
            height, width, batch_size = plan.at(position)
            indices = itertools.islice(sources[of_batches[position]], batch_size)
            seed = mixed_seed(position, begin=seed_of_epoch)
            batch = sized_batch(indices, (height, width), seed)
            if len(batch) < batch_size:
                raise too_few_indices(self.inner_sampler)
            self._next = (epoch, position + 1)
            yield batch

    def _start_of(self, epoch: int) -> int:
        """Return the position in the epoch's plan that iterating starts from."""
        return self._begin[1] if epoch == self._begin[0] else 0

    def _indices_of(self, epoch: int) -> np.ndarray:
        return indices_of_epoch(self.inner_sampler, epoch, self.epoch)

    @property
    def _epochs(self) -> EpochPlanner:
        """Return the planner, where there are epochs to plan."""
        if self.endless:
            raise ValueError(
                f"{_text_of_endless(self.inner_sampler)}; in code: plan_iterations()"
            )
        return self._planner

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(batch_size={self.batch_size}, "
            f"base_size={self.base_size}, sizes={list(self.sizes)}, "
            f"batch_sizes={list(self.batch_sizes)}, "
            f"weights={list(self.growing_sizes.weights)}, drop_last={self.drop_last}, "
            f"group_by_aspect_ratio={self.landscape is not None}, seed={self.seed})"
        )


def _text_of_endless(sampler: Any) -> str:
    """Explain that a sampler without an end has no epochs."""
    return (
        "sampler must have an end in a training that counts epochs, but got "
        f"{type(sampler).__name__}: set train_dataloader.sampler="
        "dict(type='DefaultSampler', shuffle=True), or count iterations with "
        "train_cfg=dict(by_epoch=False, max_iters=...)"
    )
