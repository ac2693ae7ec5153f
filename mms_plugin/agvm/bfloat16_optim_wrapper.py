"""Mixed precision in bfloat16, also on the CPU."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Iterator

import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from mmengine.runner.amp import autocast
from torch import nn

__all__ = ["BFloat16OptimWrapper"]


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Run the forward pass under bfloat16 autocast.

    MMEngine's ``AmpOptimWrapper`` needs an accelerator; this wrapper does not, and
    ``tools/train.py --amp`` uses it where there is none. bfloat16 has the range of
    float32, so that the loss needs no scaling.

    Do not use it with inputs so small that a strided, padded convolution sees an
    input with a side below its stride, such as ResNet's last stage at 16 pixels. On
    CPUs with bfloat16 instructions torch 2.11 leaves a part of that convolution's
    weight gradient uninitialized, and the weights may become NaN.

    Args:
        **kwargs: Arguments of :class:`mmengine.optim.OptimWrapper`.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Enter MMEngine's context and autocast."""
        with super().optim_context(model), autocast(dtype=torch.bfloat16):
            yield
