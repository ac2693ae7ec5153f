"""AGVM as an optimizer wrapper of MMEngine."""

from __future__ import annotations

import copy
import logging
import math
from contextlib import contextmanager
from typing import Any, ContextManager, Dict, Iterator, List, Mapping, Optional, Tuple

import torch
import torch.distributed as dist
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..utils.main_process_warning import warn_on_main_process
from ..utils.sharding import refuse_sharding
from .agvm import AGVM, QUIET_MEASUREMENTS, QUIET_VARIANCE, AGVMConfig
from .directions import clip_gradient, update_direction
from .halves import (
    ConsecutiveHalves,
    Halves,
    HalvesSource,
    MicroBatch,
    MicroBatchHalves,
)
from .measurements import explain_without_effect
from .modules import REST
from .partial_batch_halves import PartialBatchHalves
from .rank_halves import RankHalves
from .variance import inner_products

__all__ = ["AGVMOptimWrapper"]


@OPTIM_WRAPPERS.register_module()
class AGVMOptimWrapper(OptimWrapper):
    """Adaptive gradient variance modulator: one learning rate factor per module.

    Every ``interval`` updates the batch is seen as two halves, and the update
    directions of each module over both are compared: ``phi = 1 - cos``. A module
    whose ``phi`` is larger than the anchor's then takes smaller steps, by
    ``mu = sqrt(clamp(phi_anchor / phi))``, smoothed over the measurements. The rates
    are scaled within :meth:`step` alone: schedulers and :meth:`get_lr` see them
    unscaled.

    The halves are those of the ranks under ``MMDistributedDataParallel``, the
    micro-batches of ``accumulative_counts`` in one process, or else the last batch
    and a part of this one, run at the last weights. It does not work with sharded
    gradients (FSDP, DeepSpeed, ColossalAI).

    Must be built by ``AGVMOptimWrapperConstructor``.

    Args:
        optimizer (Optimizer): SGD, Adam, AdamW, mmpretrain's Lamb or LARS.
        agvm (dict, optional): See :class:`~.agvm.AGVMConfig`. Defaults to None: the
            paper's settings.
        **kwargs: Those of ``OptimWrapper``: ``accumulative_counts``, ``clip_grad``.

    Attributes:
        agvm (AGVM): ``agvm.multipliers`` and ``agvm.variances`` by module.

    Raises:
        TypeError, ValueError: An argument of ``agvm`` is wrong, or the optimizer has
            no defined update direction.

    Source: arXiv 2210.11078, section 3.
    """

    def __init__(self, *args: Any, agvm: Optional[Dict] = None, **kwargs: Any) -> None:
        config = AGVMConfig.build(agvm)
        super().__init__(*args, **kwargs)
        self._direction = update_direction(self.optimizer)
        sizes: Dict[str, int] = {}
        for group in self.optimizer.param_groups:
            if "agvm_module" not in group:
                raise ValueError(
                    f"{type(self).__name__} needs param groups that name their module. "
                    "Set constructor='AGVMOptimWrapperConstructor' in optim_wrapper."
                )
            trainable = sum(p.numel() for p in group["params"] if p.requires_grad)
            module = group["agvm_module"]
            sizes[module] = sizes.get(module, 0) + trainable
        modules = [name for name, size in sizes.items() if size]
        if config.modules is not None:  # in the order given, the rest behind
            order = [*config.modules, REST]
            modules.sort(key=lambda n: order.index(n) if n in order else len(order))
        single = [name for name in modules if sizes[name] == 1]
        self.agvm = AGVM(config, modules, single)
        if single:
            print_log(
                f"AGVM: {', '.join(single)} has a single trainable number, whose "
                "gradient has no direction: its multiplier stays 1.",
                logger="current",
                level=logging.WARNING,
            )
        self._source: Optional[HalvesSource] = None
        self._source_state: Mapping[str, Any] = {}
        self._lookback_failed = False
        self._tied_rates = False
        self._warned_without_effect = False
        self._told_not_taken = False
        self._told_quiet: List[str] = []

    # ------------------------------------------------------------------ the halves
    def initialize_count_status(
        self, model: nn.Module, init_counts: int, max_counts: int
    ) -> None:
        """See MMEngine; also sets up the halves, and warns where AGVM has no effect."""
        super().initialize_count_status(model, init_counts, max_counts)
        self._warn_without_effect(self._attach(model), init_counts, max_counts)

    def _warn_without_effect(self, source: HalvesSource, done: int, total: int) -> None:
        """Warn once if nothing, or too little, is measured in this training."""
        if self._warned_without_effect or done >= total:
            return
        text = explain_without_effect(
            self.agvm.config,
            done,
            total,
            self._accumulative_counts,
            self.agvm.num_measured,
            source.compares_updates,
        )
        if not self.agvm.adjusted:
            text = (
                "AGVM has nothing to adjust: besides its anchor "
                f"{self.agvm.config.anchor!r} it has no module with at least two "
                "trainable numbers. Name further modules in agvm=dict(modules=[...]), "
                "unfreeze a part of one, or train without AGVM."
            )
        if text is not None:
            self._warned_without_effect = True
            warn_on_main_process(text)

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """See MMEngine; also sets up how the halves come about."""
        source = self._attach(model)
        place = self._place_of(self._inner_count)
        with source.forward(model, place), self._forward_context(model):
            yield

    def _forward_context(self, model: nn.Module) -> ContextManager[None]:
        return super().optim_context(model)

    def _attach(self, model: nn.Module) -> HalvesSource:
        if self._source is not None:
            return self._source
        refuse_sharding(model)
        params, config = self._params(), self.agvm.config
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            if not isinstance(model, DistributedDataParallel):
                raise ValueError(
                    "AGVM over several processes needs a model wrapped as a whole in "
                    f"MMDistributedDataParallel, but got {type(model).__name__}. Set "
                    "model_wrapper_cfg=dict(type='MMDistributedDataParallel')."
                )
            self._source = RankHalves(params, model)
        elif self._accumulative_counts > 1:
            self._source = MicroBatchHalves(params)
        elif (
            self.agvm.config.single_process == "lookback" and not self._lookback_failed
        ):
            self._source = PartialBatchHalves(
                params,
                config.lookback_fraction,
                self._forward_context,
                self._loss_scale,
            )
        else:
            self._source = ConsecutiveHalves(params)
        self._source.load_state_dict(dict(self._source_state))
        self._source_state = {}
        return self._source

    def _gives_up_lookback(self) -> bool:
        """Whether a part of a batch turned out not to be runnable."""
        failure = None if self._source is None else self._source.failure
        if failure is None:
            return False
        print_log(
            f"AGVM cannot run the model on a part of a batch: {failure}. It compares "
            "consecutive iterations from now on, which mistakes the change of the "
            "weights for noise. Set accumulative_counts=2 to compare true halves, or "
            "agvm=dict(single_process='consecutive') to turn this warning off.",
            logger="current",
            level=logging.WARNING,
        )
        self._lookback_failed = True
        return True

    def _params(self) -> List[Tensor]:
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    def _place_of(self, iteration: int) -> MicroBatch:
        """Return the place of an iteration among the updates and measurements."""
        update, index = divmod(iteration, self._accumulative_counts)
        count = self._accumulative_counts
        if self._max_counts > 0:  # the last update of the training may have fewer
            count = min(count, self._max_counts - update * count)
        return MicroBatch(
            self._measures(update), self._measures(update + 1), index, count
        )

    def _measures(self, update: int) -> bool:
        return self.agvm.config.measures(update, self._accumulative_counts)

    def measuring_iterations(self) -> Optional[Tuple[int, int]]:
        """The iterations of a measurement, which take more memory than others.

        Returns:
            tuple, optional: The first one, counted over the training, and their number.
            None where nothing is measured, or the ranks' own exchange is part of it.
        """
        if isinstance(self._source, RankHalves):
            return None
        counts, config = self._accumulative_counts, self.agvm.config
        first = config.start_iter // counts
        for update in range(max(first, 1), first + config.interval + 2):
            if self._measures(update):
                if counts > 1:
                    return update * counts, counts
                return update - 1, 2  # what it is compared with, and itself
        return None

    def backward(self, loss: Tensor, **kwargs: Any) -> None:
        """See MMEngine; on measured iterations the first half is set aside."""
        place = self._place_of(self._inner_count)
        source = self._source or self._attach_without_model()
        with source.backward(place):
            super().backward(loss, **kwargs)

    def _attach_without_model(self) -> HalvesSource:
        # A loop of one's own that uses neither optim_context nor the runner.
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            raise ValueError(
                "AGVM needs the distributed model. Run the forward pass within "
                "optim_wrapper.optim_context(model)."
            )
        return self._attach(nn.Identity())

    # -------------------------------------------------------------------- the step
    def step(self, **kwargs: Any) -> None:
        """See MMEngine; measures where it is time to, then updates the weights.

        The gradients are measured as the backward pass left them, before clipping.
        The second moments of Adam take in the clipped gradient, as in the step.
        """
        if self._tied_rates:
            for group in self.param_groups[1:]:
                group["lr"] = self.param_groups[0]["lr"]
        if self._source is not None:
            place = self._place_of(self._inner_count - 1)
            halves = self._source.take(place)
            if halves is not None:
                self._measure(halves)
            if self._gives_up_lookback():
                self._source = ConsecutiveHalves(self._params())
                self._source.take(place)
        with self._modulated_rates():
            super().step(**kwargs)

    def _loss_scale(self) -> float:
        return 1.0

    def _drops_overflow(self) -> bool:
        """Whether an update with an infinite gradient will be skipped."""
        return False

    @torch.no_grad()
    def _measure(self, halves: Halves) -> None:
        products = halves.reduce(self._inner_products(halves)).tolist()
        overflow = not all(math.isfinite(v) for row in products for v in row)
        if overflow and self._drops_overflow():
            return
        num_measured = self.agvm.num_measured
        measured = self.agvm.update(products, halves.half_variance)
        if self.agvm.num_measured == num_measured:
            self._tell_not_taken(products)
        for name in measured:
            mu, phi = self.agvm.multipliers[name], self.agvm.variances[name]
            self.message_hub.update_scalar(f"train/agvm/mu/{name}", mu)
            self.message_hub.update_scalar(f"train/agvm/phi/{name}", phi)
        self._tell_of_quiet_modules()

    def _tell_of_quiet_modules(self) -> None:
        """Warn once of each module that may have died."""
        for name in self.agvm.quiet_modules():
            if name in self._told_quiet:
                continue
            self._told_quiet.append(name)
            print_log(
                f"AGVM: the gradient variance of {name} has been below "
                f"{QUIET_VARIANCE:g}, or it had no gradient, in the last "
                f"{QUIET_MEASUREMENTS} measurements: all images ask for the same step. "
                "A head does so while it only sees background, and for good when it "
                "has died. If its loss does not fall, use a lower learning rate or a "
                f"longer warm-up, or start AGVM later (start_iter="
                f"{self.agvm.config.start_iter}).",
                logger="current",
                level=logging.WARNING,
            )

    def _tell_not_taken(self, products: List[List[float]]) -> None:
        """Warn once that the anchor's gradient allowed no measurement."""
        if self._told_not_taken:
            return
        self._told_not_taken = True
        rows = dict(zip(self.agvm.modules, products))
        finite = all(math.isfinite(v) for name in self.agvm.anchors for v in rows[name])
        print_log(
            f"AGVM: no measurement in iteration {self._inner_count - 1}: the gradient "
            f"of {', '.join(self.agvm.anchors)} is "
            f"{'zero' if finite else 'not finite'} in a half of the batch. All "
            "multipliers keep their values. "
            + (
                "Check that agvm.anchor names a module that trains. "
                if finite
                else "The update of the weights is not finite either: check the loss, "
                "lower the learning rate, or train without mixed precision. "
            )
            + "Further measurements that fail are not reported.",
            logger="current",
            level=logging.WARNING,
        )

    def _inner_products(self, halves: Halves) -> Tensor:
        """Return ``[<a, a>, <a, b>, <b, b>]`` of each module, shape (modules, 3)."""
        index = {name: row for row, name in enumerate(self.agvm.modules)}
        device = self._params()[0].device
        dtype = torch.float32 if device.type == "mps" else torch.float64
        products = torch.zeros(len(index), 3, dtype=dtype, device=device)
        if not halves.first:
            return products
        gradient = None
        if self._direction.depends_on_scale:
            clip = getattr(self, "grad_name", "grad_norm").split("_")[-1]
            gradient = clip_gradient(
                self.optimizer, self._loss_scale(), clip, self.clip_grad_kwargs
            )
            self._direction.prepare(self.optimizer, gradient)
        for group in self.optimizer.param_groups:
            row = index.get(group["agvm_module"])
            for param in group["params"]:
                first, other = halves.first.get(param), halves.other.get(param)
                if row is None or first is None or other is None:
                    continue
                if param.grad is None:
                    continue
                weight = None
                if gradient is not None:
                    state = self.optimizer.state.get(param, {})
                    weight = self._direction.weight(param, group, state, gradient)
                products[row] += inner_products(
                    first, other, weight, halves.other_is_total
                ).to(device)
        return products

    @contextmanager
    def _modulated_rates(self) -> Iterator[None]:
        """Scales the rates by the multipliers for one step and puts them back."""
        saved: List[Tuple[Dict[str, Any], Any]] = []
        buffers: List[Tuple[Tensor, float]] = []
        try:
            for group in self.optimizer.param_groups:
                multiplier = self.agvm.rate_multiplier(group["agvm_module"])
                if multiplier == 1.0:
                    continue
                saved.append((group, group["lr"]))
                # A new tensor where the rate is one: groups may share it.
                group["lr"] = group["lr"] * multiplier
                if self._direction.buffers_with_rate:
                    for buffer in self._momentum_buffers(group):
                        buffer.mul_(multiplier)
                        buffers.append((buffer, multiplier))
            yield
        finally:
            for group, rate in saved:
                group["lr"] = rate
            # LARS keeps rate times direction in its buffers. They hold the unscaled
            # rate between steps, so that the multiplier scales the whole update.
            touched = {id(buffer) for buffer, _ in buffers}
            for buffer, multiplier in buffers:
                buffer.div_(multiplier)
            if self._direction.buffers_with_rate:
                for group, _ in saved:
                    multiplier = self.agvm.multipliers[group["agvm_module"]]
                    for buffer in self._momentum_buffers(group):
                        if id(buffer) not in touched:  # made by this step
                            buffer.div_(multiplier)

    def _momentum_buffers(self, group: Dict[str, Any]) -> List[Tensor]:
        states = (self.optimizer.state.get(param, {}) for param in group["params"])
        return [s["momentum_buffer"] for s in states if "momentum_buffer" in s]

    # ------------------------------------------------------------------- the state
    def state_dict(self) -> Dict[str, Any]:
        """The optimizer's state, and AGVM's under ``'agvm'``."""
        state = super().state_dict()
        source_state = self._source_state
        if self._source is not None:
            source_state = self._source.state_dict()
        state["agvm"] = dict(
            self.agvm.state_dict(),
            halves=dict(source_state),
            lookback_failed=self._lookback_failed,
            tied_rates=self._tied_rates,
        )
        return state

    def load_state_dict(self, state_dict: Dict[str, Any]) -> None:
        """Takes over a state of this wrapper, or of a plain optimizer wrapper.

        Args:
            state_dict: What :meth:`state_dict` gave, or that of an ``OptimWrapper``
                over the same parameters: then all multipliers start from 1.

        Raises:
            ValueError: The state is of other parameters.
        """
        state_dict = dict(state_dict)
        agvm = state_dict.pop("agvm", None)
        plain_groups = len(state_dict["param_groups"])
        state_dict["param_groups"] = self._regroup(state_dict["param_groups"])
        if plain_groups == 1 and self.base_param_settings is not None:
            rate = state_dict["param_groups"][0]["lr"]
            self.base_param_settings["lr"] = copy.copy(rate)
        super().load_state_dict(state_dict)
        if agvm is None:
            self._source_state = {}
            # Schedulers of the plain run know one group, and step the first alone.
            self._tied_rates = plain_groups == 1 < len(self.optimizer.param_groups)
            self.agvm.reset()
            print_log(
                "AGVM: the checkpoint was saved without AGVM: all multipliers start "
                "from 1.",
                logger="current",
                level=logging.WARNING,
            )
            return
        missing = self.agvm.load_state_dict(agvm)
        self._tied_rates = bool(agvm.get("tied_rates", False))
        self._lookback_failed = bool(agvm.get("lookback_failed", False))
        self._source_state = agvm.get("halves", {})
        if isinstance(self._source, PartialBatchHalves) and self._lookback_failed:
            self._source = ConsecutiveHalves(self._params())
        if self._source is not None:
            self._source.load_state_dict(dict(self._source_state))
        if missing:
            print_log(
                f"AGVM: the checkpoint has no multiplier for {', '.join(missing)}: "
                "these start from 1.",
                logger="current",
                level=logging.WARNING,
            )

    def _regroup(self, saved: List[Dict[str, Any]]) -> List[Dict[str, Any]]:
        """Saved groups, split where ours are: both number the parameters in order."""
        groups = self.optimizer.param_groups
        source = {index: group for group in saved for index in group["params"]}
        numbers = [index for group in saved for index in group["params"]]
        expected = sum(len(group["params"]) for group in groups)
        if len(numbers) != expected:
            raise ValueError(
                f"state_dict has {len(numbers)} parameters, but the optimizer has "
                f"{expected}. It was saved for another model or paramwise_cfg."
            )
        regrouped, position = [], 0
        for group in groups:
            indices = numbers[position : position + len(group["params"])]
            position += len(indices)
            options = dict(source[indices[0]], params=indices)
            options["agvm_module"] = group["agvm_module"]
            if "param_names" in group:
                options["param_names"] = group["param_names"]
            regrouped.append(options)
        return regrouped
