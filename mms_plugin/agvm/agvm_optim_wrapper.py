"""AGVM as an optimizer wrapper of MMEngine."""

from __future__ import annotations

import copy
import math
from contextlib import contextmanager
from typing import (
    Any,
    ContextManager,
    Dict,
    Iterator,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
)

import torch
from mmengine.dist import get_world_size
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..utils.main_process_warning import warn_on_main_process
from .agvm import AGVM
from .agvm_config import AGVMConfig, arguments_to_fit
from .consecutive_halves import ConsecutiveHalves
from .find_modules import REST
from .gradients import all_finite
from .halves_source import Halves, HalvesSource
from .inner_products import module_inner_products
from .measurements import (
    explain_failed_measurement,
    explain_quiet_module,
    explain_without_effect,
    first_measured_iterations,
)
from .micro_batch import MicroBatch, micro_batch_at
from .micro_batch_halves import MicroBatchHalves
from .modulated_lr import modulated_lr
from .param_groups import check_alike, count_trainable, split_saved_groups
from .partial_batch_halves import PartialBatchHalves
from .rank_halves import RankHalves
from .sharded_gradients import refuse_sharding
from .unscale_and_clip import GradientTransform, unscale_and_clip
from .update_direction import update_direction

__all__ = ["AGVMOptimWrapper"]

_SCHEDULED = ("lr", "momentum", "betas", "weight_decay")
"""What MMEngine's schedulers change in a param group."""


