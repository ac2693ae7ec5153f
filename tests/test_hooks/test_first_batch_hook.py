"""A converted pipeline is tried on a batch before the training starts."""

import pytest
import toys
from mmengine.model import BaseDataPreprocessor
from mmengine.registry import MODELS, TRANSFORMS

from mms_plugin import cli
from mms_plugin.hooks import FirstBatchHook


@TRANSFORMS.register_module()
class FailsAt:
    """Fails for images of one height."""

    def __init__(self, height):
        self.height = height

    def __call__(self, results):
        if results["img"].shape[0] == self.height:
            raise KeyError("no key")
        return results


def trained(make_runner, *transforms, model=None, **sampler):
    pipeline = [toys.PIPELINE[0], *transforms, toys.PIPELINE[-1]]
    dataset = dict(type="ToyDataset", num=100, pipeline=pipeline)
    runner = make_runner(
        model=model or dict(type="ToyModel"),
        train_dataloader=toys.train_dataloader(dataset=dataset, **sampler),
        train_cfg=dict(by_epoch=True, max_epochs=1),
    )
    runner.register_hook(FirstBatchHook())
    try:
        runner.train()
    finally:
        cli.end_workers(runner)
    return runner


def test_the_training_is_the_same(make_runner):
    runner = trained(make_runner)
    plain = make_runner(train_cfg=dict(by_epoch=True, max_epochs=1))
    plain.train()
    assert runner.model.shapes == plain.model.shapes
    assert runner.model.samples == plain.model.samples
    assert runner.model.weight.equal(plain.model.weight)


def test_a_transform_that_fails(make_runner):
    with pytest.raises(ValueError, match=r"the first batch, .* fails to load: .*key"):
        trained(make_runner, dict(type="FailsAt", height=6), sizes=[6])


def test_a_transform_of_another_size(make_runner):
    wrong = dict(type="MakeImage", scale=(9, 9))
    words = "must have images of 6x6, but got one of 9x9: a transform"
    with pytest.raises(ValueError, match=words):
        trained(make_runner, wrong, sizes=[6])


@MODELS.register_module()
class ResizesBatches(BaseDataPreprocessor):
    """As mmdet's with ``BatchResize``."""

    def __init__(self, scale):
        super().__init__()


def test_a_size_that_the_data_preprocessor_sets(make_runner):
    wrapped = dict(
        type="MultiScaleDataPreprocessor",
        preprocessor=dict(type="ResizesBatches", scale=(9, 9)),
        size_arg="scale",
    )
    model = dict(type="ToyModel", data_preprocessor=wrapped)
    loaded = dict(type="MakeImage", scale=(9, 9))
    assert trained(make_runner, loaded, sizes=[6], model=model).iter > 0


@TRANSFORMS.register_module()
class PadsTo(toys.MakeImage):
    """Gives images of a side, as a ``Pad`` with ``size_divisor`` would."""

    def __init__(self, side, size_divisor=None):
        super().__init__(scale=(side, side))


@pytest.mark.parametrize(
    "side, divisor, refused",
    [(8, 4, False), (9, 4, True), (12, 4, True), (8, None, True), (8, 2, True)],
)
def test_sides_may_be_padded_to_a_multiple(make_runner, side, divisor, refused):
    """6 px become 8 with ``size_divisor=4``; 9 is no multiple, 12 the next but one."""
    pad = dict(type="PadsTo", side=side, size_divisor=divisor)
    if refused:
        with pytest.raises(ValueError, match="must have images of 6x6"):
            trained(make_runner, pad, sizes=[6])
    else:
        trained(make_runner, pad, sizes=[6])


def test_resumed_in_an_epoch_of_which_nothing_is_left(make_runner, tmp_path):
    """The last checkpoint is of its end, and the batch size changes."""

    def run(batch_size, **changes):
        runner = make_runner(
            work_dir=str(tmp_path),
            custom_hooks=[dict(type="MultiScaleSamplerHook")],
            train_dataloader=toys.train_dataloader(num=40, batch_size=batch_size),
            default_hooks=dict(
                checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=1)
            ),
            **changes,
        )
        runner.register_hook(FirstBatchHook())
        runner.train()
        return runner

    first = run(4, train_cfg=dict(by_epoch=True, max_epochs=1))
    (tmp_path / "last_checkpoint").write_text(str(tmp_path / f"iter_{first.iter}.pth"))
    more = run(8, resume=True, train_cfg=dict(by_epoch=True, max_epochs=3))
    assert more.iter == more.max_iters
    seen = [i for batch in more.model.samples for i in batch]
    assert sorted(seen) == sorted([*range(40)] * 2)


def test_resumed_in_a_loop_by_iterations(make_runner, tmp_path):
    """The next batch of the curriculum, not one of its start sizes."""
    settings = dict(
        work_dir=str(tmp_path),
        train_cfg=dict(by_epoch=False, max_iters=24, val_interval=100),
        default_hooks=dict(
            checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=12)
        ),
        custom_hooks=[
            dict(
                type="ResolutionCurriculumHook",
                start_sizes=[4],
                end_sizes=[8],
                end=0.3,
            )
        ],
    )

    def loader(*transforms):
        pipeline = [toys.PIPELINE[0], *transforms, toys.PIPELINE[-1]]
        dataset = dict(type="ToyDataset", num=24, pipeline=pipeline)
        return toys.train_dataloader(dataset=dataset, sizes=[4, 8], seed=0)

    first = make_runner(**settings, train_dataloader=loader())
    first.train()
    size = first.model.shapes[12][2]
    assert size == 8 and first.model.shapes[0][2] == 4
    (tmp_path / "last_checkpoint").write_text(str(tmp_path / "iter_12.pth"))
    resumed = make_runner(
        **settings,
        train_dataloader=loader(dict(type="FailsAt", height=8)),
        resume=True,
    )
    resumed.register_hook(FirstBatchHook())
    with pytest.raises(ValueError, match="the first batch, .*8x8.* fails to load"):
        resumed.train()


def test_without_the_sampler_nothing_is_made(make_runner):
    loader = toys.train_dataloader()
    loader["dataset"] = dict(
        type="ToyDataset",
        num=8,
        pipeline=[
            dict(type="MakeImage", scale=(6, 6)),
            dict(type="MultiScaleTransform", transform=dict(type="MakeImage")),
        ],
    )
    del loader["batch_sampler"]
    runner = make_runner(train_dataloader=loader)
    FirstBatchHook().before_train(runner)
