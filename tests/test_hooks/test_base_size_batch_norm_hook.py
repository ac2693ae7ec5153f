"""Batch norm's statistics at the base size, at the end of real trainings."""

from pathlib import Path

import pytest
import torch
import toys
from mmengine.dataset import DefaultSampler
from mmengine.hooks import Hook
from mmengine.registry import DATA_SAMPLERS, MODELS, TRANSFORMS
from mmengine.runner.checkpoint import load_checkpoint
from resume_toys import AGVM, CURRICULUM, INFINITE, ITERATIONS

HOOK = dict(type="BaseSizeBatchNormHook", num_batches=5)
SAMPLER = dict(type="MultiScaleSamplerHook")
MODEL = dict(type="ToyNormModel")


@DATA_SAMPLERS.register_module()
class SharesOfSources(DefaultSampler):
    """As mmdet's ``MultiSourceSampler``."""

    source_ratio = (1, 4)


def statistics(model):
    return model.norm.running_mean.tolist(), model.norm.running_var.tolist()


def expected_statistics(batches):
    """Means over batches of the images' values: ``height * width`` times the index."""
    means, variances = [], []
    for (_, _, height, width), indices in batches:
        values = torch.tensor(indices, dtype=torch.float64).repeat(height * width)
        means.append(values.mean().item())
        variances.append(values.var().item())
    mean, variance = sum(means) / len(means), sum(variances) / len(variances)
    return pytest.approx([mean] * 3), pytest.approx([variance] * 3, rel=1e-5)


def run(make_runner, *hooks, max_epochs=2, **changes):
    settings = dict(
        model=dict(MODEL),
        custom_hooks=[dict(hook) for hook in hooks],
        train_cfg=dict(by_epoch=True, max_epochs=max_epochs),
    )
    settings.update(changes)
    runner = make_runner(**settings)
    runner.train()
    return runner


@pytest.mark.parametrize(
    "changes",
    [
        dict(),
        dict(
            train_dataloader=toys.train_dataloader(
                sampler=INFINITE, num_workers=2, persistent_workers=True
            ),
            train_cfg=dict(by_epoch=False, max_iters=6, val_interval=100),
        ),
    ],
)
def test_statistics_are_means_over_batches_at_the_base_size(make_runner, changes):
    runner = run(make_runner, CURRICULUM, HOOK, **changes)
    model = runner.model
    assert [shape for shape, _ in model.without_gradients] == [(4, 3, 8, 8)] * 5
    used = [i for _, batch in model.without_gradients for i in batch]
    assert len(set(used)) == len(used) == 20
    mean, variance = expected_statistics(model.without_gradients)
    assert statistics(model) == (mean, variance)
    assert model.norm.momentum == 0.1
    assert model.norm.num_batches_tracked == runner.iter == runner.max_iters
    # The last checkpoint has them.
    saved = toys.ToyNormModel()
    with open(runner.work_dir + "/last_checkpoint") as file:
        load_checkpoint(saved, file.read().strip(), logger="silent")
    assert statistics(saved) == statistics(model)


def test_the_training_is_as_without_the_hook(make_runner, tmp_path):
    plain = run(make_runner, SAMPLER, max_epochs=4, work_dir=str(tmp_path / "plain"))
    folder = str(tmp_path / "longer")
    first = run(make_runner, SAMPLER, HOOK, max_epochs=2, work_dir=folder)
    assert len(first.model.without_gradients) == 5
    drawn = torch.rand(1)
    longer = run(make_runner, SAMPLER, max_epochs=4, work_dir=folder, resume=True)
    assert torch.equal(longer.model.weight, plain.model.weight)
    assert longer.iter == plain.iter
    again = run(make_runner, SAMPLER, max_epochs=2, work_dir=str(tmp_path / "again"))
    assert torch.equal(torch.rand(1), drawn)
    assert statistics(again.model) != statistics(first.model)
    assert torch.equal(again.model.weight, first.model.weight)


@pytest.mark.parametrize(
    "changes", [dict(), dict(ITERATIONS, loader=dict(sampler=INFINITE))]
)
def test_resumed_training_has_the_same_statistics(train, changes):
    settings = dict(changes, hooks=[CURRICULUM, HOOK], optim_wrapper=AGVM)
    whole = train("whole", **settings)
    last = whole.max_iters
    train("cut", stop=last - 1, **settings)
    resumed = train("cut", resume=True, **settings)
    states = [runner.model.state_dict() for runner in (resumed, whole)]
    assert all(torch.equal(states[0][name], value) for name, value in states[1].items())
    plain = train("plain", **dict(settings, hooks=[CURRICULUM])).model.state_dict()
    differs = {
        name for name, value in plain.items() if (value != states[1][name]).any()
    }
    assert differs == {"backbone.1.running_mean", "backbone.1.running_var"}


