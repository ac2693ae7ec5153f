"""Turn gradients into update directions: the optimizer's step without learning rate.

An update direction is the gradient times the optimizer's preconditioner, a factor for
each element. Only relative factors within a module matter, since a variance is an
angle. Momentum and decoupled weight decay are the same for both halves and are left
out.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Optional, Type

import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer

from .unscale_and_clip import GradientTransform

__all__ = [
    "AdamDirection",
    "AdamWDirection",
    "LARSDirection",
    "LambDirection",
    "Preconditioner",
    "UpdateDirection",
    "adam_denominator",
    "update_direction",
]

Preconditioner = Callable[[int, int], Tensor]
"""Takes ``start`` and ``stop``; returns the factors of these elements of a flattened
gradient, or one factor for all."""


class UpdateDirection:
    """Take the gradient itself: SGD, with and without momentum or Nesterov."""

    momentum_includes_lr: bool = False
    """Whether the optimizer's momentum buffers contain the learning rate."""

    depends_on_scale: bool = False
    """Whether scaling or clipping the gradients changes the angle of two directions."""

    def prepare(self, optimizer: Optimizer, transform: GradientTransform) -> None:
        """Read all gradients of a step, before :meth:`preconditioner` is called.

        Args:
            optimizer: The optimizer, with the gradients of the step.
            transform: Turns elements of a ``param.grad`` into those that the step
                uses.
        """

    def preconditioner(
        self,
        param: Tensor,
        group: Dict[str, Any],
        state: Dict[str, Any],
        transform: GradientTransform,
    ) -> Optional[Preconditioner]:
        """Return the factors of one parameter's gradient. None: all are 1.

        Args:
            param: The parameter, with its gradient.
            group: Its param group.
            state: Its state in the optimizer before the step; may be empty.
            transform: Turns elements of ``param.grad`` into those that the step uses.
        """
        return None


def adam_denominator(
    grad: Tensor,
    exp_avg_sq: Optional[Tensor],
    beta2: float,
    eps: float,
    max_exp_avg_sq: Optional[Tensor] = None,
) -> Tensor:
    """Return ``sqrt(v) + eps``, where ``v`` is the second moment after this step.

    The bias correction is left out, since it is one factor for all elements.

    Args:
        grad: The gradient that the step uses.
        exp_avg_sq: Second moment before the step; None before the first step.
        beta2: Decay of the second moment.
        eps: Epsilon of the optimizer.
        max_exp_avg_sq: AMSGrad's maximum before the step. Defaults to None.

    Returns:
        Tensor: Of the gradient's shape.
    """
    moment = grad * grad * (1 - beta2)
    if exp_avg_sq is not None:
        moment = moment + exp_avg_sq.to(grad.dtype) * beta2
    if max_exp_avg_sq is not None:
        moment = torch.maximum(moment, max_exp_avg_sq.to(grad.dtype))
    return moment.sqrt_().add_(eps)


class AdamDirection(UpdateDirection):
    """Divide the gradient by ``sqrt(v) + eps``: Adam, with and without AMSGrad."""

    depends_on_scale = True

    def preconditioner(
        self,
        param: Tensor,
        group: Dict[str, Any],
        state: Dict[str, Any],
        transform: GradientTransform,
    ) -> Optional[Preconditioner]:
        """Return ``1 / (sqrt(v) + eps)``."""
        raw, values = _flat(param.grad), _flat(param)
        moment, maximum = _flat(state.get("exp_avg_sq")), None
        if group.get("amsgrad"):
            maximum = _flat(state.get("max_exp_avg_sq"))
        beta2, eps, decay = group["betas"][1], group["eps"], self._decay(group)

        def factors(start: int, stop: int) -> Tensor:
            grad = transform(raw[start:stop])
            if group.get("maximize"):
                grad = -grad
            if decay:
                grad = grad + values[start:stop].to(grad.dtype) * decay
            denominator = adam_denominator(
                grad,
                None if moment is None else moment[start:stop],
                beta2,
                eps,
                None if maximum is None else maximum[start:stop],
            )
            return denominator.reciprocal_()

        return factors

    def _decay(self, group: Dict[str, Any]) -> float:
        # Adam's own weight decay is part of the gradient that v averages.
        if group.get("decoupled_weight_decay"):
            return 0.0
        return group["weight_decay"]


class AdamWDirection(AdamDirection):
    """Divide the gradient by ``sqrt(v) + eps``, whose ``v`` has no weight decay."""

    def _decay(self, group: Dict[str, Any]) -> float:
        return 0.0


