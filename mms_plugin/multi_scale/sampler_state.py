"""Save a sampler's position in a training, and resume there.

A checkpoint holds plain numbers and text. In the settings that it was saved in, a
training continues at a position of the same plan. In other settings, the rest of its
epoch is planned anew, if the checkpoint tells which images were used.

Pure functions, except that a new seed is put into the inner sampler.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

import numpy as np

from .batch_stream import BatchStream
from .epoch_planner import EpochPlanner, StartedEpoch
from .inner_sampler import deals_in_turn, with_seed
from .plan import Plan, cut_batches
from .plan_settings import changed_settings, plan_settings
from .training_settings import TrainingSettings

_ORDER = ("sampler", "sampler.shuffle")
"""Settings that the order of the images depends on."""


class ResumedEpoch(NamedTuple):
    """Where a training with epochs continues.

    Attributes:
        planner: Plans it from here on.
        epoch: The epoch.
        position: Batches of the plan of that epoch that are done.
        iterations: Iterations that are done over the training, as the planner counts.
    """

    planner: EpochPlanner
    epoch: int
    position: int
    iterations: int


# Saving


def epoch_state(
    planner: EpochPlanner, iteration: int, epoch: Optional[int] = None
) -> Dict[str, Any]:
    """Return where a training with epochs stands.

    Args:
        planner: Of the training.
        iteration: Iterations that are done, over the training.
        epoch: Epoch that they are done in. Defaults to the one that ``iteration`` lies
            in.
    """
    state = _common_state(planner.settings, planner.first_epoch)
    if epoch is None:
        epoch = planner.epoch_of(iteration)
    position = iteration - planner.iterations_before(epoch)
    position = max(position - planner.iterations_done_elsewhere(epoch), 0)
    state.update(iteration=iteration, epoch=epoch, position=position)
    state.update(started=list(planner.started))
    begun = planner.used_before(epoch)
    if position or begun:
        plan = planner.shared_plan(epoch, begun)
        used = begun + _images_of_ranks(planner.settings, plan, position, begun)
        state.update(begun=begun, images=used, plan=plan_digest(plan))
    return state


def _images_of_ranks(
    settings: TrainingSettings, plan: Plan, position: int, begun: int
) -> int:
    """Return the images of all ranks in the first batches of a shared plan.

    Args:
        settings: Of the training.
        plan: The shared plan of an epoch, or of its rest.
        position: How many of its batches.
        begun: Images of the epoch, of all ranks, before the plan.
    """
    shares = settings.shares
    images = shares.world_size * int(plan.batch_sizes[:position].sum())
    most, fewest = shares.left(begun)
    if settings.drop_last or most == fewest:
        return images
    left = shares.total - begun
    if settings.landscape is None:
        # Ranks with one image fewer cut their last batches.
        short = cut_batches(plan.batch_sizes, 1)[:position]
        lacking = int((plan.batch_sizes[:position] - short).sum())
        images -= (shares.world_size * most - left) * lacking
    return min(images, left)


def stream_state(stream: BatchStream, iteration: int) -> Dict[str, Any]:
    """Return where a training without epochs stands after ``iteration`` iterations."""
    start, images = stream.start
    images += stream.images_between(start, iteration)
    state = _common_state(stream.settings, (0, 0))
    state.update(iteration=iteration, images=images)
    return state


def _common_state(
    settings: TrainingSettings, first_epoch: Tuple[int, int]
) -> Dict[str, Any]:
    return dict(
        seed=settings.seed,
        sampler_seed=getattr(settings.inner_sampler, "seed", None),
        world_size=settings.shares.world_size,
        num_samples=settings.num_samples,
        first_epoch=list(first_epoch),
        settings=plan_settings(settings),
    )


def common_to_ranks(
    settings: TrainingSettings, planner: Optional[EpochPlanner]
) -> Dict[str, Any]:
    """Return what must be equal on all ranks: the seed, the settings and the plan.

    Args:
        settings: Of the training.
        planner: Plans its epochs; ``None`` for an endless stream. The plan is that of
            the epoch that it begins with.
    """
    found = dict(seed=settings.seed, **plan_settings(settings))
    if planner is not None:
        found["plan"] = plan_digest(planner.shared_plan(*planner.started[:2]))
    return found


def plan_digest(plan: Plan) -> str:
    """Return a digest of a plan, the same for plans with the same batches."""
    sizes = np.asarray(plan.sizes, dtype=np.int64).reshape(-1, 2)
    batches = np.column_stack([sizes[plan.choices], plan.batch_sizes])
    content = np.ascontiguousarray(batches, dtype="<i8").tobytes()
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def changes_since(settings: TrainingSettings, state: Mapping[str, Any]) -> List[str]:
    """Name the settings that the plans depend on and that differ from a checkpoint's.

    Args:
        settings: The current ones.
        state: :func:`epoch_state` or :func:`stream_state` of the checkpoint. One of an
            earlier version holds the world size and the number of samples only.

    Returns:
        list[str]: One text for each, such as ``'max_epochs is 6 (was 3)'``.
    """
    return changed_settings(state.get("settings", state), plan_settings(settings))


# Resuming


def with_seeds_of(
    settings: TrainingSettings, state: Mapping[str, Any]
) -> TrainingSettings:
    """Return the settings with the seeds that the training began with."""
    inner = settings.inner_sampler
    if getattr(inner, "seed", None) != state["sampler_seed"]:
        inner = with_seed(inner, state["sampler_seed"])
    return replace(settings, seed=state["seed"], inner_sampler=inner)


def from_the_first_index(settings: TrainingSettings) -> TrainingSettings:
    """Return the settings with an endless inner sampler that has not begun."""
    inner = settings.inner_sampler
    fresh = with_seed(inner, getattr(inner, "seed", None))
    return replace(settings, inner_sampler=fresh)


def resume_epoch(
    planner: EpochPlanner,
    iteration: int,
    epoch: Optional[int],
    state: Optional[Mapping[str, Any]],
) -> ResumedEpoch:
    """Resume within or at the beginning of an epoch.

    Args:
        planner: In the current settings.
        iteration: Iterations that are done, over the training.
        epoch: Epoch that the training stands in, where the loop counts epochs: the
            iterations are then counted as if all had been made in the current
            settings. ``None``: the loop counts iterations, and these stay.
        state: :func:`epoch_state` of the checkpoint. ``None``: the current settings
            were those of the interrupted training.

    Raises:
        ValueError: The rest of the epoch is not known in these settings.
    """
    if state is None:
        return _resume_without_state(planner, iteration, epoch)
    started, position = _started_epoch(planner, state)
    resumed = replace(planner, started=started, first_epoch=(0, 0))
    if epoch is not None:
        done = resumed.iterations_before(started.epoch) + position
        done += resumed.iterations_done_elsewhere(started.epoch)
        return ResumedEpoch(resumed, started.epoch, position, done)
    same = _planner_when_saved(planner, state)
    done = same.iterations_before(started.epoch) + position
    done += same.iterations_done_elsewhere(started.epoch)
    if (position, done) == (state["position"], iteration):
        return ResumedEpoch(same, started.epoch, position, iteration)
    # Epochs are counted from this one on. Its own length is measured as if the training
    # began with it, since the iteration at which it began is not known yet.
    first = replace(resumed, first_epoch=(started.epoch, 0))
    elsewhere = first.iterations_done_elsewhere(started.epoch)
    began = iteration - elsewhere - position
    counted = replace(
        planner,
        started=started._replace(iterations=elsewhere),
        first_epoch=(started.epoch, began),
    )
    return ResumedEpoch(counted, started.epoch, position, iteration)


def images_before(
    stream: BatchStream, iteration: int, state: Optional[Mapping[str, Any]]
) -> int:
    """Return the images of all ranks that an interrupted stream has given.

    Args:
        stream: In the current settings.
        iteration: Iterations that are done.
        state: :func:`stream_state` of the checkpoint. ``None``: the current settings
            were those of the interrupted training.

    Raises:
        ValueError: The images that were given are not known in these settings.
    """
    settings = stream.settings
    natural = stream.images_between(0, iteration)
    if state is None:
        return natural
    images: int = state["images"]
    if images != natural or state["world_size"] != settings.shares.world_size:
        if state["num_samples"] != settings.num_samples:
            raise ValueError(
                "a checkpoint of a training with an endless sampler needs the dataset "
                f"that it was saved with, of {state['num_samples']} samples, but got "
                f"one of {settings.num_samples}"
            )
        _check_can_replan(settings, state)
    return images


def _resume_without_state(
    planner: EpochPlanner, iteration: int, epoch: Optional[int]
) -> ResumedEpoch:
    reached = planner.epoch_of(iteration) if epoch is None else epoch
    position = iteration - planner.iterations_before(reached)
    length = planner.length(reached)
    if not 0 <= position <= length:
        raise ValueError(
            f"the checkpoint must stand within epoch {reached}, of iterations "
            f"{iteration - position} to {iteration - position + length} in "
            f"these settings, but it stands at {iteration}: resume with the "
            "world size and batch size that it was saved with, or from a "
            "checkpoint of an epoch's end; it was saved without this sampler's state, "
            "as by a training without the sampler or its hook"
        )
    whole = replace(planner, started=StartedEpoch(reached, 0), first_epoch=(0, 0))
    return ResumedEpoch(whole, reached, position, iteration)


def _started_epoch(
    planner: EpochPlanner, state: Mapping[str, Any]
) -> Tuple[StartedEpoch, int]:
    """Return the epoch of a checkpoint and the position in its plan."""
    epoch, position = state["epoch"], state["position"]
    if not state.get("images"):
        return StartedEpoch(epoch, 0), 0
    settings = planner.settings
    if state["num_samples"] != settings.num_samples:
        raise ValueError(
            "a checkpoint from within an epoch needs the dataset that it was "
            f"saved with, of {state['num_samples']} samples, but got one of "
            f"{settings.num_samples}; resume from a checkpoint of an epoch's end"
        )
    order = {n: v for n, v in state.get("settings", {}).items() if n in _ORDER}
    other_order = changed_settings(order, plan_settings(settings))
    if other_order:
        raise ValueError(
            "a checkpoint from within an epoch needs the order of images that it was "
            f"saved with, but {'; '.join(other_order)}; resume with the sampler of "
            "the checkpoint, or from a checkpoint of an epoch's end"
        )
    before = _planner_when_saved(planner, state)
    digest = plan_digest(before.shared_plan(epoch, state["begun"]))
    same_ranks = state["world_size"] == settings.shares.world_size
    if same_ranks and state["plan"] == digest:
        return StartedEpoch(epoch, state["begun"]), position
    _check_can_replan(settings, state)
    return StartedEpoch(epoch, state["images"]), 0


def _planner_when_saved(
    planner: EpochPlanner, state: Mapping[str, Any]
) -> EpochPlanner:
    """Return the planner of a checkpoint, as far as the settings are still its own."""
    first, iteration = state["first_epoch"]
    # Earlier versions kept a started epoch only while the training was in it.
    started = state.get("started", (state["epoch"], state.get("begun", 0)))
    return replace(
        planner, started=StartedEpoch(*started), first_epoch=(first, iteration)
    )


def _check_can_replan(settings: TrainingSettings, state: Mapping[str, Any]) -> None:
    """Refuse where the images that were used are not the first ones in order."""
    changes = "; ".join(changes_since(settings, state))
    remedy = (
        "resume with the settings that the checkpoint was saved with"
        f"{f' ({changes})' if changes else ''}, or from a checkpoint of an epoch's end"
    )
    if settings.landscape is not None:
        raise ValueError(
            "group_by_aspect_ratio=True needs the batches that the epoch was begun "
            "with, since portrait and landscape images do not follow the sampler's "
            f"order: {remedy}"
        )
    if not deals_in_turn(settings.inner_sampler):
        raise ValueError(
            "sampler must be one that deals images to the ranks in turn, such as "
            "DefaultSampler, to plan the remaining batches of an epoch anew, but got "
            f"{type(settings.inner_sampler).__name__}: {remedy}"
        )
