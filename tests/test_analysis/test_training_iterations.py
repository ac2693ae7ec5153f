import copy

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.logging import MessageHub
from mmengine.registry import DATASETS, MODELS
from toys import PIPELINE, ToyModel, train_dataloader

from mms_plugin.analysis.training_iterations import (
    RealBatches,
    SyntheticBatches,
    TrainingIterations,
    sampler_config,
    size_schedule,
)


@DATASETS.register_module()
class TallAndWideDataset(BaseDataset):
    """Every third image is a landscape."""

    METAINFO = dict(classes=("a",))

    def load_data_list(self):
        return [dict(i=i, width=6 if i % 3 == 0 else 3, height=4) for i in range(40)]


@MODELS.register_module()
class LosesItsWay(ToyModel):
    """A loss that is no number from the third iteration on."""

    def forward(self, **inputs):
        losses = super().forward(**inputs)
        return {k: v * (1.0 if len(self.shapes) < 3 else torch.nan) for k, v in
                losses.items()}  # fmt: skip


@MODELS.register_module()
class AsksForTheEpoch(ToyModel):
    """As mmdet's TOOD does: fails where no training sets one."""

    def forward(self, **inputs):
        hub = MessageHub.get_current_instance()
        assert hub.get_info("epoch") < 4 and hub.get_info("iter") == 0
        return super().forward(**inputs)


def config(model="ToyModel", **kwargs):
    return Config(
        dict(
            model=dict(type=model, init_cfg=dict(type="Pretrained", checkpoint="no")),
            train_dataloader=train_dataloader(**kwargs),
            train_cfg=dict(by_epoch=True, max_epochs=2),
            optim_wrapper=dict(
                optimizer=dict(type="SGD", lr=0.5, momentum=0.9, weight_decay=0.1)
            ),
            custom_hooks=[dict(type="NoSuchHook")],
            visualizer=dict(type="Visualizer", vis_backends=[dict(type="NoBackend")]),
            default_scope="mmengine",
            randomness=dict(seed=3),
        )
    )


def test_batches_have_the_size_and_the_same_images_at_every_size():
    data = RealBatches(config(num=30), most_images=9, base_size=(8, 8))
    assert data.num_samples == 30
    turns = []
    for _ in range(3):
        small, large = data(6, 10, 9), data(12, 12, 4)
        assert small["inputs"].shape == (9, 3, 6, 10)
        assert small["target_size"].tolist() == [[6, 10]] * 9
        assert large["inputs"].shape == (4, 3, 12, 12)
        assert large["i"].tolist() == small["i"].tolist()[:4]
        turns.append(small["i"].tolist())
    # The next turn has other images: those of a shuffled epoch.
    assert len({i for turn in turns for i in turn}) == 27
    assert data.loading[6, 10][1] == 27 and data.loading[6, 10][0] > 0
    # On and on, over epochs.
    assert [data(6, 10, 9)["i"].numel() for _ in range(9)] == [9] * 9


def test_a_data_set_smaller_than_the_batch():
    data = RealBatches(config(num=3), most_images=8, base_size=(8, 8))
    given = data(8, 8, 8)["i"].tolist()
    assert sorted(map(given.count, range(3))) == [2, 3, 3]


@pytest.mark.parametrize("group", [True, False])
def test_batches_are_of_one_kind_where_the_sampler_groups(group):
    dataset = dict(type="TallAndWideDataset", pipeline=PIPELINE)
    made = config(dataset=dataset, group_by_aspect_ratio=group, sizes=[4, 8])
    data = RealBatches(made, most_images=6, base_size=(8, 8))
    kinds = [{i % 3 == 0 for i in data(4, 4, 6)["i"].tolist()} for _ in range(8)]
    if group:
        assert sorted(map(len, kinds)) == [1] * 8
        assert {True} in kinds and {False} in kinds
    else:
        assert {True, False} in kinds


def test_samplers_without_an_end():
    made = config(sampler=dict(type="InfiniteSampler", shuffle=True))
    data = RealBatches(made, most_images=30, base_size=(8, 8))
    seen = [data(8, 8, 30)["i"].tolist() for _ in range(10)]
    assert sorted({i for batch in seen for i in batch}) == list(range(100))


