import multiprocessing

import pytest
import toys

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
