import os
from pathlib import Path

import pytest
import torch
import toys
from resume_toys import CURRICULUM, LOADED, Seen, dataset


@pytest.fixture
def train(make_runner, tmp_path, monkeypatch):
    """Train in a folder; ``stop`` cuts off, ``resume`` goes on from the last file."""

    def run(
        folder, stop=None, resume=False, hooks=(CURRICULUM,), interval=3, **changes
    ):
        hooks = [*(dict(hook) for hook in hooks), dict(type="Seen")]
        if stop:
            hooks.append(dict(type="Stop", after=stop))
        monkeypatch.setenv(LOADED, str(tmp_path / f"{folder}-{resume}.txt"))
        loader = {"num": 50, **changes.pop("loader", {})}
        loader.setdefault("dataset", dataset(loader["num"]))
        settings = dict(
            model=dict(type="ModelWithDropout"),
            work_dir=str(tmp_path / folder),
            train_dataloader=toys.train_dataloader(**loader),
            train_cfg=dict(by_epoch=True, max_epochs=4),
            optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1, momentum=0.9)),
            param_scheduler=dict(
                type="CosineAnnealingLR",
                T_max=4,
                by_epoch=True,
                convert_to_iter_based=True,
            ),
            default_hooks=dict(
                checkpoint=dict(
                    type="CheckpointHook", by_epoch=False, interval=interval
                )
            ),
            custom_hooks=[dict(hook) for hook in hooks],
            resume=resume,
        )
        settings.update(changes)
        if resume:
            torch.manual_seed(987654)  # another process
        runner = make_runner(**settings)
        if stop:
            with pytest.raises(KeyboardInterrupt):
                runner.train()
        else:
            runner.train()
        file = Path(os.environ[LOADED])
        runner.loaded = [int(line) for line in file.read_text().split()]
        (seen,) = (hook for hook in runner.hooks if isinstance(hook, Seen))
        runner.seen = seen.batches
        return runner

    return run
