"""Mixed precision in bfloat16, on the CPU too."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Iterator

import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from mmengine.runner.amp import autocast
from torch import nn


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """An ``OptimWrapper`` whose forward pass runs under bfloat16 autocast.

    MMEngine's ``AmpOptimWrapper`` refuses to be built without an accelerator.
    bfloat16 has the range of float32, so that the loss needs no scaling and
    nothing is left that would need one. ``tools/train.py --amp`` uses it where
    there is no accelerator.

    Do not use it with inputs so small that a strided, padded convolution sees an
    input with a side below its stride, such as ResNet's last stage at 16 pixels. On
    CPUs with bfloat16 instructions torch 2.11 leaves a part of that convolution's
    weight gradient uninitialized, and the weights may become NaN.

    Args:
        **kwargs: Those of :class:`mmengine.optim.OptimWrapper`.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Gradient accumulation's context, and autocast inside it."""
        with super().optim_context(model), autocast(dtype=torch.bfloat16):
            yield
