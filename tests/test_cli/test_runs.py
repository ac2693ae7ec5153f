import multiprocessing

import pytest
import toys
from mmengine.registry import DATASETS
from torch.utils.data import IterableDataset

from mms_plugin import cli


def test_a_fault_after_the_first_iteration_is_no_bad_input():
    """It keeps its traceback; before, it is shown as the user's."""

    class Runner:
        cfg = dict()

        def register_hook(self, hook):
            self.hook = hook

    runner = Runner()
    with pytest.raises(cli.UserError, match="sizes is empty"), cli.run_started(runner):
        raise ValueError("sizes is empty")
    with pytest.raises(ValueError, match="NaN"), cli.run_started(runner):
        runner.hook.before_train_iter(runner, 0)
        raise ValueError("loss is NaN")


@pytest.mark.parametrize("by_epoch", [True, False])
def test_workers_end_with_the_run(make_runner, by_epoch):
    loader = toys.train_dataloader(num_workers=1, persistent_workers=True)
    train_cfg = dict(by_epoch=True, max_epochs=1)
    if not by_epoch:
        train_cfg = dict(by_epoch=False, max_iters=3)
    runner = make_runner(train_dataloader=loader, train_cfg=train_cfg)
    before = set(multiprocessing.active_children())
    during = []
    with cli.run_started(runner):
        runner.train()
        during += set(multiprocessing.active_children()) - before
    assert during and not any(worker.is_alive() for worker in during)


@DATASETS.register_module()
class OwnShare(IterableDataset):
    def __iter__(self):
        yield from ()

    def __len__(self):
        return 0


def loader_without_sampler(**changes):
    dataset = dict(type="ToyDataset", num=6, pipeline=[])
    return {"batch_size": 2, "num_workers": 0, "dataset": dataset, **changes}


EVALUATION = dict(
    val_cfg=dict(),
    val_evaluator=dict(type="CountSamples"),
    test_cfg=dict(),
    test_evaluator=dict(type="CountSamples"),
    test_dataloader=loader_without_sampler(),
)


def test_ranks_that_would_all_evaluate_every_image(make_runner, monkeypatch):
    runner = make_runner(val_dataloader=loader_without_sampler(), **EVALUATION)
    monkeypatch.setattr(cli.runs, "get_world_size", lambda: 2)
    text = "val_dataloader has no sampler: .*shuffle=False"
    with pytest.raises(cli.UserError, match=text), cli.run_started(runner):
        runner.train()


def test_ranks_that_share_the_images_in_another_way(make_runner, monkeypatch):
    """The loader of a loop that does not run is no fault either."""
    loader = loader_without_sampler(dataset=dict(type="OwnShare"))
    runner = make_runner(val_dataloader=loader, **EVALUATION)
    monkeypatch.setattr(cli.runs, "get_world_size", lambda: 2)
    runner.build_val_loop(runner.cfg.val_cfg)
    with cli.run_started(runner):
        runner.call_hook("before_run")
