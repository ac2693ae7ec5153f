"""Run parts of a training outside of a training loop."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Iterator

from mmengine.logging import MessageHub

__all__ = ["first_iteration"]

_FIRST = dict(epoch=0, iter=0, max_epochs=10**9, max_iters=10**9)


@contextmanager
def first_iteration() -> Iterator[None]:
    """Let MMEngine's message hub name the first iteration, if no training sets one.

    Some models and preprocessors ask it in every forward pass: mmdet's TOOD, BoxInst
    and ``BatchSyncRandomResize`` (YOLOX), mmpretrain's momentum encoders.
    """
    hub = MessageHub.get_current_instance()
    missing = [key for key in _FIRST if hub.get_info(key) is None]
    for key in missing:
        hub.update_info(key, _FIRST[key])
    try:
        yield
    finally:
        for key in missing:
            hub.pop_info(key)
