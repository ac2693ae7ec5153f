"""The batch sampler: one resolution a batch, as many images as its pixels allow."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from functools import lru_cache
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
)

import numpy as np
from mmengine.dist import sync_random_seed
from mmengine.logging import MessageHub
from mmengine.registry import DATA_SAMPLERS

from ..randomness import mixed_seed
from .aspect_groups import GroupedStream, deal_batches, landscape_flags, spare_room
from .curriculum import ResolutionCurriculum
from .epoch_rest import EpochRest, plan_digest, used_on_rank
from .inner_sampler import (
    EndlessStream,
    EpochSampler,
    check_dataset,
    deals_in_turn,
    indices_from,
    is_endless,
    pads_shares,
    rank_and_world_size,
    samples_over_ranks,
    total_samples,
    with_seed,
)
from .plan import (
    STREAM_BLOCK,
    Plan,
    count_iterations,
    cut_batches,
    epoch_generator,
    plan_epoch,
    plan_stream,
    share_iterations,
)
from .size_schedule import SizeSchedule
from .sized_index import SizedIndex, sized_batch
from .sizes import Size, SizeDistribution, parse_int

# How often a curriculum within the epoch looks up its sizes in one epoch, at most.
LOOKS_PER_EPOCH = 256


class _Groups(NamedTuple):
    """Which kind of images each batch of an epoch has, and these, in order."""

    of_batches: np.ndarray
    indices: Tuple[np.ndarray, np.ndarray]


@DATA_SAMPLERS.register_module()
class MultiScaleVariableBatchSampler:
    r"""Batches of one resolution each, drawn anew for every iteration (MSc-VBS).

    At each iteration one resolution :math:`(H_t, W_t)` is drawn from ``sizes``, the
    same on every rank, and the batch has
    :math:`\max(1, \lfloor B H W / (H_t W_t) \rfloor)` images, so that an iteration
    costs about the same at every resolution. With ``cost_model`` an image's cost takes
    the place of its pixels in that budget. An epoch gives each index of the inner
    sampler exactly once; its last batch is cut to what is left.

    The draws depend on the seed and the epoch alone, not on any global generator, and
    need no communication. Without a curriculum every epoch has as many iterations as
    every other. The iterations of an epoch share out among the sizes by ``weights`` as
    evenly as they can be; their order is random.

    It yields lists of :class:`SizedIndex`; wrap the data set in
    :class:`MultiScaleDataset` to get the size into the pipeline.

    Source: arXiv 2309.04502, section 3; arXiv 2110.02178 (MobileViT), section 3.3.

    Args:
        sampler: The inner sampler: gives the indices of this rank. Built by MMEngine
            from ``train_dataloader.sampler``.
        batch_size: Images per rank at ``base_size``. Given by MMEngine from
            ``train_dataloader.batch_size``.
        base_size: Side in pixels, or ``(height, width)``, whose pixels times
            ``batch_size`` are the budget of a batch. ``None``: the largest of
            ``sizes``.
        sizes: Resolutions, sides in pixels or ``(height, width)``, or a range
            ``dict(min=128, max=320, num=7, divisor=32)``. ``None``: ``base_size``
            alone, the fixed-size baseline (SSc-FBS).
        weights: Relative frequency of each size, by iterations. Defaults to uniform.
        batch_sizes: Images per rank at each size, in place of the pixel budget.
        variable_batch: ``False`` gives every size ``batch_size`` images (MSc-FBS).
        group_by_aspect_ratio: Portrait and landscape images never share a batch; the
            data set's ``get_data_info`` gives their ``width`` and ``height``. The
            last batches of each kind are smaller for it: on each rank, all batches of
            an epoch together lack fewer images than two of the largest hold.
        drop_last: Leave out the images that do not fill a last batch. The sizes are
            then chosen so that these are few: fewer than one batch
            (than two, with ``group_by_aspect_ratio``).
        seed: Seed of the draws, the same on every rank. Defaults to the inner
            sampler's, else to one shared through MMEngine.
        cost_model: ``dict(alpha=1.0, beta=0.0)``: an image costs ``alpha * height *
            width + beta``, and a batch has :math:`\max(1, \lfloor B (\alpha H W +
            \beta) / (\alpha H_t W_t + \beta) \rfloor)` images, exactly. For models
            of which a part, such as RoI heads, costs the same for an image of any
            size. ``None``: the pixel budget, which is ``beta=0``.

    Raises:
        ValueError: An argument that cannot be; see the message.
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
        self.schedule = SizeSchedule(
            batch_size,
            base_size,
            sizes,
            weights,
            batch_sizes,
            variable_batch,
            cost_model,
        )
        self.drop_last = bool(drop_last)
        self.inner_sampler = sampler
        self.sampler = EpochSampler(sampler, self.set_epoch)
        self.endless = is_endless(sampler)
        dataset = getattr(sampler, "dataset", None)
        check_dataset(dataset)
        self._landscape: Optional[np.ndarray] = None
        if group_by_aspect_ratio:
            self._landscape = landscape_flags(dataset)
        if seed is None:
            seed = getattr(sampler, "seed", None)
        if seed is None:
            seed = sync_random_seed()
        self.seed = parse_int(seed, "seed", minimum=0)
        self.epoch = 0
        self.max_epochs: Optional[int] = None
        self.max_iters: Optional[int] = None
        self._stream = EndlessStream(sampler)
        self._iteration = 0
        self._hub = _unused_message_hub()
        self._resume_at(EpochRest(0, 0), 0)
        self._check_epoch_is_not_empty()

    @property
    def batch_size(self) -> int:
        """Images per rank at the base size."""
        return self.schedule.batch_size

    @property
    def base_size(self) -> Size:
        """``(height, width)`` in pixels, whose batch sets the budget of every batch."""
        return self.schedule.base_size

    @property
    def sizes(self) -> Tuple[Size, ...]:
        """The resolutions, ``(height, width)`` in pixels, in the order given."""
        return self.schedule.sizes

    @property
    def batch_sizes(self) -> Tuple[int, ...]:
        """Images of a full batch at each of ``sizes``, per rank."""
        return self.schedule.batch_sizes

    @property
    def curriculum(self) -> Optional[ResolutionCurriculum]:
        """How the sizes grow; ``None``: not at all."""
        return self.schedule.curriculum

    def set_curriculum(
        self,
        curriculum: ResolutionCurriculum,
        max_epochs: Optional[int] = None,
        max_iters: Optional[int] = None,
    ) -> None:
        """Let the sizes grow over a training.

        Args:
            curriculum: How they grow.
            max_epochs: Epochs of the whole training, of which the curriculum's
                fractions are; or
            max_iters: its iterations, where the training is counted in these.
        """
        if (max_epochs is None) == (max_iters is None):
            raise ValueError(
                "one of max_epochs and max_iters must be given, but got "
                f"max_epochs={max_epochs!r}, max_iters={max_iters!r}"
            )
        if self.endless and max_iters is None:
            raise ValueError(
                f"max_iters must be given: {type(self.inner_sampler).__name__} has no "
                f"end, so there are no epochs to count, but got max_epochs={max_epochs}"
            )
        for name, value in (("max_epochs", max_epochs), ("max_iters", max_iters)):
            if value is not None:
                parse_int(value, name)
        self.schedule.set_curriculum(curriculum)
        self.max_epochs, self.max_iters = max_epochs, max_iters
        self._forget_plans()
        self._check_epoch_is_not_empty()

    def sizes_at(self, fraction: float) -> Tuple[Size, ...]:
        """The resolutions drawn from after a fraction of the training, 0 to 1."""
        return self.schedule.distribution(fraction).sizes

    def sizes_of_epoch(self, epoch: int) -> Tuple[Size, ...]:
        """The resolutions drawn from in an epoch, all of it."""
        self._require_epochs()
        return self._drawn_in(epoch)

    def _collect_sizes(self, epoch: int) -> Tuple[Size, ...]:
        looks = self._looks(self._room())
        drawn: Dict[Size, None] = {}
        for look in range(looks):
            fraction = self._fraction(epoch, look / looks)
            drawn.update(dict.fromkeys(self.sizes_at(fraction)))
        return tuple(drawn)

    def sizes_of_iteration(self, iteration: int) -> Tuple[Size, ...]:
        """The resolutions drawn from around an iteration counted over the training.

        Those of its epoch, where the inner sampler has epochs.
        """
        if not self.endless:
            return self.sizes_of_epoch(self.epoch_of(iteration))
        return self.sizes_at(self._fraction_of_iteration(iteration))

    # Resuming

    def state_at(self, iteration: int, epoch: Optional[int] = None) -> Dict[str, Any]:
        """Where a training stands, for its checkpoint: plain numbers and text.

        Args:
            iteration: Iterations that are done, over the training.
            epoch: Epoch that they are done in. ``None``: the one that ``iteration``
                lies in.
        """
        _, world_size = rank_and_world_size(self.inner_sampler)
        state: Dict[str, Any] = dict(
            seed=self.seed,
            sampler_seed=getattr(self.inner_sampler, "seed", None),
            world_size=world_size,
            num_samples=self._num_samples(),
            first_epoch=list(self._first_epoch),
        )
        if self.endless:
            return dict(state, images=self._images_before(iteration))
        if epoch is None:
            epoch = self.epoch_of(iteration)
        position = iteration - self.iterations_before(epoch) - self._gap(epoch)
        state.update(epoch=epoch, position=max(position, 0))
        if position > 0:
            begun = self._used_before(epoch)
            plan = self._plan_all_ranks(epoch, begun)
            used = begun + world_size * int(plan.batch_sizes[:position].sum())
            state.update(begun=begun, images=used, plan=plan_digest(plan))
        return state

    def resume(
        self,
        iteration: int,
        epoch: Optional[int] = None,
        state: Optional[Mapping[str, Any]] = None,
    ) -> int:
        """Go on where an interrupted training stood.

        In its own settings the same batches follow that would have followed. With
        other ranks or batches the rest of the epoch is planned anew: no image is left
        out, none comes again but those that fill up equal shares.

        Args:
            iteration: Iterations that are done, over the training.
            epoch: Epoch that the training stands in, where the loop counts epochs:
                the iterations are then counted as if all had been made in today's
                settings. ``None``: the loop counts iterations, and these stay.
            state: :meth:`state_at` of the checkpoint. ``None``: today's settings were
                those of the interrupted training.

        Returns:
            The iterations that are done, as they are counted from here on.

        Raises:
            ValueError: The rest of the epoch cannot be told in these settings.
        """
        parse_int(iteration, "iteration", minimum=0)
        self._hub = None
        if state is not None:
            self._take_seeds(state)
        if self.endless:
            self._resume_stream(iteration, state)
            return iteration
        if state is None:
            reached = self.epoch_of(iteration) if epoch is None else epoch
            position = iteration - self.iterations_before(reached)
            length = self._length(reached)
            if not 0 <= position <= length:
                raise ValueError(
                    f"the checkpoint must stand within epoch {reached}, of iterations "
                    f"{iteration - position} to {iteration - position + length} in "
                    f"these settings, but it stands at {iteration}: resume with the "
                    "world size and batch size that it was saved with, or from a "
                    "checkpoint of an epoch's end"
                )
            self._resume_at(EpochRest(reached, 0), position)
            return iteration
        rest, position = self._rest_of(state)
        self._resume_at(rest, position)
        if epoch is None:
            # From here on epochs are counted from this one.
            self._first_epoch = (rest.epoch, iteration)
            done = self._gap(rest.epoch) + position
            self._first_epoch = (rest.epoch, iteration - done)
            self._forget_plans()
            return iteration
        return self.iterations_before(rest.epoch) + self._gap(rest.epoch) + position

    def _resume_at(self, rest: EpochRest, position: int) -> None:
        self._rest, self._position = rest, position
        self._first_epoch = (0, 0)
        self._stream_start = (0, 0)
        self._forget_plans()

    def _take_seeds(self, state: Mapping[str, Any]) -> None:
        """The order of the images is that of the seed the training began with."""
        self.seed = state["seed"]
        if getattr(self.inner_sampler, "seed", None) != state["sampler_seed"]:
            self.inner_sampler = with_seed(self.inner_sampler, state["sampler_seed"])
            self.sampler = EpochSampler(self.inner_sampler, self.set_epoch)
            self._stream = EndlessStream(self.inner_sampler)
        self._forget_plans()

    def _rest_of(self, state: Mapping[str, Any]) -> Tuple[EpochRest, int]:
        """The epoch of a checkpoint and the position in its plan."""
        epoch, position = state["epoch"], state["position"]
        if position == 0:
            return EpochRest(epoch, 0), 0
        _, world_size = rank_and_world_size(self.inner_sampler)
        if state["num_samples"] != self._num_samples():
            raise ValueError(
                "a checkpoint from within an epoch needs the data set that it was "
                f"saved with, of {state['num_samples']} samples, but got one of "
                f"{self._num_samples()}; resume from a checkpoint of an epoch's end"
            )
        self._resume_at(EpochRest(epoch, state["begun"]), position)
        self._first_epoch = (state["first_epoch"][0], state["first_epoch"][1])
        self._forget_plans()
        digest = plan_digest(self._plan_all_ranks(epoch, state["begun"]))
        if state["world_size"] == world_size and state["plan"] == digest:
            return self._rest, position
        self._check_can_replan(state)
        return EpochRest(epoch, state["images"]), 0

    def _check_can_replan(self, state: Mapping[str, Any]) -> None:
        _, world_size = rank_and_world_size(self.inner_sampler)
        remedy = (
            "resume with the world size, batch size and sizes that it was saved with "
            f"(world size {state['world_size']}, here {world_size}), or from a "
            "checkpoint of an epoch's end"
        )
        if self._landscape is not None:
            raise ValueError(
                "group_by_aspect_ratio=True needs the batches that the epoch was begun "
                "with, since portrait and landscape images are not used up in the "
                f"sampler's order: {remedy}"
            )
        if not deals_in_turn(self.inner_sampler):
            raise ValueError(
                "sampler must be one that deals images to the ranks in turn, such as "
                "DefaultSampler, for the rest of an epoch to be planned anew, but got "
                f"{type(self.inner_sampler).__name__}: {remedy}"
            )

    def _resume_stream(self, iteration: int, state: Optional[Mapping]) -> None:
        if iteration == 0:  # workers may have drawn ahead already
            return
        rank, world_size = rank_and_world_size(self.inner_sampler)
        self._resume_at(EpochRest(0, 0), 0)
        natural = self._images_before(iteration)
        images = natural if state is None else state["images"]
        alike = state is None or state["world_size"] == world_size
        if state is not None and (images != natural or not alike):
            if state["num_samples"] != self._num_samples():
                raise ValueError(
                    "a checkpoint of a stream of images needs the data set that it was "
                    f"saved with, of {state['num_samples']} samples, but got one of "
                    f"{self._num_samples()}"
                )
            self._check_can_replan(state)
        if not self._stream.begins_anew:
            self.inner_sampler = with_seed(
                self.inner_sampler, getattr(self.inner_sampler, "seed", None)
            )
            self._stream = EndlessStream(self.inner_sampler)
        self._stream_start = (iteration, images)
        self._iteration = iteration
        if self._landscape is None:
            self._stream.skip(used_on_rank(images, rank, world_size))

    def _images_before(self, iteration: int) -> int:
        """Images of an endless stream before an iteration, of all ranks."""
        _, world_size = rank_and_world_size(self.inner_sampler)
        start, images = self._stream_start
        batch_sizes = self._plan_stream(start, iteration).batch_sizes
        return images + world_size * int(batch_sizes.sum())

    def _num_samples(self) -> int:
        dataset = getattr(self.inner_sampler, "dataset", None)
        return len(self.inner_sampler if dataset is None else dataset)

    def _used_before(self, epoch: int) -> int:
        """Images of an epoch, of all ranks, that its plan leaves out as used."""
        return self._rest.images if epoch == self._rest.epoch else 0

    def _gap(self, epoch: int) -> int:
        """Iterations that count for the part of an epoch that was done otherwise."""
        if not self._used_before(epoch):
            return 0
        return self._length(epoch) - len(self._planned(epoch)[0])

    def _start_in(self, epoch: int) -> int:
        """The position in the epoch's plan from which on it is iterated."""
        hub, self._hub = self._hub, None
        if hub is not None and "iter" in hub.runtime_info:
            # Resumed without a hook of ours: as the runner counts.
            reached, done = hub.get_info("epoch"), hub.get_info("iter")
            position = done - self.iterations_before(epoch)
            # Loops that count iterations say one epoch, and leave out batches by
            # themselves.
            by_epoch = hub.get_info("max_epochs") > 1
            if by_epoch and reached == epoch and 0 < position <= self._length(epoch):
                self._rest, self._position = EpochRest(epoch, 0), position
        return self._position if epoch == self._rest.epoch else 0

    # The plan

    def set_epoch(self, epoch: int) -> None:
        """Go to an epoch, the inner sampler with it."""
        self.epoch = parse_int(epoch, "epoch", minimum=0)
        if hasattr(self.inner_sampler, "set_epoch"):
            self.inner_sampler.set_epoch(epoch)

    def plan(self, epoch: int) -> List[Tuple[int, int, int]]:
        """``(height, width, batch_size)`` of every batch of this rank in an epoch.

        A pure function of the seed, the epoch, the curriculum and the number of
        samples; sizes and length are those of every rank. Of an epoch that was begun
        in other settings (:meth:`resume`), the batches that are left.

        Raises:
            ValueError: The inner sampler has no end; ask :meth:`plan_iterations`.
        """
        self._require_epochs()
        return self._planned(parse_int(epoch, "epoch", minimum=0))[0].to_list()

    def plan_iterations(self, start: int, stop: int) -> List[Tuple[int, int, int]]:
        """``(height, width, batch_size)`` of iterations counted over the training.

        Args:
            start: First iteration, from 0 on, over all epochs.
            stop: The iteration after the last.
        """
        parse_int(start, "start", minimum=0)
        if self.endless:
            return self._plan_stream(start, stop).to_list()
        planned: List[Tuple[int, int, int]] = []
        epoch = self.epoch_of(start)
        first = self.iterations_before(epoch)
        while first < stop:
            length = self._length(epoch)
            if first + length > start:
                begin = first + self._gap(epoch)
                batches = self.plan(epoch)
                planned += batches[max(start - begin, 0) : max(stop - begin, 0)]
            first += length
            epoch += 1
        return planned

    def batch_at(self, epoch: int, position: int) -> Tuple[int, int, int]:
        """``(height, width, batch_size)`` of one batch of an epoch."""
        return self._planned(epoch)[0].at(position - self._gap(epoch))

    def batch_at_iteration(self, iteration: int) -> Tuple[int, int, int]:
        """``(height, width, batch_size)`` of an iteration counted over the training."""
        if self.endless:
            return self.plan_iterations(iteration, iteration + 1)[0]
        epoch = self.epoch_of(iteration)
        return self.batch_at(epoch, iteration - self.iterations_before(epoch))

    def total_batches(self, max_epochs: int) -> int:
        """The exact number of iterations of a training of ``max_epochs`` epochs."""
        return self.iterations_before(parse_int(max_epochs, "max_epochs", minimum=0))

    def iterations_before(self, epoch: int) -> int:
        """Iterations of all epochs before ``epoch``."""
        self._require_epochs()
        first, start = self._first_epoch
        if epoch < first:
            return start * epoch // first
        if self.curriculum is None and not self._rest.images:
            return start + (epoch - first) * self._length(first)
        while len(self._epoch_starts) <= epoch - first:
            last = first + len(self._epoch_starts) - 1
            self._epoch_starts.append(self._epoch_starts[-1] + self._length(last))
        return self._epoch_starts[epoch - first]

    def __len__(self) -> int:
        """Batches of the current epoch.

        Where the inner sampler has no end: of one pass over the data set, about, as
        MMEngine's own batch samplers say it.
        """
        if self.endless:
            mean = self.schedule.distribution(1.0).mean_batch_size
            return max(1, math.ceil(len(self.inner_sampler) / mean))
        return self._length(self.epoch)

    def __iter__(self) -> Iterator[List[SizedIndex]]:
        if self.endless:
            return self._iterate_stream()
        return self._iterate_epoch()

    def _iterate_epoch(self) -> Iterator[List[SizedIndex]]:
        plan, groups = self._planned(self.epoch)
        start = self._start_in(self.epoch)
        used = self._used_before(self.epoch)
        if groups is None:
            sources = [self._own_indices(used, int(plan.batch_sizes[:start].sum()))]
            of_batches = np.zeros(len(plan), dtype=np.int64)
        else:
            of_batches = groups.of_batches
            sources = []
            for group, kind in enumerate(groups.indices):
                own = of_batches[:start] == group
                skip = int(plan.batch_sizes[:start][own].sum())
                sources.append(iter(kind[skip:].tolist()))
        for position in range(start, len(plan)):
            height, width, batch_size = plan.at(position)
            indices = itertools.islice(sources[of_batches[position]], batch_size)
            seed = mixed_seed(self.seed, self.epoch, used, position)
            batch = sized_batch(indices, (height, width), seed)
            if len(batch) < batch_size:
                raise self._ended_before()
            yield batch

    def _own_indices(self, used: int, skip: int) -> Iterator[int]:
        """This rank's indices of the epoch, without those that were used before."""
        rank, world_size = rank_and_world_size(self.inner_sampler)
        yield from indices_from(
            self.inner_sampler, used_on_rank(used, rank, world_size) + skip
        )
        if used:
            # Shares are equal: a rank with one image fewer gets one a second time.
            yield from indices_from(self.inner_sampler, 0)

    def _iterate_stream(self) -> Iterator[List[SizedIndex]]:
        if self._stream.begins_anew:
            self._iteration = self._stream_start[0]
        indices = iter(self._stream)
        grouped = None
        if self._landscape is not None:
            grouped = GroupedStream(indices, self._landscape)
            before = self._iteration if self._stream.begins_anew else 0
            for size in self._plan_stream(0, before).batch_sizes.tolist():
                grouped.take(size)
        planned, plan = self._iteration, Plan((), np.empty(0), np.empty(0))
        while True:
            if self._iteration >= planned + len(plan):
                planned = self._iteration
                plan = self._plan_stream(planned, planned + STREAM_BLOCK)
            height, width, batch_size = plan.at(self._iteration - planned)
            taken: Iterable[int] = itertools.islice(indices, batch_size)
            if grouped is not None:
                taken = grouped.take(batch_size)
            seed = mixed_seed(self.seed, self._iteration)
            batch = sized_batch(taken, (height, width), seed)
            if not batch:
                return
            self._iteration += 1
            yield batch

    def _plan_stream(self, start: int, stop: int) -> Plan:
        def distribution_at(iteration: int) -> SizeDistribution:
            return self.schedule.distribution(self._fraction_of_iteration(iteration))

        return plan_stream(start, stop, distribution_at, self.seed)

    def _require_epochs(self) -> None:
        if self.endless:
            raise ValueError(
                f"sampler must have an end to be planned by epoch, but got "
                f"{type(self.inner_sampler).__name__}; ask plan_iterations(start, stop)"
            )

    def _forget_plans(self) -> None:
        self._length: Callable[[int], int]
        self._epoch_starts = [self._first_epoch[1]]
        self._owed: Dict[int, np.ndarray] = {}
        # One epoch is walked while the next is planned.
        self._planned = lru_cache(maxsize=2)(self._plan_rank)
        self._drawn_in = lru_cache(maxsize=2)(self._collect_sizes)
        self._length = lru_cache(maxsize=None)(self._count_epoch)

    def __getstate__(self) -> dict:
        dropped = ("_planned", "_drawn_in", "_length")
        kept = {k: v for k, v in self.__dict__.items() if k not in dropped}
        return dict(kept, _hub=None)

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._forget_plans()

    def _plan_rank(self, epoch: int) -> Tuple[Plan, Optional[_Groups]]:
        """The plan of an epoch with this rank's batch sizes."""
        plan = self._plan_all_ranks(epoch, self._used_before(epoch))
        if self._landscape is not None:
            return self._group(plan, epoch)
        planned = int(plan.batch_sizes.sum())
        num_samples = self._own_samples(epoch)
        if self.drop_last or planned == num_samples:
            return plan, None
        # A rank with one sample fewer keeps in step: its last batch is smaller.
        cut = cut_batches(plan.batch_sizes, planned - num_samples)
        return replace(plan, batch_sizes=cut), None

    def _plan_all_ranks(self, epoch: int, used: int) -> Plan:
        """The plan of an epoch without its first ``used`` images, for every rank."""
        self._require_epochs()
        room = self._room(used)
        looks = self._looks(room)
        passed = used / total_samples(self.inner_sampler)
        plan = plan_epoch(
            room,
            lambda part: self.schedule.distribution(
                self._fraction(epoch, passed + (1.0 - passed) * part)
            ),
            epoch_generator(self.seed, epoch, used),
            drop_last=self.drop_last,
            looks=looks,
            owed=self._owed_before(epoch) if looks == 1 and not used else None,
        )
        most, fewest = samples_over_ranks(self.inner_sampler, used)
        if used and not self.drop_last and len(plan) > fewest:
            raise ValueError(
                f"the rest of epoch {epoch} must have an image for every rank in each "
                f"of {len(plan)} batches, but some ranks have {most} images left and "
                f"some {fewest}; set round_up=True of the sampler, or resume from a "
                "checkpoint of an epoch's end"
            )
        return plan

    def _owed_before(self, epoch: int) -> Optional[np.ndarray]:
        """Iterations that sizes are owed by the epochs before with the same sizes."""

        def distribution_of(epoch: int) -> SizeDistribution:
            return self.schedule.distribution(self._fraction(epoch, 0.0))

        distribution = distribution_of(epoch)
        first = epoch
        while (
            first > 0
            and first not in self._owed
            and distribution_of(first - 1) == distribution
        ):
            first -= 1
        for earlier in range(first, epoch):
            self._owed[earlier + 1] = share_iterations(
                self._room(),
                distribution,
                epoch_generator(self.seed, earlier),
                self.drop_last,
                self._owed.get(earlier),
            )[1]
        return self._owed.get(epoch)

    def _group(self, plan: Plan, epoch: int) -> Tuple[Plan, _Groups]:
        assert self._landscape is not None
        indices = self._indices_of(epoch)
        landscape = self._landscape[indices]
        kinds = (indices[~landscape], indices[landscape])
        of_batches, batch_sizes = deal_batches(
            plan.batch_sizes, [len(kind) for kind in kinds], self.drop_last
        )
        return replace(plan, batch_sizes=batch_sizes), _Groups(of_batches, kinds)

    def _indices_of(self, epoch: int) -> np.ndarray:
        """All indices of the inner sampler in an epoch."""
        set_epoch = getattr(self.inner_sampler, "set_epoch", lambda epoch: None)
        set_epoch(epoch)
        try:
            indices = np.fromiter(self.inner_sampler, dtype=np.int64)
        finally:
            set_epoch(self.epoch)
        if len(indices) != len(self.inner_sampler):
            raise self._ended_before()
        return indices

    def _ended_before(self) -> ValueError:
        return ValueError(
            f"sampler must give as many indices as its length says, "
            f"{len(self.inner_sampler)}, but {type(self.inner_sampler).__name__} "
            "ended before"
        )

    def _own_samples(self, epoch: int) -> int:
        """Images of this rank in an epoch, or in what is left of it."""
        used = self._used_before(epoch)
        if not used:
            return len(self.inner_sampler)
        if pads_shares(self.inner_sampler):
            return samples_over_ranks(self.inner_sampler, used)[0]
        rank, world_size = rank_and_world_size(self.inner_sampler)
        return len(self.inner_sampler) - used_on_rank(used, rank, world_size)

    def _room(self, used: int = 0) -> int:
        """Images per rank that an epoch is planned for, or what is left of it."""
        most, fewest = samples_over_ranks(self.inner_sampler, used)
        spare = 0
        if self._landscape is not None:
            spare = spare_room(self.schedule.largest_batch)
        return max(fewest - spare, 0) if self.drop_last else most + spare

    def _count_epoch(self, epoch: int) -> int:
        """Iterations of an epoch; planned only where counting is not enough."""
        if self._used_before(epoch):
            natural = self._count_natural(epoch)
            return max(natural, len(self._planned(epoch)[0]))
        return self._count_natural(epoch)

    def _count_natural(self, epoch: int) -> int:
        """Iterations of an epoch from its beginning."""
        room = self._room()
        if self._looks(room) > 1:
            return len(self._plan_all_ranks(epoch, 0))
        distribution = self.schedule.distribution(self._fraction(epoch, 0.0))
        return count_iterations(room, distribution, self.drop_last)

    def _looks(self, num_samples: int) -> int:
        if self.curriculum is None or self.curriculum.by_epoch:
            return 1
        return max(1, min(LOOKS_PER_EPOCH, num_samples))

    def _fraction(self, epoch: int, part: float) -> float:
        """Fraction of the training after ``part`` of an epoch."""
        if self.max_epochs is not None:
            return min((epoch + part) / self.max_epochs, 1.0)
        if self.max_iters is None:
            return 1.0
        before: float = self.iterations_before(epoch)
        if part > 0:
            # The epoch's length hangs on what is drawn: take it by its first sizes.
            distribution = self.schedule.distribution(before / self.max_iters)
            before += part * len(self.inner_sampler) / distribution.mean_batch_size
        return min(before / self.max_iters, 1.0)

    def _fraction_of_iteration(self, iteration: int) -> float:
        """Fraction of the training before an iteration of an endless stream."""
        if self.max_iters is None:
            return 1.0
        return min(iteration / self.max_iters, 1.0)

    def epoch_of(self, iteration: int) -> int:
        """The epoch that an iteration counted over the training lies in."""
        epoch, start = self._first_epoch
        if self.curriculum is None and not self._rest.images:
            return max(0, epoch + (iteration - start) // self._length(epoch))
        while self.iterations_before(epoch + 1) <= iteration:
            epoch += 1
        return epoch

    def _check_epoch_is_not_empty(self) -> None:
        if self.endless:
            # Of no images MMEngine's would look for the first index for ever.
            most = fewest = getattr(self.inner_sampler, "__len__", lambda: 1)()
        else:
            most, fewest = samples_over_ranks(self.inner_sampler)
        if most == 0:
            raise ValueError(
                "sampler must give at least one index, but its length is 0"
            )
        if self.endless:
            return
        for distribution in self.schedule.distributions():
            iterations = count_iterations(self._room(), distribution, self.drop_last)
            if not iterations:
                raise ValueError(
                    f"drop_last=True needs a data set of at least one batch per rank, "
                    f"{math.ceil(distribution.mean_batch_size)} images on average over "
                    f"the sizes, but got {fewest}; lower batch_size or set "
                    "drop_last=False"
                )
            if iterations > fewest and self._landscape is not None:
                raise ValueError(
                    f"group_by_aspect_ratio=True needs at least {iterations} images "
                    f"per rank, one for each batch of the epoch, but got {fewest}; "
                    "lower batch_size or set group_by_aspect_ratio=False"
                )
            if iterations > fewest and not self.drop_last:
                raise ValueError(
                    f"sampler must give every rank as many indices when batches hold "
                    f"one image, but some ranks have {most} and some {fewest}; set "
                    "round_up=True of the sampler"
                )

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(batch_size={self.batch_size}, "
            f"base_size={self.base_size}, sizes={list(self.sizes)}, "
            f"batch_sizes={list(self.batch_sizes)}, "
            f"weights={list(self.schedule.weights)}, drop_last={self.drop_last}, "
            f"group_by_aspect_ratio={self._landscape is not None}, seed={self.seed})"
        )


def _unused_message_hub() -> Optional[MessageHub]:
    """MMEngine's current message hub, if no training has used it yet.

    A sampler is built when its own runner begins to train. That runner's hub counts no
    iterations yet, so a hub that does is another runner's.
    """
    hub = MessageHub.get_current_instance()
    return None if "iter" in hub.runtime_info else hub
