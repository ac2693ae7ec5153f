"""Update directions: what an optimizer makes of a gradient before the rate."""

from __future__ import annotations

import math
from typing import Any, Callable, Dict, List, Optional

import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer

from .variance import Weight

__all__ = [
    "AdamDirection",
    "Direction",
    "LambDirection",
    "LarsDirection",
    "adam_denominator",
    "clip_gradient",
    "update_direction",
]

Gradient = Callable[[Tensor], Tensor]
"""Turns elements of ``param.grad`` into what the optimizer will see: free of the
loss scale, and clipped."""


class Direction:
    """The gradient itself: SGD, with and without momentum or Nesterov.

    The factor by which the gradients of both halves are multiplied, element by
    element, to give their update directions. Only relative factors within a module
    matter, since the variance is an angle. Momentum and weight decay are the same
    for both halves and no part of it.
    """

    buffers_with_rate: bool = False
    """Whether the optimizer's momentum buffers hold the learning rate."""

    depends_on_scale: bool = False
    """Whether the angle changes when all gradients are scaled or clipped."""

    def prepare(self, optimizer: Optimizer, gradient: Gradient) -> None:
        """Looks at all gradients of a step, before :meth:`weight` is called."""

    def weight(
        self,
        param: Tensor,
        group: Dict[str, Any],
        state: Dict[str, Any],
        grad: Gradient,
    ) -> Optional[Weight]:
        """Factor of one parameter, None for 1.

        Args:
            param: The parameter, its ``grad`` set.
            group: Its param group.
            state: Its state in the optimizer before the step, maybe empty.
            grad: Turns elements of ``param.grad`` into the step's own gradient.

        Returns:
            Callable, optional: See :func:`~.variance.inner_products`.
        """
        return None


def adam_denominator(
    grad: Tensor,
    exp_avg_sq: Optional[Tensor],
    beta2: float,
    eps: float,
    max_exp_avg_sq: Optional[Tensor] = None,
) -> Tensor:
    """``sqrt(v) + eps``, ``v`` the second moment that this step's gradient leaves.

    Args:
        grad: The step's own gradient.
        exp_avg_sq: The average before the step; None before the first.
        beta2: Its decay.
        eps: The optimizer's epsilon.
        max_exp_avg_sq: AMSGrad's maximum before the step. Defaults to None.

    Returns:
        Tensor: Of the gradient's shape. Without the bias correction, which is one
        factor for all elements.
    """
    moment = grad * grad * (1 - beta2)
    if exp_avg_sq is not None:
        moment = moment + exp_avg_sq.to(grad.dtype) * beta2
    if max_exp_avg_sq is not None:
        moment = torch.maximum(moment, max_exp_avg_sq.to(grad.dtype))
    return moment.sqrt_().add_(eps)


class AdamDirection(Direction):
    """``g / (sqrt(v) + eps)``: Adam and AdamW, with and without AMSGrad."""

    depends_on_scale = True

    def weight(
        self,
        param: Tensor,
        group: Dict[str, Any],
        state: Dict[str, Any],
        grad: Gradient,
    ) -> Optional[Weight]:
        raw, values = _flat(param.grad), _flat(param)
        moment, maximum = _flat(state.get("exp_avg_sq")), None
        if group.get("amsgrad"):
            maximum = _flat(state.get("max_exp_avg_sq"))
        beta2, eps, decay = group["betas"][1], group["eps"], self._decay(group)

        def factor(start: int, stop: int) -> Tensor:
            own = grad(raw[start:stop])
            if group.get("maximize"):
                own = -own
            if decay:
                own = own + values[start:stop].to(own.dtype) * decay
            denominator = adam_denominator(
                own,
                None if moment is None else moment[start:stop],
                beta2,
                eps,
                None if maximum is None else maximum[start:stop],
            )
            return denominator.reciprocal_()

        return factor

    def _decay(self, group: Dict[str, Any]) -> float:
        # Adam's own weight decay is part of the gradient that v takes in.
        if group.get("decoupled_weight_decay"):
            return 0.0
        return group["weight_decay"]


class _AdamWDirection(AdamDirection):
    def _decay(self, group: Dict[str, Any]) -> float:
        return 0.0