@TRANSFORMS.register_module()
class KeepNumber:
    """The number of the sample, as a model that validates nothing takes it."""

    def __call__(self, results):
        return dict(inputs=torch.ones(3, 8, 8), i=torch.tensor(results["i"]))


@pytest.mark.parametrize("update_buffers", [False, True])
def test_the_averaged_model_that_is_validated_is_the_one_that_is_saved(
    make_runner, update_buffers
):
    class Validated(Hook):
        priority = "LOWEST"

        def before_val_epoch(self, runner):
            self.state = {k: v.clone() for k, v in runner.model.state_dict().items()}

    ema = dict(type="EMAHook", momentum=0.5, update_buffers=update_buffers)
    look = Validated()
    runner = make_runner(
        model=dict(type="ToyNormModel"),
        custom_hooks=[dict(hook) for hook in (CURRICULUM, ema, HOOK)],
        train_cfg=dict(by_epoch=True, max_epochs=2, val_begin=2),
        val_cfg=dict(),
        val_evaluator=dict(type="CountSamples"),
        val_dataloader=dict(
            batch_size=4,
            num_workers=0,
            sampler=dict(type="DefaultSampler", shuffle=False),
            collate_fn=dict(type="default_collate"),
            dataset=dict(type="ToyDataset", num=4, pipeline=[dict(type="KeepNumber")]),
        ),
    )
    runner.register_hook(look)
    runner.train()
    (hook,) = (h for h in runner.hooks if type(h).__name__ == "EMAHook")
    averaged = hook.ema_model.module
    assert len(averaged.without_gradients) == 5
    assert averaged.weight.item() != runner.model.weight.item()
    expected = expected_statistics(averaged.without_gradients)
    assert statistics(averaged) == expected
    saved = torch.load(runner.work_dir + "/epoch_2.pth", weights_only=False)
    assert all(
        torch.equal(look.state[name], value)
        for name, value in saved["state_dict"].items()
    )
    assert saved["state_dict"]["norm.running_mean"].tolist() == expected[0]
    assert len(runner.model.without_gradients) == (5 if update_buffers else 0)


def test_images_loaded_for_it_are_no_losses_of_the_training(make_runner):
    runner = run(make_runner, CURRICULUM, HOOK)
    dataset = runner.train_dataloader.dataset
    images = sum(losses.images for losses in dataset.size_losses().values())
    assert images == 2 * len(dataset)


@MODELS.register_module()
class FailsAtTheBaseSize(toys.ToyNormModel):
    """As a model whose batch at the base size does not fit into the memory."""

    def forward(self, inputs, **kwargs):
        if not torch.is_grad_enabled() and kwargs.get("mode") == "loss":
            raise RuntimeError("out of memory")
        return super().forward(inputs, **kwargs)


def test_a_failure_does_not_lose_the_finished_training(make_runner, tmp_path, caplog):
    whole = run(make_runner, SAMPLER, work_dir=str(tmp_path / "without"))
    caplog.clear()
    runner = make_runner(
        model=dict(type="FailsAtTheBaseSize"),
        custom_hooks=[dict(SAMPLER), dict(HOOK)],
        train_cfg=dict(by_epoch=True, max_epochs=2),
    )
    runner.logger.addHandler(caplog.handler)
    runner.train()
    (told,) = [r for r in caplog.records if "out of memory" in r.getMessage()]
    assert "failed: RuntimeError: out of memory" in told.getMessage()
    assert told.levelname == "ERROR"  # so that every rank says its own
    assert statistics(runner.model) == statistics(whole.model)
    assert runner.model.norm.momentum == 0.1
    assert Path(runner.work_dir, "epoch_2.pth").is_file()


def test_few_images_are_given_twice(make_runner):
    runner = run(
        make_runner, SAMPLER, HOOK, train_dataloader=toys.train_dataloader(num=3)
    )
    ((shape, indices),) = runner.model.without_gradients
    assert shape == (4, 3, 8, 8) and set(indices) == {0, 1, 2}


def test_bad_input_and_settings_without_effect(make_runner):
    with pytest.raises(
        ValueError, match="num_batches must be an integer of at least 1"
    ):
        make_runner(custom_hooks=[dict(HOOK, num_batches=0)])
    loader = toys.train_dataloader(sampler=dict(type="SharesOfSources"))
    with pytest.raises(ValueError, match="SharesOfSources gives each source its share"):
        run(make_runner, SAMPLER, HOOK, train_dataloader=loader)
    with pytest.raises(ValueError, match="needs the multi-scale batch sampler"):
        loader = toys.train_dataloader()
        del loader["batch_sampler"]
        loader["dataset"] = dict(type="ToyDataset", pipeline=[])
        run(make_runner, HOOK, train_dataloader=loader)
    runner = run(make_runner, SAMPLER, HOOK, max_epochs=1, model=dict(type="ToyModel"))
    (log,) = Path(runner.log_dir).glob("*.log")
    assert log.read_text().count("has no effect: the model has no batch norm") == 1
