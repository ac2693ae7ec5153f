"""The hook that estimates the statistics of batch norm at the base size."""

from __future__ import annotations

from typing import Any, Iterator, List, Optional, Tuple

from mmengine.hooks import EMAHook, Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn

from ..multi_scale.base_size_batches import base_size_loader
from ..multi_scale.inner_sampler import has_shares_of_sources
from ..multi_scale.runner_parts import loop_counts_iterations, required_sampler
from ..utils.batch_norm import estimate_batch_norm, has_batch_norm
from ..utils.main_process_warning import warn_on_main_process
from ..utils.random_state import kept_random_states, mixed_seed, set_seeds
from ..utils.sharding import sharding_of
from ..utils.unwrapped_model import unwrapped
from ..utils.validation import parse_int

__all__ = ["BaseSizeBatchNormHook"]


@HOOKS.register_module()
class BaseSizeBatchNormHook(Hook):
    """Estimate the statistics of batch norm at the base size when a training ends.

    The running statistics of a training at many sizes are means over these sizes. A
    model that is used at one size may do better with statistics of that size: after the
    last iteration, before it is validated and saved, the running means and variances
    are replaced by their means over a few batches of training images at the sampler's
    ``base_size``, augmented as in the training. With several ranks they are the means
    over the batches of all of them. With an ``EMAHook``, they are estimated with the
    averaged weights and written into both models; with ``update_buffers=True``, each
    model gets statistics of its own weights.

    The weights stay as they are, and no random state is changed: a training that is
    resumed and extended has the weights that it would have had without the hook, and
    running statistics that continue from the new ones. The images and their
    augmentation depend on the seed only. A training that is stopped early is left as it
    is. If the estimate fails, as with too little memory for a batch at the base size,
    the statistics stay, and the log says why. With ``SyncBatchNorm``, or losses that
    are averaged over the ranks, a failure on one rank leaves the others waiting, as in
    the training itself.

    Use it in place of mmpretrain's ``PreciseBNHook``, which does not support a batch
    sampler.

    Source: Wu and Johnson, "Rethinking 'Batch' in BatchNorm" (arXiv 2105.07576),
    section 3; Touvron et al., "Fixing the train-test resolution discrepancy" (arXiv
    1906.06423).

    Args:
        num_batches: Number of batches of each rank, each of as many images as the base
            size has. Defaults to 50.

    Raises:
        ValueError: ``num_batches`` is not valid, the training has another sampler, or
            its model is sharded over processes.
    """

    # After EMAHook has averaged the weights, before CheckpointHook.
    priority = "LOW"

    def __init__(self, num_batches: int = 50) -> None:
        self.num_batches = parse_int(num_batches, "num_batches")

    def before_train(self, runner: Runner) -> None:
        """Refuse what the hook does not support, and warn where it has no effect."""
        sampler = required_sampler(runner.train_loop, type(self).__name__)
        inner = sampler.inner_sampler
        if has_shares_of_sources(inner):
            raise ValueError(
                f"{type(self).__name__} needs batches of any training images, but "
                f"{type(inner).__name__} gives each source its share of a batch. "
                "Remove the hook"
            )
        sharded = sharding_of(runner.model)
        if sharded is not None:
            raise ValueError(
                f"{type(self).__name__} needs a model that is whole on every process, "
                f"but {sharded} shards it. Remove the hook, or train with "
                "MMDistributedDataParallel"
            )
        if not has_batch_norm(runner.model):
            self._warn_without_effect("the model has no batch norm. Remove the hook")

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Optional[dict] = None,
    ) -> None:
        """Estimate the statistics after the last iteration."""
        loop = runner.train_loop
        by_iteration = loop_counts_iterations(loop)
        if not by_iteration and runner.epoch + 1 < loop.max_epochs:
            return  # the length of the training is not needed yet
        sampler = required_sampler(loop, type(self).__name__)
        last = (
            loop.max_iters if by_iteration else sampler.total_batches(loop.max_epochs)
        )
        if runner.iter + 1 == last:
            self._estimate(runner, sampler.seed)

    def _estimate(self, runner: Runner, seed: int) -> None:
        for name, model, follower in _models_of(runner):
            loader = base_size_loader(runner.train_loop.dataloader, self.num_batches)
            devices = {parameter.device for parameter in model.parameters()}
            with kept_random_states(devices):
                set_seeds(mixed_seed(seed, self.num_batches))
                try:
                    layers = estimate_batch_norm(model, loader, _forward_of(model))
                except Exception as error:  # a finished training must not be lost
                    # An error, since the other ranks log nothing below it.
                    runner.logger.error(
                        f"{type(self).__name__}: the statistics of batch norm of {name}"
                        " stay those of the training, since estimating them at the "
                        f"base size failed: {type(error).__name__}: {error}"
                    )
                    continue
            if not layers:
                if has_batch_norm(model):
                    self._warn_without_effect(
                        f"no batch norm of {name} follows the batches in training. "
                        "Remove the hook, or set norm_eval=False of the backbone"
                    )
                continue
            if follower is not None:
                for own, estimated in zip(follower.buffers(), model.buffers()):
                    own.copy_(estimated)
            runner.logger.info(
                f"Statistics of batch norm: {layers} layers of {name} estimated on "
                f"{len(loader)} batches at the base size"
            )

    def _warn_without_effect(self, reason: str) -> None:
        warn_on_main_process(f"{type(self).__name__} has no effect: {reason}")


def _models_of(runner: Runner) -> Iterator[Tuple[str, nn.Module, Optional[nn.Module]]]:
    """Yield models to estimate, each with one that gets the same statistics."""
    model = runner.model
    own = unwrapped(model)
    averaged: List[Any] = [
        hook.ema_model for hook in runner.hooks if isinstance(hook, EMAHook)
    ]
    # EMAHook validates the averaged weights with the model's own buffers, unless it
    # averages these too.
    if all(each.update_buffers for each in averaged):
        yield "the model", own, None
    for each in averaged:
        yield "the averaged model", each.module, None if each.update_buffers else own


def _forward_of(model: Any) -> Any:
    """Return a call that runs a model on a batch as in training."""

    def run(batch: Any) -> None:
        data = model.data_preprocessor(batch, True)
        if isinstance(data, dict):
            model(**data, mode="loss")
        else:
            model(*data, mode="loss")

    return run