@OPTIM_WRAPPERS.register_module()
class AGVMOptimWrapper(OptimWrapper):
    """Scale the learning rate of each module by its gradient variance (AGVM).

    Every ``interval`` updates, the update directions of each module over two halves of
    the batch are compared: ``phi = 1 - cos``. A module with a larger ``phi`` than the
    anchor's takes smaller steps, by ``mu = sqrt(clamp(phi_anchor / phi))``, smoothed
    over the measurements. Learning rates are scaled within :meth:`step` only, so that
    schedulers and :meth:`get_lr` see them unscaled.

    The halves are those of the ranks under ``MMDistributedDataParallel``; in one
    process those of the accumulated micro-batches, or without accumulation the last
    batch and a part of this one. Sharded gradients (FSDP, DeepSpeed, ColossalAI) are
    not supported.

    It must be built by ``AGVMOptimWrapperConstructor``.

    Args:
        optimizer (Optimizer): SGD, Adam, AdamW, mmpretrain's Lamb or LARS.
        agvm (dict, optional): See :class:`~.agvm_config.AGVMConfig`. Defaults to None:
            the paper's settings.
        **kwargs: Arguments of ``OptimWrapper``, such as ``accumulative_counts`` and
            ``clip_grad``.

    Attributes:
        agvm (AGVM): Has ``multipliers`` and ``variances`` by module.
        halves_source (HalvesSource, optional): Provides the halves; None before the
            first iteration.

    Raises:
        TypeError: An argument of ``agvm`` has the wrong type.
        ValueError: An argument of ``agvm`` is not valid, the param groups do not name
            their modules, or the optimizer is none of the above.

    Source: arXiv 2210.11078, section 3.
    """

    def __init__(self, *args: Any, agvm: Optional[Dict] = None, **kwargs: Any) -> None:
        config = AGVMConfig.build(agvm)
        self._to_fit = arguments_to_fit(agvm)
        self._fitted = False
        super().__init__(*args, **kwargs)
        self._direction = update_direction(self.optimizer)
        if any("agvm_module" not in group for group in self.optimizer.param_groups):
            raise ValueError(
                f"{type(self).__name__} needs param groups that name their module. "
                "Set constructor='AGVMOptimWrapperConstructor' in optim_wrapper."
            )
        sizes = count_trainable(self.optimizer.param_groups)
        modules = [name for name, size in sizes.items() if size]
        if config.modules is not None:  # in the order given, with REST last
            order = [*config.modules, REST]
            modules.sort(key=lambda n: order.index(n) if n in order else len(order))
        single = [name for name in modules if sizes[name] == 1]
        self.agvm = AGVM(config, modules, single)
        if single:
            warn_on_main_process(
                f"AGVM: {', '.join(single)} has a single trainable number, whose "
                "gradient has no direction: its multiplier stays 1."
            )
        self.halves_source: Optional[HalvesSource] = None
        self._saved_halves: Mapping[str, Any] = {}
        self._lookback_failed = False
        self._tied_rates = False
        self._warned_without_effect = False
        self._warned_failed_measurement = False

    # ---------------------------------------------------------------- an iteration
    def initialize_count_status(
        self, model: nn.Module, init_counts: int, max_counts: int
    ) -> None:
        """See MMEngine; also choose the halves, and warn if AGVM has no effect.

        Arguments of AGVM that are None are fitted to ``max_counts``.
        """
        super().initialize_count_status(model, init_counts, max_counts)
        self._fit(max_counts)
        self._warn_without_effect(self._attach(model), init_counts, max_counts)

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """See MMEngine; also let the source of the halves see the forward pass."""
        source, micro_batch = self._attach(model), self._micro_batch(self._inner_count)
        with source.forward(model, micro_batch), self._forward_context(model):
            yield

    def backward(self, loss: Tensor, **kwargs: Any) -> None:
        """See MMEngine; also let the source of the halves see the backward pass."""
        source, micro_batch = self._attach(None), self._micro_batch(self._inner_count)
        with source.backward(micro_batch):
            super().backward(loss, **kwargs)

    def step(self, **kwargs: Any) -> None:
        """See MMEngine; measure if it is due, then update with scaled learning rates.

        The gradients are measured as the backward pass left them, before clipping.
        Adam's second moments are those that the step computes from clipped gradients.
        """
        if self._to_fit and self._max_counts < 0 and not self._fitted:
            self._warn_not_fitted()
        if self._tied_rates:
            first, *others = self.param_groups
            for group in others:
                group.update({key: first[key] for key in _SCHEDULED if key in first})
        if self.halves_source is not None:
            micro_batch = self._micro_batch(self._inner_count - 1)
            halves = self.halves_source.take(micro_batch)
            if halves is not None:
                self._measure(halves)
            if self.halves_source.failure is not None:
                self._give_up_lookback(self.halves_source.failure)
                self.halves_source.take(micro_batch)
        with modulated_lr(
            self.optimizer,
            self.agvm.lr_multiplier,
            self._direction.momentum_includes_lr,
        ):
            super().step(**kwargs)

    def _micro_batch(self, iteration: int) -> MicroBatch:
        return micro_batch_at(
            self.agvm.config, iteration, self._accumulative_counts, self._max_counts
        )

    @torch.no_grad()
    def _measure(self, halves: Halves) -> None:
        products = module_inner_products(
            halves,
            self.optimizer,
            self.agvm.modules,
            self._direction,
            self._gradient_transform,
        )
        values = halves.reduce(products).tolist()
        if self._drops_overflow():
            finite = all(math.isfinite(value) for row in values for value in row)
            if not (finite and all_finite(self._params())):
                return
        num_measured, quiet = self.agvm.num_measured, self.agvm.quiet_modules()
        measured = self.agvm.update(values, halves.half_variance)
        if self.agvm.num_measured == num_measured:
            self._warn_failed_measurement(values)
        for name in measured:
            mu, phi = self.agvm.multipliers[name], self.agvm.variances[name]
            self.message_hub.update_scalar(f"train/agvm/mu/{name}", mu)
            self.message_hub.update_scalar(f"train/agvm/phi/{name}", phi)
        self._report_quiet(quiet, values)

    def _report_quiet(
        self, quiet_before: Sequence[str], products: List[List[float]]
    ) -> None:
        """Warn of each module that has become quiet; log that, and its end."""
        quiet = self.agvm.quiet_modules()
        rows = dict(zip(self.agvm.modules, products))
        for name in sorted(set(quiet) ^ set(quiet_before)):
            self.message_hub.update_scalar(
                f"train/agvm/quiet/{name}", float(name in quiet)
            )
            if name in quiet:
                warn_on_main_process(
                    explain_quiet_module(
                        name,
                        self._inner_count - 1,
                        has_gradient=any(rows[name]),
                        config=self.agvm.config,
                    )
                )

    def _warn_failed_measurement(self, products: List[List[float]]) -> None:
        """Warn once that the anchor's gradient allowed no measurement."""
        if self._warned_failed_measurement:
            return
        self._warned_failed_measurement = True
        rows = dict(zip(self.agvm.modules, products))
        anchors = {name: rows[name] for name in self.agvm.anchors}
        warn_on_main_process(explain_failed_measurement(self._inner_count - 1, anchors))

    def _gradient_transform(self) -> GradientTransform:
        clip_type = getattr(self, "grad_name", "grad_norm").split("_")[-1]
        return unscale_and_clip(
            self.optimizer, self._loss_scale(), clip_type, self.clip_grad_kwargs
        )

    # ------------------------------------------- what mixed precision does otherwise
    def _forward_context(self, model: nn.Module) -> ContextManager[None]:
        return super().optim_context(model)

    def _loss_scale(self) -> float:
        return 1.0

    def _drops_overflow(self) -> bool:
        """Return whether an update with an infinite gradient will be skipped."""
        return False

    # ------------------------------------------------------ where the halves come from
    def _attach(self, model: Optional[nn.Module]) -> HalvesSource:
        """Return the source of the halves; at the first call, create it.

        Args:
            model: None in a loop that uses neither a runner nor ``optim_context``.
        """
        if self.halves_source is None:
            self.halves_source = self._build_source(model)
            self.halves_source.load_state_dict(dict(self._saved_halves))
            self._saved_halves = {}
        return self.halves_source

    def _build_source(self, model: Optional[nn.Module]) -> HalvesSource:
        if model is not None:
            refuse_sharding(model)
        params, config = self._params(), self.agvm.config
        if get_world_size() > 1:
            if model is None:
                raise ValueError(
                    "AGVM needs the distributed model. Run the forward pass within "
                    "optim_wrapper.optim_context(model)."
                )
            if not isinstance(model, DistributedDataParallel):
                raise ValueError(
                    "AGVM over several processes needs a model wrapped as a whole in "
                    f"MMDistributedDataParallel, but got {type(model).__name__}. Set "
                    "model_wrapper_cfg=dict(type='MMDistributedDataParallel')."
                )
            return RankHalves(params, model)
        if self._accumulative_counts > 1:
            return MicroBatchHalves(params)
        if config.single_process == "consecutive" or self._lookback_failed:
            return ConsecutiveHalves(params)
        return PartialBatchHalves(
            params, config.lookback_fraction, self._forward_context, self._loss_scale
        )

    def _give_up_lookback(self, failure: str) -> None:
        warn_on_main_process(
            f"AGVM cannot run the model on a part of a batch: {failure}. It compares "
            "consecutive iterations from now on, which mistakes the change of the "
            "weights for noise. Set accumulative_counts=2 to compare true halves, or "
            "agvm=dict(single_process='consecutive') to turn this warning off."
        )
        self._lookback_failed = True
        self.halves_source = ConsecutiveHalves(self._params())

    def _params(self) -> List[Tensor]:
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    # -------------------------------------------------------- what a training measures
    def _fit(self, total: int) -> None:
        """Fit the arguments that are None to a training of ``total`` iterations."""
        if not self._to_fit or total < 1:
            return
        counts = self._accumulative_counts
        updates = -(-total // counts)
        self.agvm.config = self.agvm.config.fitted(self._to_fit, updates, counts)
        self._fitted = True
        values = (f"{name}={getattr(self.agvm.config, name)}" for name in self._to_fit)
        print_log(
            f"AGVM: fitted to {updates} updates of the weights: {', '.join(values)}.",
            logger="current",
        )

    def _warn_not_fitted(self) -> None:
        """Warn once that the length of the training is not known."""
        config = self.agvm.config
        used = (f"{name}={getattr(config, name)}" for name in self._to_fit)
        warn_on_main_process(
            f"AGVM: {', '.join(self._to_fit)} cannot be fitted to the training, since "
            "its loop does not call optim_wrapper.initialize_count_status, as Runner "
            f"does. AGVM uses {', '.join(used)}."
        )
        self._to_fit = []

    def measuring_iterations(self) -> Optional[Tuple[int, int]]:
        """Return the iterations of a measurement, which need more memory than others.

        Returns:
            tuple, optional: The first one, counted over the training, and their
            number. None if nothing is measured, or if several ranks measure.
        """
        if isinstance(self.halves_source, RankHalves):
            return None
        return first_measured_iterations(self.agvm.config, self._accumulative_counts)

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

    # ------------------------------------------------------------------- the state
    def state_dict(self) -> Dict[str, Any]:
        """Return the optimizer's state, with that of AGVM under ``'agvm'``."""
        state = super().state_dict()
        halves = self._saved_halves
        if self.halves_source is not None:
            halves = self.halves_source.state_dict()
        state["agvm"] = dict(
            self.agvm.state_dict(),
            halves=dict(halves),
            lookback_failed=self._lookback_failed,
            tied_rates=self._tied_rates,
            iterations=self._inner_count,
        )
        return state

    def load_state_dict(self, state_dict: Dict[str, Any]) -> None:
        """Restore a state of this wrapper, or of a plain ``OptimWrapper``.

        Args:
            state_dict: A result of :meth:`state_dict`, or that of an ``OptimWrapper``
                over the same parameters: then all multipliers start from 1.

        Raises:
            ValueError: The state has other parameters, or one param group where
                ``paramwise_cfg`` gives the parameters several settings.
        """
        state_dict = dict(state_dict)
        agvm = state_dict.pop("agvm", None)
        saved_groups = state_dict["param_groups"]
        if agvm is None and len(saved_groups) == 1:
            check_alike(self.optimizer.param_groups)
        groups = split_saved_groups(saved_groups, self.optimizer.param_groups)
        state_dict["param_groups"] = groups
        if len(saved_groups) == 1 and self.base_param_settings is not None:
            self.base_param_settings["lr"] = copy.copy(groups[0]["lr"])
        super().load_state_dict(state_dict)
        if agvm is None:
            self.agvm.reset()
            self._saved_halves = {}
            # Schedulers of the plain training change the first group only.
            self._tied_rates = len(saved_groups) == 1 < len(groups)
            self._warn_of_groups(len(saved_groups))
            warn_on_main_process(
                "AGVM: the checkpoint was saved without AGVM: all multipliers start "
                "from 1."
            )
            return
        missing = self.agvm.load_state_dict(agvm)
        self._tied_rates = bool(agvm.get("tied_rates", False))
        # MMEngine sets the count, but not in an OptimWrapperDict.
        if "iterations" in agvm:
            self._inner_count = int(agvm["iterations"])
        self._warn_of_groups(len(saved_groups))
        self._lookback_failed = bool(agvm.get("lookback_failed", False))
        self._saved_halves = agvm.get("halves", {})
        if isinstance(self.halves_source, PartialBatchHalves) and self._lookback_failed:
            self.halves_source = ConsecutiveHalves(self._params())
        if self.halves_source is not None:
            self.halves_source.load_state_dict(dict(self._saved_halves))
        if missing:
            warn_on_main_process(
                f"AGVM: the checkpoint has no module {', '.join(missing)}: their "
                "multipliers start from 1."
            )

    def _warn_of_groups(self, saved: int) -> None:
        """Warn of groups that the saved schedulers, which count them, leave out."""
        groups = len(self.optimizer.param_groups)
        if saved < groups and not self._tied_rates:
            warn_on_main_process(
                f"AGVM: the checkpoint has {saved} param groups and this training has "
                f"{groups}. Learning-rate schedulers that are resumed may change the "
                f"first {saved} only. Resume with the modules and paramwise_cfg of the "
                "checkpoint, or start a new training from its weights (load_from)."
            )