class LambDirection(_AdamWDirection):
    """Adam's direction times the layer's trust ratio: mmpretrain's ``Lamb``.

    The trust ratio is that of the step about to be taken. Lamb divides all gradients
    by their norm over ``max_grad_norm``, which ``v`` takes in.
    """

    def prepare(self, optimizer: Optimizer, gradient: Gradient) -> None:
        norms = [
            torch.linalg.vector_norm(gradient(_grad(param)))
            for group in optimizer.param_groups
            for param in group["params"]
            if param.grad is not None
        ]
        norm = torch.linalg.vector_norm(torch.stack(norms))
        self._shrink = (norm / optimizer.defaults["max_grad_norm"]).clamp(min=1.0)

    def weight(
        self,
        param: Tensor,
        group: Dict[str, Any],
        state: Dict[str, Any],
        grad: Gradient,
    ) -> Optional[Weight]:
        def own(raw: Tensor) -> Tensor:
            return grad(raw) / self._shrink.to(raw.device)

        adam = super().weight(param, group, state, own)
        if adam is None or not (group["weight_decay"] or group["always_adapt"]):
            return adam
        trust = self._trust_ratio(param, group, state, own(_grad(param)))
        return lambda start, stop: adam(start, stop) * trust

    @staticmethod
    def _trust_ratio(
        param: Tensor, group: Dict[str, Any], state: Dict[str, Any], own: Tensor
    ) -> Tensor:
        beta1, beta2 = group["betas"]
        step = group.get("step", 0) + 1
        corrections = (1 - beta1**step, 1 - beta2**step)
        if not group["bias_correction"]:
            corrections = (1.0, 1.0)
        mean = own * ((1 - beta1) if group["grad_averaging"] else 1.0)
        moment = own * own * (1 - beta2)
        if "exp_avg" in state:
            mean = mean + state["exp_avg"].to(own.dtype) * beta1
            moment = moment + state["exp_avg_sq"].to(own.dtype) * beta2
        root = (moment / corrections[1]).sqrt_().add_(group["eps"])
        update = (mean / corrections[0]).div_(root)
        update += param.detach().to(own.dtype) * group["weight_decay"]
        weights, updates = param.detach().norm(2.0), update.norm(2.0)
        trust = torch.where((weights > 0) & (updates > 0), weights / updates, 1.0)
        return trust.clamp(max=1.0) if group["trust_clip"] else trust


class LarsDirection(Direction):
    """The gradient times the layer's local rate: mmpretrain's ``LARS``."""

    buffers_with_rate = True
    depends_on_scale = True

    def prepare(self, optimizer: Optimizer, gradient: Gradient) -> None:
        self._eps = optimizer.eps  # type: ignore[attr-defined]

    def weight(
        self,
        param: Tensor,
        group: Dict[str, Any],
        state: Dict[str, Any],
        grad: Gradient,
    ) -> Optional[Weight]:
        if group.get("lars_exclude", False):
            return None
        weights = param.detach().norm()
        grads = torch.linalg.vector_norm(grad(_grad(param)))
        local = group["eta"] * weights
        local = local / (grads + group["weight_decay"] * weights + self._eps)
        local = torch.where((weights > 0) & (grads > 0), local, 1.0)
        return lambda start, stop: local


def update_direction(optimizer: Optimizer) -> Direction:
    """The update direction of an optimizer.

    Args:
        optimizer: An instance of SGD, Adam or AdamW of torch, of Lamb or LARS of
            mmpretrain, or of a subclass.

    Returns:
        Direction: How its gradients become directions.

    Raises:
        ValueError: No direction is defined for this optimizer.
    """
    if isinstance(optimizer, AdamW):  # a subclass of Adam in newer versions of torch
        return _AdamWDirection()
    if isinstance(optimizer, Adam):
        return AdamDirection()
    if isinstance(optimizer, SGD):
        return Direction()
    # By name, so that mmpretrain need not be there.
    for cls in type(optimizer).__mro__:
        if cls.__module__.split(".")[0] == "mmpretrain":
            if cls.__name__ == "Lamb":
                return LambDirection()
            if cls.__name__ == "LARS":
                return LarsDirection()
    raise ValueError(
        f"optimizer {type(optimizer).__name__} has no update direction that AGVM "
        "knows. Use SGD, Adam, AdamW, mmpretrain's Lamb or LARS, or train with a "
        "plain OptimWrapper."
    )


def clip_gradient(
    optimizer: Optimizer, scale: float, clip: str, kwargs: Optional[Dict[str, Any]]
) -> Gradient:
    """What becomes of ``param.grad`` before the optimizer sees it.

    Args:
        optimizer: Its parameters are clipped together.
        scale: The loss scale that the gradients still hold.
        clip: ``'norm'`` or ``'value'``.
        kwargs: Arguments of ``torch.nn.utils.clip_grad_norm_`` or
            ``clip_grad_value_``. None: no clipping.

    Returns:
        Callable: Takes elements of a gradient and leaves them as they are.
    """
    inverse = 1.0 / scale
    if not kwargs:
        return lambda raw: raw * inverse
    if clip == "value":
        bound = float(kwargs["clip_value"])
        return lambda raw: (raw * inverse).clamp(-bound, bound)
    order = float(kwargs.get("norm_type", 2.0))
    grads: List[Tensor] = [
        param.grad
        for group in optimizer.param_groups
        for param in group["params"]
        if param.requires_grad and param.grad is not None
    ]
    norms = [torch.linalg.vector_norm(grad, order) for grad in grads]
    total = math.inf
    if norms:
        device = norms[0].device
        stacked = torch.stack([norm.to(device) for norm in norms])
        total = float(torch.linalg.vector_norm(stacked, order)) * inverse
    coefficient = min(1.0, float(kwargs["max_norm"]) / (total + 1e-6)) * inverse
    return lambda raw: raw * coefficient


def _grad(param: Tensor) -> Tensor:
    if param.grad is None:
        raise ValueError("a parameter without a gradient has no update direction")
    return param.grad


def _flat(tensor: Optional[Tensor]) -> Any:
    return None if tensor is None else tensor.detach().reshape(-1)
