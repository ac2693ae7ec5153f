"""What one trial tells of its batch."""

import pytest
import torch
import toys
from mmengine.registry import MODELS

from mms_plugin.dry_run.trial import Trial
from mms_plugin.dry_run.trial_batches import choose_batches, load_batches
from mms_plugin.multi_scale.dry_run_plan import DryRunPoint

POINT = DryRunPoint((6, 6), 3)


@MODELS.register_module()
class FailingModel(toys.ToyModel):
    """Raises one of these."""

    errors = dict(
        memory=torch.cuda.OutOfMemoryError("CUDA out of memory. Tried 2 GiB"),
        other=KeyError("no such thing"),
    )

    def __init__(self, error, **kwargs):
        super().__init__(**kwargs)
        self.error = error

    def forward(self, *args, **kwargs):
        raise self.errors[self.error]


@pytest.fixture
def run(make_runner):
    """Run a trial of :data:`POINT`."""

    def run(times=1, **changes):
        runner = make_runner(log_level="INFO", **changes)
        runner._train_loop = runner.build_train_loop(runner.cfg.train_cfg)
        runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
        loader = runner.train_loop.dataloader
        trial = Trial(runner, POINT)
        trial.run(iter(load_batches(loader, choose_batches(loader, [POINT]))), times)
        return runner, trial

    return run


@pytest.mark.parametrize("times", [1, 2])
def test_the_batch_is_run_at_its_size(run, times):
    runner, trial = run(times)
    assert trial.failure is None and trial.peak is None  # the CPU counts none
    assert runner.model.shapes == [(3, 3, 6, 6)] * times


def test_a_full_memory_is_told_with_what_to_change(run):
    _, trial = run(model=dict(type="FailingModel", error="memory"))
    error = trial.error(trial.failure)
    assert type(error) is ValueError
    assert "Dry run: a batch of 3 images of 6x6 does not fit into the" in str(error)
    assert "lower train_dataloader.batch_size=4" in str(error)


def test_another_error_keeps_its_cause(run):
    _, trial = run(model=dict(type="FailingModel", error="other"))
    error = trial.error(trial.failure)
    assert type(error) is RuntimeError and isinstance(error.__cause__, KeyError)
    assert "an iteration of 3 images of 6x6 fails on cpu, rank 0" in str(error)


def test_a_loss_that_is_not_finite_is_warned_of(run, tmp_path):
    runner, trial = run()
    with torch.no_grad():
        runner.model.weight.fill_(float("nan"))
    trial.run_with_all_gradients()
    trial.log(1, 5)
    (log,) = (tmp_path / "run").rglob("*.log")
    text = log.read_text()
    assert "Dry run 1/5: 3 images of 6x6: " in text
    assert "the loss of 3 images of 6x6 is not finite" in text
