"""Training FLOPs of a real model by image size, and of a whole plan.

Counted by PyTorch's own counter while the real model runs forward and backward, with
no formula of ours: a multiplication and an addition are two FLOPs, and only the
operators that the counter knows (convolutions, matrix products, attention) count.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Iterable, Optional, Sequence

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from ..multi_scale.sizes import Size
from ..utils.first_iteration import first_iteration
from ..utils.model_state import kept_model_state
from ..utils.random_state import kept_random_states

__all__ = [
    "count_flops",
    "flop_counter",
    "training_flops_per_image",
]


def count_flops(step: Callable[[], Any]) -> int:
    """Count the FLOPs of everything that ``step()`` runs.

    Args:
        step: Called once, without arguments.

    Returns:
        FLOPs, two for a multiplication with its addition.
    """
    counter = flop_counter()
    with _attention_of_products(), counter:
        step()
    return int(counter.get_total_flops())


def flop_counter() -> FlopCounterMode:
    """Return PyTorch's counter, which is right for grouped convolutions too.

    Its own formula ignores the groups in the gradient of the weights: it counts a
    depthwise convolution as a full one there.
    """
    backward = torch.ops.aten.convolution_backward
    return FlopCounterMode(
        display=False, custom_mapping={backward: _conv_backward_flops}
    )


def _conv_backward_flops(
    grad_out: torch.Tensor,
    x: torch.Tensor,
    w: torch.Tensor,
    _bias: Any,
    _stride: Any,
    _padding: Any,
    _dilation: Any,
    transposed: bool,
    _output_padding: Any,
    _groups: int,
    output_mask: Sequence[bool],
    **_: Any,
) -> int:
    """Count as many FLOPs as forward for each gradient, that of input and weights."""
    forward = conv_flop_count(
        list(x.shape), list(w.shape), list(grad_out.shape), transposed
    )
    return int(forward) * sum(map(bool, output_mask[:2]))


# Called with tensors by every version of torch; otherwise newer ones pass shapes.
_conv_backward_flops._get_raw = True  # type: ignore[attr-defined]


def _attention_of_products() -> Any:
    """Compute attention as matrix products: the fused one is not counted on a CPU."""
    try:
        from torch.nn.attention import SDPBackend, sdpa_kernel
    except ImportError:  # before torch 2.3
        return torch.backends.cuda.sdp_kernel(
            enable_flash=False, enable_math=True, enable_mem_efficient=False
        )
    return sdpa_kernel(SDPBackend.MATH)


def training_flops_per_image(
    model: nn.Module,
    make_batch: Callable[[int, int, int], Any],
    sizes: Iterable[Size],
    batch_size: int = 2,
    loss: Optional[Callable[[nn.Module, Any], Any]] = None,
) -> Dict[Size, float]:
    """Count the training FLOPs (forward and backward) of one image at each size.

    The model is left as it was: training mode, gradients, buffers (batch norm's
    statistics) and the random states of the host are restored.

    Args:
        model: The model that is trained.
        make_batch: ``make_batch(batch_size, height, width)`` gives what ``loss``
            takes.
        sizes: ``(height, width)`` of the images in pixels; each is counted once.
        batch_size: Images of the batch that is counted. Defaults to 2, the fewest with
            which batch norm can train on one pixel.
        loss: ``loss(model, batch)`` gives a tensor or a dict of losses as MMEngine's
            models do. Defaults to ``model(**batch, mode='loss')``.

    Returns:
        FLOPs per image by size.

    Raises:
        ValueError: ``batch_size`` below 1, or a loss without anything to train.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, but got {batch_size!r}")
    run = _mmengine_loss if loss is None else loss
    flops: Dict[Size, float] = {}
    with kept_model_state(model), kept_random_states(), first_iteration():
        model.train()
        for height, width in sizes:
            if (height, width) in flops:
                continue
            batch = make_batch(batch_size, height, width)

            def step(batch: Any = batch) -> None:
                total = _sum_losses(run(model, batch))
                if not total.requires_grad:
                    raise ValueError("model gives a loss that trains no parameter")
                total.backward()  # type: ignore[no-untyped-call]

            flops[height, width] = count_flops(step) / batch_size
    return flops


def _mmengine_loss(model: nn.Module, batch: Any) -> Any:
    return model(**batch, mode="loss")


def _sum_losses(losses: Any) -> torch.Tensor:
    """Return the sum that MMEngine's ``parse_losses`` forms: of entries named loss."""
    if isinstance(losses, torch.Tensor):
        return losses.mean()
    total = torch.zeros(())
    for name, value in losses.items():
        if "loss" in name:
            values = value if isinstance(value, (list, tuple)) else [value]
            for part in values:
                total = total + part.mean()
    return total
