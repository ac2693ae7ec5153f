"""AGVM's traffic over that of data-parallel training, on paper.

What is sent is known exactly: plain DDP all-reduces the gradients in every iteration;
AGVM, in one of ``interval``, also reduces them among the first half of the ranks and
broadcasts three numbers per module. How long it takes is a model: latency per hop and
bandwidth of the slowest link, nothing hidden behind the backward pass.
"""

from __future__ import annotations

import math
from typing import Dict, NamedTuple

from mms_plugin.agvm.rank_halves import first_half_size

# Of a module: squared norms of the two halves and their product, in float64.
BYTES_PER_MODULE = 24


class Cluster(NamedTuple):
    """Links between GPUs.

    Attributes:
        gpus_per_node: GPUs of one node.
        intra_bandwidth: Bytes a second from a GPU to the next in its node.
        inter_bandwidth: Bytes a second from a node to the next, over all its adapters.
        latency: Seconds of one hop.
        bucket_bytes: Gradients that are sent at a time, as DDP's ``bucket_cap_mb``.
    """

    gpus_per_node: int = 8
    intra_bandwidth: float = 150e9
    inter_bandwidth: float = 25e9
    latency: float = 5e-6
    bucket_bytes: float = 25 * 2**20

    def bandwidth(self, ranks: int) -> float:
        """Of the slowest link between that many ranks, numbered node by node."""
        if ranks <= self.gpus_per_node:
            return self.intra_bandwidth
        return min(self.intra_bandwidth, self.inter_bandwidth)


def ring_all_reduce_seconds(size: float, ranks: int, cluster: Cluster) -> float:
    """Reduce-scatter and all-gather round a ring.

    Args:
        size: Bytes.
        ranks: How many take part.
        cluster: Their links.
    """
    hops = 2 * (ranks - 1)
    return _buckets(size, cluster) * hops * cluster.latency + (
        hops / ranks * size / cluster.bandwidth(ranks)
    )


def ring_reduce_seconds(size: float, ranks: int, cluster: Cluster) -> float:
    """Along a chain to one rank, in pieces that follow one another."""
    if ranks == 1:
        return 0.0
    hops = ranks - 1
    return _buckets(size, cluster) * hops * cluster.latency + (
        size / cluster.bandwidth(ranks)
    )


def tree_all_reduce_seconds(size: float, ranks: int, cluster: Cluster) -> float:
    """Up and down a double binary tree."""
    return 2 * tree_reduce_seconds(size, ranks, cluster)


def tree_reduce_seconds(size: float, ranks: int, cluster: Cluster) -> float:
    """Up a double binary tree."""
    if ranks == 1:
        return 0.0
    hops = math.ceil(math.log2(ranks))
    return _buckets(size, cluster) * hops * cluster.latency + (
        size / cluster.bandwidth(ranks)
    )


def _buckets(size: float, cluster: Cluster) -> int:
    return max(1, math.ceil(size / cluster.bucket_bytes))


def traffic(
    world_size: int,
    gradient_bytes: int,
    num_modules: int,
    interval: int,
    iteration_seconds: float,
    cluster: Cluster,
) -> Dict[str, float]:
    """Return what AGVM adds to an iteration, averaged over all iterations.

    Args:
        world_size: GPUs.
        gradient_bytes: Of the trainable parameters.
        num_modules: Modules that AGVM measures.
        interval: Iterations from one measurement to the next.
        iteration_seconds: Of plain training, its own communication included.
        cluster: Links between the GPUs.

    Returns:
        ``ddp_bytes``: sent by a rank in an all-reduce round a ring, every iteration.
        ``measured_bytes``: sent more by a rank of the first half in a measured
        iteration (by one of the second half: none of the gradients). ``mean_bytes``:
        sent more per rank and iteration, mean over all; ``bytes_ratio``: over
        ``ddp_bytes``. ``ring_seconds``, ``tree_seconds``: of the extra reduction and
        the broadcast in a measured iteration; ``ring_ratio``, ``tree_ratio``: per
        iteration, over ``iteration_seconds``. ``ddp_ring_seconds``,
        ``ddp_tree_seconds``: of the all-reduce of every iteration.
    """
    half = first_half_size(world_size)
    senders = max(half - 1, 0)  # the root receives only
    message = BYTES_PER_MODULE * num_modules
    # The second half's ranks, and those of a half of one, send no gradients.
    sent = senders * gradient_bytes + (world_size - 1) * message
    ddp = 2 * (world_size - 1) / world_size * gradient_bytes
    mean = sent / world_size / interval
    result = dict(
        ddp_bytes=ddp,
        measured_bytes=float(gradient_bytes if senders else 0),
        mean_bytes=mean,
        bytes_ratio=mean / ddp if ddp else 0.0,
    )
    for name, reduce_seconds, all_reduce_seconds in (
        ("ring", ring_reduce_seconds, ring_all_reduce_seconds),
        ("tree", tree_reduce_seconds, tree_all_reduce_seconds),
    ):
        seconds = 0.0
        if world_size > 1:
            # The broadcast goes the way of a reduction, backwards.
            seconds = reduce_seconds(gradient_bytes, max(half, 1), cluster)
            seconds += reduce_seconds(message, world_size, cluster)
        result[f"{name}_seconds"] = seconds
        result[f"{name}_ratio"] = seconds / interval / iteration_seconds
        result[f"ddp_{name}_seconds"] = all_reduce_seconds(
            gradient_bytes, world_size, cluster
        )
    return result
