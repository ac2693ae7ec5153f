"""Save the sampler's place in a training with a checkpoint, and resume there."""

from __future__ import annotations

from typing import Any, Dict, Mapping, NamedTuple, Optional

from mmengine.runner.base_loop import BaseLoop

from ..multi_scale.multi_scale_variable_batch_sampler import (
    MultiScaleVariableBatchSampler,
)
from ..multi_scale.runner_parts import loop_counts_iterations
from .resumed_iterator import ResumedIterator

__all__ = ["SAMPLER_STATE", "Recount", "SamplerCheckpoint"]

SAMPLER_STATE = "multi_scale_sampler"
"""Key of a checkpoint for the sampler's place in the training."""


class Recount(NamedTuple):
    """The iterations of a checkpoint, as the current settings count them.

    Attributes:
        done: Iterations that are done.
        reason: Why the checkpoint has another number.
    """

    done: int
    reason: str


class SamplerCheckpoint:
    """Save the place of a sampler, and resume a training there.

    MMEngine loads a checkpoint before the training begins: :meth:`remember` keeps what
    :meth:`resume` needs later.
    """

    def __init__(self) -> None:
        self._state: Optional[Dict[str, Any]] = None
        self._runtime_info: Dict[str, Any] = {}

    @property
    def saved_iters(self) -> Optional[int]:
        """Iterations of the whole training, by the checkpoint; ``None``: unknown."""
        return self._runtime_info.get("max_iters")

    def save(
        self,
        checkpoint: Dict[str, Any],
        loop: BaseLoop,
        sampler: MultiScaleVariableBatchSampler,
    ) -> None:
        """Add the sampler's place to a checkpoint.

        Args:
            checkpoint: Being saved; its ``meta`` holds ``iter`` and ``epoch``.
            loop: The train loop.
            sampler: Of its data loader.
        """
        meta = checkpoint["meta"]
        epoch = None if loop_counts_iterations(loop) else meta["epoch"]
        checkpoint[SAMPLER_STATE] = sampler.state_at(meta["iter"], epoch)

    def remember(self, checkpoint: Mapping[str, Any]) -> None:
        """Keep the sampler's place for :meth:`resume`.

        Args:
            checkpoint: Being loaded, by any version of this package or without it.
        """
        self._state = checkpoint.get(SAMPLER_STATE)
        hub = checkpoint.get("message_hub") or {}
        self._runtime_info = dict(hub.get("runtime_info") or {})

    def resume(
        self, loop: BaseLoop, sampler: MultiScaleVariableBatchSampler
    ) -> Optional[Recount]:
        """Set the sampler to the iteration at which the loop stands.

        Args:
            loop: The train loop. A loop that counts iterations gets an iterator that
                loads none of the batches before.
            sampler: Of its data loader.

        Returns:
            The iterations in the current settings; ``None`` if the loop's count stays.

        Raises:
            ValueError: The rest of the epoch is not known in the current settings.
        """
        state, self._state = self._state, None
        if loop.iter == 0:  # not resumed, though weights may have been loaded
            sampler.resume(0, None if sampler.endless else 0)
            return None
        if loop_counts_iterations(loop):
            sampler.resume(loop.iter, None, state)
            loop.dataloader_iterator = ResumedIterator(
                loop.dataloader,
                type(loop.dataloader_iterator),
                skip=loop.iter,
                epoch=0 if sampler.endless else sampler.epoch_of(loop.iter),
            )
            return None
        reason = _reason(sampler, state)
        if state is None:
            state = self._state_of_other_epochs(loop, sampler)
        elif state.get("epoch", loop.epoch) != loop.epoch:
            raise ValueError(
                "train_cfg must count iterations, as in the training of the "
                "checkpoint, which stands within a later pass over the data: set "
                "train_cfg=dict(by_epoch=False, max_iters=...), or start from its "
                "weights (load_from without resume)"
            )
        done = sampler.resume(loop.iter, loop.epoch, state)
        return None if done == loop.iter else Recount(done, reason)

    def _state_of_other_epochs(
        self, loop: BaseLoop, sampler: MultiScaleVariableBatchSampler
    ) -> Optional[Dict[str, Any]]:
        """Return the place of a checkpoint that holds none, by its whole epochs.

        The total number of iterations, which it does hold, tells whether its epochs
        had another length, as those of a training without the sampler.

        Returns:
            ``None`` where the epochs are as long as now, or their length is unknown.

        Raises:
            ValueError: It stands within such an epoch.
        """
        iters, epochs = (self._runtime_info.get(k) for k in ("max_iters", "max_epochs"))
        if (
            not iters
            or not epochs
            or iters * loop.max_epochs == loop.max_iters * epochs
        ):
            return None
        # MMEngine counts an epoch only after its last checkpoint by iteration.
        for done in (loop.epoch, loop.epoch + 1):
            if loop.iter * epochs == done * iters:
                return sampler.state_at(sampler.iterations_before(done), loop.epoch)
        raise ValueError(
            f"the checkpoint must stand at the end of an epoch, of {iters / epochs:g} "
            f"iterations in its training, but it stands at {loop.iter}: it was saved "
            "without this sampler's state, as by a training without the sampler or its "
            "hook; resume from a checkpoint of an epoch's end, or start from its "
            "weights (load_from without resume)"
        )


def _reason(
    sampler: MultiScaleVariableBatchSampler, state: Optional[Mapping[str, Any]]
) -> str:
    """Return why the epochs of a resumed training have another length.

    Args:
        sampler: In the current settings.
        state: The sampler's place in the checkpoint; ``None`` if it has none.
    """
    if state is None:
        return (
            "the checkpoint was saved without ResolutionCurriculumHook or "
            "MultiScaleSamplerHook"
        )
    changes = sampler.changes_since(state)
    if "settings" not in state:
        # Earlier versions recorded only the world size and the number of samples.
        changes.append(
            "the checkpoint does not record the batch sizes, the sizes and the "
            "curriculum with its max_epochs, which may have changed"
        )
    elif not changes:
        return (
            "no recorded setting has changed, so a callable schedule or the sampler "
            "itself gives another plan"
        )
    return "; ".join(changes)
