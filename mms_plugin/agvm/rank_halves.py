"""Halves in several processes: the first and the last ranks."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from ..utils.error_text import first_line
from .gradients import GradientDict, gradients_of
from .halves_source import Halves, HalvesSource
from .micro_batch import MicroBatch

__all__ = ["RankHalves", "first_half_size"]


def first_half_size(world_size: int) -> int:
    """Return the number of ranks in the first half: ``world_size // 2``."""
    return world_size // 2


def strides_in_bucket(param: Tensor) -> Tuple[int, ...]:
    """Return the strides of a parameter's gradient in DDP's buckets.

    They are the parameter's own (``channels_last`` for example), or row-major if that
    leaves gaps. The gradients that a bucket lists are row-major in any case.
    """
    expected = 1
    for stride, size in sorted(zip(param.stride(), param.size())):
        if size != 1 and stride != expected:
            return torch.empty(param.size(), device="meta").stride()
        expected *= size
    return param.stride()


class RankHalves(HalvesSource):
    """Compare the first with the last ranks of a ``DistributedDataParallel`` model.

    A communication hook averages each bucket as DDP itself does, while the backward
    pass continues. In a measured iteration the ranks of the first half also reduce
    each bucket among themselves, to rank 0. The second half's part of the mean is the
    mean minus the first half's part, which needs no communication and weights halves
    of unequal size by their ranks. Rank 0 measures and broadcasts three numbers per
    module, so that the multipliers are bit-identical on all ranks.

    Launchers number the ranks node by node, so with an even number of nodes the first
    half consists of whole nodes. On one or two nodes the extra reduction stays within
    a node, and with two or three ranks there is none.

    Args:
        params: Parameters in the order of the optimizer.
        model: The wrapped model. All ranks must construct this object at the same
            point, because it creates a process group.

    Raises:
        ValueError: The model is wrapped over some of the processes only, or already
            has a communication hook.
    """

    def __init__(
        self, params: Sequence[Tensor], model: DistributedDataParallel
    ) -> None:
        super().__init__(params)
        self._group = model.process_group
        ranks = dist.get_process_group_ranks(self._group)
        if len(ranks) != dist.get_world_size():
            raise ValueError(
                "AGVM needs a model that is distributed over all processes, but its "
                f"process_group has {len(ranks)} of {dist.get_world_size()}. Leave "
                "process_group at its default."
            )
        half = ranks[: first_half_size(len(ranks))]
        self._root = half[0]
        self._in_first_half = dist.get_rank() in half
        # All ranks must call new_group, also those outside the group.
        self._half_group = None
        if len(half) > 1:
            timeout = _timeout_of(self._group, params)
            # Older versions of torch refuse None.
            own: Dict[str, Any] = {} if timeout is None else dict(timeout=timeout)
            self._half_group = dist.new_group(half, **own)
        self._average = 1.0 / len(ranks)
        self._active = False
        self._exchanged = False
        self._pending: List[Tuple[Tensor, Optional[dist.Work], List[_View]]] = []
        self.bytes_sent_extra = 0
        """Bytes that this rank has put into extra reductions so far."""
        try:
            model.register_comm_hook(self, _average_bucket)
        except RuntimeError as error:
            raise ValueError(
                "AGVM needs the communication hook of DistributedDataParallel, which "
                "is taken (by fp16 compression or another optimizer wrapper). Remove "
                f"the other hook. ({first_line(error)})"
            ) from error

    @contextmanager
    def backward(self, micro_batch: MicroBatch) -> Iterator[None]:
        """Let the first half reduce its buckets in a measured update."""
        last = micro_batch.index + 1 == micro_batch.count
        self._active = micro_batch.measured and last
        self._exchanged = False
        self._pending.clear()
        try:
            yield
        finally:
            self._active = False

    def average(self, bucket: Any) -> torch.futures.Future[Tensor]:
        """Average one bucket over all ranks; the communication hook."""
        # The same product as DDP computes without a hook, to the bit.
        self._exchanged = True
        buffer = bucket.buffer().mul_(self._average)
        if self._active and self._in_first_half:
            self._reduce_half(bucket, buffer)
        future = dist.all_reduce(buffer, group=self._group, async_op=True).get_future()
        return future.then(lambda done: done.value()[0])

    def _reduce_half(self, bucket: Any, buffer: Tensor) -> None:
        first = buffer.clone()
        views: List[_View] = []
        if dist.get_rank() == self._root:
            base = int(buffer.storage_offset())
            views = [
                (
                    param,
                    param.size(),
                    strides_in_bucket(param),
                    int(grad.storage_offset()) - base,
                )
                for param, grad in zip(bucket.parameters(), bucket.gradients())
            ]
        work = None
        if self._half_group is not None:
            work = dist.reduce(first, self._root, group=self._half_group, async_op=True)
            self.bytes_sent_extra += first.numel() * first.element_size()
        self._pending.append((first, work, views))

    def take(self, micro_batch: MicroBatch) -> Optional[Halves]:
        """Return the mean and, on rank 0, the first half's part of it."""
        first: GradientDict = {}
        pending, self._pending = self._pending, []
        for buffer, work, views in pending:
            if work is not None:
                work.wait()
            for param, size, stride, offset in views:
                first[param] = buffer.as_strided(size, stride, offset)
        # Without an exchange, as in a dry run, no rank waits for another one.
        if not (micro_batch.measured and self._exchanged):
            return None
        return Halves(first, gradients_of(self.params), reduce=self._share)

    def _share(self, products: Tensor) -> Tensor:
        dist.broadcast(products, self._root, group=self._group)
        return products


def _timeout_of(group: Any, params: Sequence[Tensor]) -> Optional[timedelta]:
    """Return what a group was made with; None, torch's default, if it does not tell."""
    try:
        timeout = group._get_backend(params[0].device).options._timeout
    except (AttributeError, IndexError, RuntimeError):
        return None
    return timeout if isinstance(timeout, timedelta) else None


_View = Tuple[Tensor, torch.Size, Tuple[int, ...], int]


# No annotations: DDP compares them with types, but they would be strings here.
def _average_bucket(state, bucket):  # type: ignore[no-untyped-def]
    return state.average(bucket)
