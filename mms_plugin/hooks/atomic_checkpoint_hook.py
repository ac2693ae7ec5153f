"""The checkpoint hook whose files are always whole."""

from __future__ import annotations

import glob
import os
import os.path as osp
import shutil
import tempfile
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, Optional

from mmengine.dist import (
    broadcast_object_list,
    get_world_size,
    is_main_process,
    master_only,
)
from mmengine.hooks import CheckpointHook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ..checkpoints.atomic_local_backend import BACKEND_NAME
from ..utils.files import remove_leftovers, write_atomically

# In a checkpoint: files that were outdated when it was written, and may still be there.
OUTDATED_KEY = "outdated_checkpoints"
# Of folders in which a checkpoint is being published.
_PUBLISHING = ".publish."


class CheckpointNotSavedError(RuntimeError):
    """Another rank, the one that writes, could not save a checkpoint."""


class _KeepsUntilTold:
    """A file backend that only notes what is to be removed."""

    def __init__(self, backend: Any) -> None:
        self.backend = backend
        self.outdated: List[str] = []

    def remove(self, path: str) -> None:
        self.outdated.append(path)

    rmtree = remove

    def remove_outdated(self, in_use: List[Optional[str]]) -> None:
        """Remove what was noted, but for what has been written anew."""
        while self.outdated:
            path = self.outdated.pop(0)
            if path in in_use:
                continue
            # MMEngine's own rule: DeepSpeed's checkpoints are folders.
            if self.backend.isfile(path):
                self.backend.remove(path)
            elif self.backend.isdir(path):
                self.backend.rmtree(path)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "backend":
            raise AttributeError(name)
        return getattr(self.backend, name)


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """MMEngine's ``CheckpointHook``, safe against a process that dies while it saves.

    Takes its place, with its arguments:
    ``default_hooks=dict(checkpoint=dict(type='AtomicCheckpointHook', interval=1))``.
    Then, whenever a process is killed or the disk is full,

    - a checkpoint under its name is whole: it is written beside, brought to the disk
      and renamed, and so are ``last_checkpoint`` and published checkpoints;
    - an old checkpoint (``max_keep_ckpts``, the previous best) goes only after the new
      one and ``last_checkpoint`` are there; room for one more is needed meanwhile. What
      a killed run could not remove goes when it is resumed;
    - every rank learns that rank 0 could not save, and raises: none is left waiting.

    The first holds for checkpoints on a local or mounted disk, and not for ``out_dir``
    or ``backend_args`` of another backend, nor for ``file_client_args``: there the
    backend decides.

    Args:
        interval: Period of saving, in epochs or iterations. -1: never.
        **kwargs: As of ``CheckpointHook``.

    Raises:
        NotWrittenError: On rank 0, as on a full disk: with the path and the bytes
            needed and free. Files under their names are as they were before.
        CheckpointNotSavedError: On the other ranks.
    """

    backend_args: Any
    file_backend: Any

    def __init__(self, interval: int = -1, **kwargs: Any) -> None:
        super().__init__(interval=interval, **kwargs)
        self._is_saving = False
        self._left_outdated: List[str] = []

    def after_load_checkpoint(self, runner: Runner, checkpoint: Dict[str, Any]) -> None:
        """Take over what the run that wrote the checkpoint meant to remove."""
        self._left_outdated = list(checkpoint.get(OUTDATED_KEY, ()))

    def before_save_checkpoint(
        self, runner: Runner, checkpoint: Dict[str, Any]
    ) -> None:
        """Note in the checkpoint what it makes outdated."""
        backend = getattr(self, "file_backend", None)
        if isinstance(backend, _KeepsUntilTold) and backend.outdated:
            checkpoint[OUTDATED_KEY] = [osp.abspath(p) for p in backend.outdated]

    def before_train(self, runner: Runner) -> None:
        """Set the file backend; remove what a killed run has left."""
        folder = runner.work_dir if self.out_dir is None else self.out_dir
        if self.file_client_args is None and _is_local(folder, self.backend_args):
            own = {k: v for k, v in (self.backend_args or {}).items() if k != "backend"}
            self.backend_args = dict(own, backend=BACKEND_NAME)
        super().before_train(runner)
        self.file_backend = _KeepsUntilTold(self.file_backend)
        if is_main_process() and _uses_atomic_backend(self.backend_args):
            for folder in {str(self.out_dir), runner.work_dir}:
                remove_leftovers(folder)
                for left in glob.glob(osp.join(glob.escape(folder), _PUBLISHING + "*")):
                    shutil.rmtree(left, ignore_errors=True)
            self._remove_left_outdated(runner)

    def after_train(self, runner: Runner) -> None:
        """Publish the checkpoint after training."""
        if self.published_keys is None:
            return
        with self._saving():
            super().after_train(runner)

    def _remove_left_outdated(self, runner: Runner) -> None:
        here = osp.abspath(self.out_dir)
        for path in self._left_outdated:
            # A run that was copied or renamed leaves the original's files alone.
            if osp.dirname(path) == here and runner._resume and osp.isfile(path):
                os.remove(path)
        self._left_outdated = []

    def _save_checkpoint_with_step(
        self, runner: Runner, step: int, meta: Dict[str, Any]
    ) -> None:
        with self._saving():
            self._forget_oldest(runner, step)
            name = self.filename_tmpl.format(step)
            self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
            runner.message_hub.update_info("last_ckpt", self.last_ckpt)
            runner.save_checkpoint(
                self.out_dir,
                name,
                self.file_client_args,
                save_optimizer=self.save_optimizer,
                save_param_scheduler=self.save_param_scheduler,
                meta=meta,
                by_epoch=self.by_epoch,
                backend_args=self.backend_args,
                **self.args,
            )
            if is_main_process():
                # MMEngine's own way would empty the file before it writes.
                write_atomically(
                    str(self.last_ckpt).encode(),
                    osp.join(runner.work_dir, "last_checkpoint"),
                )

    def _forget_oldest(self, runner: Runner, step: int) -> None:
        """MMEngine's books of what ``max_keep_ckpts`` keeps."""
        if self.max_keep_ckpts <= 0 or step in list(self.keep_ckpt_ids)[-1:]:
            return
        if len(self.keep_ckpt_ids) == self.max_keep_ckpts:
            oldest = self.keep_ckpt_ids.popleft()
            if is_main_process():
                name = self.filename_tmpl.format(oldest)
                self.file_backend.remove(
                    self.file_backend.join_path(self.out_dir, name)
                )
        self.keep_ckpt_ids.append(step)
        runner.message_hub.update_info("keep_ckpt_ids", list(self.keep_ckpt_ids))

    def _save_best_checkpoint(self, runner: Runner, metrics: Dict[str, Any]) -> None:
        if not self.save_best:
            return
        with self._saving():
            super()._save_best_checkpoint(runner, metrics)

    @master_only
    def _publish_model(self, runner: Runner, ckpt_path: str) -> None:
        if not _uses_atomic_backend(self.backend_args):
            super()._publish_model(runner, ckpt_path)
            return
        # MMEngine writes beside the checkpoint: give it one in a folder of its own.
        folder, name = osp.split(osp.abspath(ckpt_path))
        with tempfile.TemporaryDirectory(prefix=_PUBLISHING, dir=folder) as beside:
            link = osp.join(beside, name)
            os.symlink(osp.join(folder, name), link)
            super()._publish_model(runner, link)
            os.remove(link)
            for published in os.listdir(beside):
                _move_atomically(
                    osp.join(beside, published), osp.join(folder, published)
                )
                runner.logger.info(f"Published: {osp.join(folder, published)}")

    @contextmanager
    def _saving(self) -> Iterator[None]:
        """Removes afterwards; lets every rank know of an error. Nested: once."""
        if self._is_saving:
            yield
            return
        failure: Optional[Exception] = None
        self._is_saving = True
        try:
            yield
        except Exception as error:
            failure = error
        finally:
            self._is_saving = False
        _raise_on_every_rank(failure)
        backend = getattr(self, "file_backend", None)
        if isinstance(backend, _KeepsUntilTold):
            best = getattr(self, "best_ckpt_path_dict", {})
            in_use = [self.last_ckpt, getattr(self, "best_ckpt_path", None)]
            backend.remove_outdated([*in_use, *best.values()])


def _is_local(folder: Any, backend_args: Optional[Dict[str, Any]]) -> bool:
    named = (backend_args or {}).get("backend")
    if named is not None:
        return named in ("local", BACKEND_NAME)
    return "://" not in str(folder)


def _uses_atomic_backend(backend_args: Optional[Dict[str, Any]]) -> bool:
    return (backend_args or {}).get("backend") == BACKEND_NAME


def _move_atomically(source: str, target: str) -> None:
    with open(source, "rb") as stream:
        os.fsync(stream.fileno())
    os.replace(source, target)


def _raise_on_every_rank(failure: Optional[Exception]) -> None:
    """Raise rank 0's failure there, and an error that tells of it elsewhere."""
    if get_world_size() > 1:
        told = [None if failure is None else f"{type(failure).__name__}: {failure}"]
        broadcast_object_list(told, src=0)
        if failure is None and told[0] is not None:
            raise CheckpointNotSavedError(f"rank 0 could not save: {told[0]}")
    if failure is not None:
        raise failure