def test_iterations_train_the_real_model_and_leave_its_weights(tmp_path):
    made = config()
    before = copy.deepcopy(made.to_dict())
    training = TrainingIterations(made, str(tmp_path))
    assert made.to_dict() == before
    data = RealBatches(made, 4, (8, 8))
    for size in (4, 12, 4):
        training.prepare(data(size, size, 4))()
    model = training.model
    assert model.training and model.shapes == [
        (4, 3, 4, 4), (4, 3, 12, 12), (4, 3, 4, 4),
    ]  # fmt: skip
    assert model.weight.item() == 0.0
    # The optimizer ran: it has a momentum.
    optimizer = training._optim_wrapper.optimizer
    assert optimizer.state[model.weight]["momentum_buffer"].item() != 0.0
    assert training.device == "cpu" and not training.lost


def test_a_loss_that_is_no_number_is_noted(tmp_path):
    training = TrainingIterations(config("LosesItsWay"), str(tmp_path))
    data = RealBatches(config(), 4, (8, 8))
    for turn in range(4):
        training.prepare(data(8, 8, 2))()
        assert training.lost == (turn > 1)


def test_models_that_ask_for_the_epoch(tmp_path):
    training = TrainingIterations(config("AsksForTheEpoch"), str(tmp_path))
    training.prepare(RealBatches(config(), 4, (8, 8))(8, 8, 2))()
    assert training.model.shapes == [(2, 3, 8, 8)]


def test_checkpoint(tmp_path):
    torch.save(dict(state_dict=dict(weight=torch.tensor([7.0]))), tmp_path / "w.pth")
    training = TrainingIterations(config(), str(tmp_path), str(tmp_path / "w.pth"))
    assert training.model.weight.item() == 7.0


def test_schedule_of_a_config():
    made = config(weights=[1, 2, 3, 4, 5], cost_model=dict(beta=64))
    schedule = size_schedule(made)
    assert schedule.batch_size == 4 and schedule.base_size == (8, 8)
    # 4 * (64 + 64) = 512 over 80, 100, 128, 164 and 208
    assert schedule.batch_sizes == (6, 5, 4, 3, 2)
    assert schedule.weights == (1, 2, 3, 4, 5)
    other = size_schedule(made, sizes=[2, 8], batch_size=3)
    assert other.sizes == ((2, 2), (8, 8)) and other.weights == (1, 1)
    assert other.batch_sizes == (5, 3)  # 3 * 128 = 384 over 68


def test_configs_without_the_sampler():
    assert sampler_config({}) is None
    plain = dict(train_dataloader=dict(batch_size=4, batch_sampler=dict(type="A")))
    assert sampler_config(plain) is None
    assert size_schedule(plain, sizes=[2, 4]).batch_sizes == (16, 4)
    with pytest.raises(ValueError, match="sizes must be given"):
        size_schedule(plain)
    with pytest.raises(ValueError, match="batch_size must be"):
        size_schedule({}, sizes=[2])
    with pytest.raises(ValueError, match="MultiScaleVariableBatchSampler"):
        RealBatches(Config(plain), 4, (2, 2))


def test_synthetic_batches_of_two_views():
    pytest.importorskip("mmpretrain")
    neck = dict(in_channels=64, hid_channels=16, out_channels=8, with_avg_pool=True)
    model = dict(
        type="SimCLR",
        backbone=dict(type="ResNet", depth=18, base_channels=8, stem_channels=8),
        neck=dict(type="NonLinearNeck", **neck),
        head=dict(type="ContrastiveHead", loss=dict(type="CrossEntropyLoss")),
    )
    with MODELS.switch_scope_and_registry("mmpretrain") as registry:
        built = registry.build(model)
    data = SyntheticBatches(built)(32, 48, 2)
    assert [view.shape for view in data["inputs"]] == [(2, 3, 32, 48)] * 2
    losses = built(**built.data_preprocessor(data, training=True), mode="loss")
    assert losses["loss"].isfinite()
