"""The checkpoint hook that leaves no partly written file."""

from __future__ import annotations

import glob
import os
import os.path as osp
import shutil
import tempfile
from contextlib import contextmanager, suppress
from typing import Any, Dict, Iterator, List, Optional

from mmengine.dist import is_main_process, master_only
from mmengine.hooks import CheckpointHook
from mmengine.registry import HOOKS
from mmengine.runner import FlexibleRunner, Runner

from ..checkpoints.atomic_local_backend import BACKEND_NAME
from ..checkpoints.delayed_removal_backend import DelayedRemovalBackend
from ..checkpoints.find_checkpoint import LAST_CHECKPOINT
from ..checkpoints.not_saved_error import CheckpointNotSavedError, raise_on_all_ranks
from ..utils.files import move_atomically, remove_leftovers, write_atomically
from ..utils.main_process_warning import warn_on_main_process

__all__ = ["OUTDATED_KEY", "AtomicCheckpointHook", "CheckpointNotSavedError"]

OUTDATED_KEY = "outdated_checkpoints"
"""Key of a checkpoint for older files that were to be removed after it was saved."""

# Prefix of the folder in which a checkpoint is published.
_PUBLISHING = ".publish."


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """Save checkpoints so that a killed process or a full disk damages none.

    It replaces MMEngine's ``CheckpointHook`` and takes the same arguments:
    ``default_hooks=dict(checkpoint=dict(type='AtomicCheckpointHook', interval=1))``.

    - Checkpoints, ``last_checkpoint`` and published checkpoints are written to a
      temporary file, flushed to the disk, and then renamed.
    - An old checkpoint (beyond ``max_keep_ckpts``, or the previous best) is removed
      after the new one and ``last_checkpoint`` have been written, so that the disk
      needs space for one checkpoint more. Old checkpoints that a killed run did not
      remove are removed when it is resumed. Those in another folder stay, if the run
      continues in a new one.
    - If rank 0 fails to save, all ranks raise an error; none waits for another.

    The first point holds for a local or mounted disk. With ``out_dir`` or
    ``backend_args`` of another backend, or with ``file_client_args``, it depends on
    that backend; with MMEngine's ``FlexibleRunner`` on its strategy, which writes the
    checkpoint itself, and a warning says so.

    Args:
        interval: Period of saving, in epochs or iterations. Defaults to -1: never.
        **kwargs: See ``CheckpointHook``.

    Raises:
        NotWrittenError: On rank 0, if a file cannot be written, on a full disk for
            example. It names the path and the bytes that are needed and free; the
            previous files are as before.
        CheckpointNotSavedError: On the other ranks.
    """

    backend_args: Any
    file_backend: Any
    best_ckpt_path: Optional[str]

    def __init__(self, interval: int = -1, **kwargs: Any) -> None:
        super().__init__(interval=interval, **kwargs)
        self._is_saving = False
        self._left_outdated: List[str] = []

    def after_load_checkpoint(self, runner: Runner, checkpoint: Dict[str, Any]) -> None:
        """Read which files the run that saved the checkpoint was to remove."""
        self._left_outdated = list(checkpoint.get(OUTDATED_KEY, ()))

    def before_save_checkpoint(
        self, runner: Runner, checkpoint: Dict[str, Any]
    ) -> None:
        """Add to the checkpoint which files are to be removed after it."""
        backend = getattr(self, "file_backend", None)
        if isinstance(backend, DelayedRemovalBackend):
            in_use = [osp.abspath(path) for path in self._in_use()]  # written once more
            paths = dict.fromkeys(osp.abspath(path) for path in backend.outdated)
            left = [path for path in paths if path not in in_use]
            if left:
                checkpoint[OUTDATED_KEY] = left

    def before_train(self, runner: Runner) -> None:
        """Set the file backend; remove the files that a killed run has left."""
        folder = runner.work_dir if self.out_dir is None else self.out_dir
        if self.file_client_args is None and _is_local(folder, self.backend_args):
            own = {k: v for k, v in (self.backend_args or {}).items() if k != "backend"}
            self.backend_args = dict(own, backend=BACKEND_NAME)
        super().before_train(runner)
        if isinstance(runner, FlexibleRunner):
            warn_on_main_process(
                f"{type(self).__name__}: the strategy of FlexibleRunner writes the "
                "checkpoints itself: one that is cut short by a full disk or a killed "
                "process replaces an earlier one of its name"
            )
        self._keep_to_own_best()
        self.file_backend = DelayedRemovalBackend(self.file_backend)
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

    def _keep_to_own_best(self) -> None:
        """Forget best checkpoints of another folder, which are not this run's.

        The checkpoint of a resumed run names them by their path. If the run has been
        copied or moved, they are here under the same names.
        """
        backend = self.file_backend

        def own(path: Optional[str]) -> Optional[str]:
            if not path:
                return None
            here = backend.join_path(self.out_dir, osp.basename(path))
            return here if backend.isfile(here) or backend.isdir(here) else None

        if self.save_best is None:
            return
        if len(self.key_indicators) == 1:
            self.best_ckpt_path = own(self.best_ckpt_path)
        else:
            paths = self.best_ckpt_path_dict
            paths.update({key: own(path) for key, path in paths.items()})

    def _remove_left_outdated(self, runner: Runner) -> None:
        """Remove what the run that is resumed had no time to remove."""
        here = osp.abspath(self.out_dir)
        # MMEngine has no public way to ask whether a run is resumed, and from where.
        needed = [str(runner._load_from), *self._in_use()]
        kept = [osp.realpath(path) for path in needed]
        for path in self._left_outdated:
            # Only in this folder: a copied run does not remove the original's files.
            if osp.dirname(path) != here or not runner._resume:
                continue
            if osp.isfile(path) and osp.realpath(path) not in kept:
                with suppress(OSError):  # an error on one rank would stop the others
                    os.remove(path)
        self._left_outdated = []

    def _save_checkpoint_with_step(
        self, runner: Runner, step: int, meta: Dict[str, Any]
    ) -> None:
        # MMEngine has no public way to replace what writes a checkpoint and its name.
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
                # MMEngine would truncate the file before it writes it.
                write_atomically(
                    str(self.last_ckpt).encode(),
                    osp.join(runner.work_dir, LAST_CHECKPOINT),
                )

    def _forget_oldest(self, runner: Runner, step: int) -> None:
        """Remove the oldest checkpoint beyond ``max_keep_ckpts``, as MMEngine does."""
        if self.max_keep_ckpts <= 0 or step in list(self.keep_ckpt_ids)[-1:]:
            return
        if step in self.keep_ckpt_ids:  # counted anew since a resume
            self.keep_ckpt_ids.remove(step)
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
        # MMEngine writes next to the checkpoint: link it into a temporary folder.
        folder, name = osp.split(osp.abspath(ckpt_path))
        with tempfile.TemporaryDirectory(prefix=_PUBLISHING, dir=folder) as own:
            link = osp.join(own, name)
            os.symlink(osp.join(folder, name), link)
            super()._publish_model(runner, link)
            os.remove(link)
            for published in os.listdir(own):
                move_atomically(osp.join(own, published), osp.join(folder, published))
                runner.logger.info(f"Published: {osp.join(folder, published)}")

    @contextmanager
    def _saving(self) -> Iterator[None]:
        """Raise errors on all ranks, then remove outdated files; when nested, once."""
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
        raise_on_all_ranks(failure)
        backend = getattr(self, "file_backend", None)
        if isinstance(backend, DelayedRemovalBackend):
            backend.remove_outdated(self._in_use())

    def _in_use(self) -> List[str]:
        """Return the last checkpoint and the best ones."""
        best = getattr(self, "best_ckpt_path_dict", {})
        paths = [self.last_ckpt, getattr(self, "best_ckpt_path", None), *best.values()]
        return [str(path) for path in paths if path]


def _is_local(folder: Any, backend_args: Optional[Dict[str, Any]]) -> bool:
    """Return whether files go to a local or mounted disk."""
    named = (backend_args or {}).get("backend")
    if named is not None:
        return named in ("local", BACKEND_NAME)
    return "://" not in str(folder)


def _uses_atomic_backend(backend_args: Optional[Dict[str, Any]]) -> bool:
    return (backend_args or {}).get("backend") == BACKEND_NAME