class LambDirection(AdamWDirection):
    """Multiply Adam's direction by the layer's trust ratio: mmpretrain's ``Lamb``.

    The trust ratio is that of the step about to be taken. Lamb divides all gradients
    by their norm over ``max_grad_norm`` before it updates ``v``.
    """

    def prepare(self, optimizer: Optimizer, transform: GradientTransform) -> None:
        """Compute by how much Lamb shrinks all gradients."""
        norms = [
            torch.linalg.vector_norm(transform(_grad(param)))
            for group in optimizer.param_groups
            for param in group["params"]
            if param.grad is not None
        ]
        norm = torch.linalg.vector_norm(torch.stack(norms))
        self._shrink = (norm / optimizer.defaults["max_grad_norm"]).clamp(min=1.0)

    def preconditioner(
        self,
        param: Tensor,
        group: Dict[str, Any],
        state: Dict[str, Any],
        transform: GradientTransform,
    ) -> Optional[Preconditioner]:
        """Return Adam's factors times the trust ratio."""

        def shrunk(raw: Tensor) -> Tensor:
            return transform(raw) / self._shrink.to(raw.device)

        adam = super().preconditioner(param, group, state, shrunk)
        if adam is None or not (group["weight_decay"] or group["always_adapt"]):
            return adam
        trust = self._trust_ratio(param, group, state, shrunk(_grad(param)))
        return lambda start, stop: adam(start, stop) * trust

    @staticmethod
    def _trust_ratio(
        param: Tensor, group: Dict[str, Any], state: Dict[str, Any], grad: Tensor
    ) -> Tensor:
        beta1, beta2 = group["betas"]
        step = group.get("step", 0) + 1
        corrections = (1 - beta1**step, 1 - beta2**step)
        if not group["bias_correction"]:
            corrections = (1.0, 1.0)
        mean = grad * ((1 - beta1) if group["grad_averaging"] else 1.0)
        moment = grad * grad * (1 - beta2)
        if "exp_avg" in state:
            mean = mean + state["exp_avg"].to(grad.dtype) * beta1
            moment = moment + state["exp_avg_sq"].to(grad.dtype) * beta2
        root = (moment / corrections[1]).sqrt_().add_(group["eps"])
        update = (mean / corrections[0]).div_(root)
        update += param.detach().to(grad.dtype) * group["weight_decay"]
        weights, updates = param.detach().norm(2.0), update.norm(2.0)
        trust = torch.where((weights > 0) & (updates > 0), weights / updates, 1.0)
        return trust.clamp(max=1.0) if group["trust_clip"] else trust


class LARSDirection(UpdateDirection):
    """Multiply the gradient by the layer's local rate: mmpretrain's ``LARS``."""

    momentum_includes_lr = True
    depends_on_scale = True

    def prepare(self, optimizer: Optimizer, transform: GradientTransform) -> None:
        """Read the epsilon of the optimizer."""
        self._eps = optimizer.eps  # type: ignore[attr-defined]

    def preconditioner(
        self,
        param: Tensor,
        group: Dict[str, Any],
        state: Dict[str, Any],
        transform: GradientTransform,
    ) -> Optional[Preconditioner]:
        """Return the local learning rate."""
        if group.get("lars_exclude", False):
            return None
        weights = param.detach().norm()
        grads = torch.linalg.vector_norm(transform(_grad(param)))
        local = group["eta"] * weights
        local = local / (grads + group["weight_decay"] * weights + self._eps)
        local = torch.where((weights > 0) & (grads > 0), local, 1.0)
        return lambda start, stop: local


def update_direction(optimizer: Optimizer) -> UpdateDirection:
    """Return the update direction of an optimizer.

    Args:
        optimizer: An instance of SGD, Adam or AdamW of torch, of Lamb or LARS of
            mmpretrain, or of a subclass.

    Raises:
        ValueError: The optimizer is another one.
    """
    direction = _direction_class(type(optimizer))
    if direction is None:
        raise ValueError(
            f"optimizer {type(optimizer).__name__} has no update direction that AGVM "
            "knows. Use SGD, Adam, AdamW, mmpretrain's Lamb or LARS, or train with a "
            "plain OptimWrapper."
        )
    return direction()


def has_update_direction(kind: type) -> bool:
    """Return whether AGVM knows the update direction of an optimizer's class."""
    return _direction_class(kind) is not None


def _direction_class(kind: type) -> Optional[Type[UpdateDirection]]:
    if issubclass(kind, AdamW):  # a subclass of Adam in newer versions of torch
        return AdamWDirection
    if issubclass(kind, Adam):
        return AdamDirection
    if issubclass(kind, SGD):
        return UpdateDirection
    # By name, so that mmpretrain need not be installed.
    for cls in kind.__mro__:
        if cls.__module__.split(".")[0] == "mmpretrain":
            if cls.__name__ == "Lamb":
                return LambDirection
            if cls.__name__ == "LARS":
                return LARSDirection
    return None


def _grad(param: Tensor) -> Tensor:
    if param.grad is None:
        raise ValueError("a parameter without a gradient has no update direction")
    return param.grad


def _flat(tensor: Optional[Tensor]) -> Any:
    return None if tensor is None else tensor.detach().reshape(-1)
