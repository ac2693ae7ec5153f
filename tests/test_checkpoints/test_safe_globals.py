"""MMEngine's own checkpoints are read back; a crafted file is still refused."""

import collections
import pickle
import zipfile

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.evaluator import BaseMetric
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.optim import OneCycleParamScheduler
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import Dataset

import mms_plugin  # noqa: F401

pytestmark = pytest.mark.skipif(
    not hasattr(torch.serialization, "add_safe_globals"),
    reason="this torch has no list of safe globals",
)


class Points(Dataset):
    METAINFO = dict(classes=("low", "high"), palette=[(0, 0, 0), (255, 0, 0)])

    def __init__(self):
        self.metainfo = dict(self.METAINFO)
        generator = torch.Generator().manual_seed(0)
        self.inputs = torch.rand(16, 4, generator=generator)

    def __len__(self):
        return len(self.inputs)

    def __getitem__(self, index):
        point = self.inputs[index]
        return dict(inputs=point, target=(point.sum() > 2).float())


class Linear(BaseModel):
    def __init__(self):
        super().__init__()
        self.linear = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))

    def forward(self, inputs, target, mode="tensor"):
        out = self.linear(inputs).squeeze(1)
        if mode == "loss":
            loss = nn.functional.binary_cross_entropy_with_logits(out, target)
            return dict(loss=loss, accuracy=((out > 0) == (target > 0)).float().mean())
        return [float(x) for x in (out > 0).float() == target]


class NumpyAccuracy(BaseMetric):
    """Its value is a NumPy scalar, which then lands in the checkpoint."""

    default_prefix = "toy"

    def process(self, data_batch, data_samples):
        self.results.extend(data_samples)

    def compute_metrics(self, results):
        return dict(accuracy=np.float64(np.mean(results)), count=np.int64(len(results)))


def make_runner(work_dir, data=None, **kwargs):
    loader = dict(
        batch_size=4,
        num_workers=0,
        dataset=data or Points(),
        sampler=dict(type="DefaultSampler", shuffle=False),
        collate_fn=dict(type="default_collate"),
    )
    settings = dict(
        model=Linear(),
        work_dir=str(work_dir),
        train_dataloader=loader,
        train_cfg=dict(by_epoch=True, max_epochs=2, val_interval=1),
        optim_wrapper=dict(optimizer=dict(type="AdamW", lr=0.01)),
        param_scheduler=[
            dict(type="LinearLR", start_factor=0.1, by_epoch=False, begin=0, end=3),
            dict(type="MultiStepLR", milestones=[1, 2], by_epoch=True),
        ],
        val_dataloader=dict(loader),
        val_cfg=dict(),
        val_evaluator=[NumpyAccuracy()],
        test_dataloader=dict(loader),
        test_cfg=dict(),
        test_evaluator=[NumpyAccuracy()],
        default_hooks=dict(
            logger=dict(type="LoggerHook", interval=1),
            checkpoint=dict(
                type="CheckpointHook",
                interval=1,
                save_best="toy/accuracy",
                rule="greater",
            ),
        ),
        custom_hooks=[dict(type="EMAHook"), dict(type="SyncBuffersHook")],
        randomness=dict(seed=0),
        experiment_name=f"checkpoint_{len(list(work_dir.glob('*')))}",
    )
    settings.update(kwargs)
    return Runner(**settings)


ANNEALINGS = [
    dict(type="OneCycleLR", eta_max=0.1, total_steps=12, anneal_strategy=strategy)
    for strategy in ("cos", "linear")
]
OTHERS = [
    dict(
        type="CosineRestartLR",
        periods=[8, 8],
        restart_weights=[1, 1],
        eta_min=0.0,
        by_epoch=False,
    ),
    dict(type="PolyLR", power=0.9, end=2),
    dict(type="StepLR", step_size=1),
    dict(type="ExponentialLR", gamma=0.9),
    dict(type="ReduceOnPlateauLR", monitor="toy/accuracy"),
    dict(type="CosineAnnealingMomentum", T_max=2),
]


@pytest.mark.parametrize("schedule", [*ANNEALINGS, *OTHERS], ids=lambda s: s["type"])
def test_the_state_of_every_scheduler_is_read(tmp_path, schedule):
    wrapper = dict(optimizer=dict(type="SGD", lr=0.01, momentum=0.9))
    settings = dict(param_scheduler=schedule, optim_wrapper=wrapper)
    make_runner(tmp_path, **settings).train()
    loaded = torch.load(tmp_path / "epoch_2.pth", weights_only=True)
    (state,) = loaded["param_schedulers"]
    if schedule["type"] == "OneCycleLR":
        name = f"_annealing_{schedule['anneal_strategy']}"
        assert state["anneal_func"] is getattr(OneCycleParamScheduler, name)
    longer = dict(by_epoch=True, max_epochs=3)
    resumed = make_runner(tmp_path, resume=True, **settings, train_cfg=longer)
    resumed.train()
    assert resumed.iter == 12


def test_the_metainfo_of_a_config(tmp_path):
    data = Points()
    data.metainfo["parents"] = ConfigDict(low=dict(name="number"))
    make_runner(tmp_path, data).train()
    loaded = torch.load(tmp_path / "epoch_2.pth", weights_only=True)
    found = loaded["meta"]["dataset_meta"]["parents"]
    assert found == dict(low=dict(name="number")) and found.low.name == "number"


def test_a_run_is_resumed_and_tested(tmp_path):
    first = make_runner(tmp_path)
    first.train()
    best = list(tmp_path.glob("best_toy_accuracy_epoch_*.pth"))
    assert len(best) == 1 and (tmp_path / "epoch_2.pth").is_file()

    second = make_runner(
        tmp_path, resume=True, train_cfg=dict(by_epoch=True, max_epochs=3)
    )
    second.train()
    assert second.epoch == 3 and second.iter == 12
    # The log of the first run is there, not only the second's.
    history = second.message_hub.get_scalar("train/loss").data[0]
    assert len(history) == 12
    np.testing.assert_array_equal(
        history[:8], first.message_hub.get_scalar("train/loss").data[0]
    )
    assert second.message_hub.get_info("best_score") >= first.message_hub.get_info(
        "best_score"
    )

    # The third epoch may be the best one: its file is then in the other's place.
    (best,) = tmp_path.glob("best_toy_accuracy_epoch_*.pth")
    third = make_runner(tmp_path, load_from=str(best))
    metrics = third.test()
    assert metrics["toy/accuracy"] == pytest.approx(
        second.message_hub.get_info("best_score")
    )


def test_the_check_stays_on_and_the_file_needs_it(tmp_path):
    """Without the list the same file is refused: the test above is no accident."""
    make_runner(tmp_path).train()
    path = tmp_path / "epoch_2.pth"
    assert torch.load(path)["meta"]["epoch"] == 2
    kept = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    try:
        with pytest.raises(pickle.UnpicklingError):
            torch.load(path, weights_only=True)
    finally:
        torch.serialization.add_safe_globals(kept)
    assert torch.load(path, weights_only=True)["meta"]["epoch"] == 2


@pytest.mark.parametrize(
    "value",
    [
        np.float64(0.5),
        np.float32(-1.25),
        np.int64(7),
        np.uint8(200),
        np.bool_(True),
        np.arange(6, dtype=np.int32).reshape(2, 3),
        np.array([True, False]),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.zeros((0, 3)),
        np.array(3.5),
    ],
    ids=repr,
)
def test_numpy_values_come_back(tmp_path, value):
    torch.save({"value": value}, tmp_path / "x.pth")
    back = torch.load(tmp_path / "x.pth", weights_only=True)["value"]
    assert type(back) is type(value)
    assert back.dtype == value.dtype and back.shape == value.shape
    np.testing.assert_array_equal(back, value)


def test_history_buffer_comes_back(tmp_path):
    buffer = HistoryBuffer([1, 2, 6], [1, 1, 2])
    torch.save(buffer, tmp_path / "x.pth")
    back = torch.load(tmp_path / "x.pth", weights_only=True)
    assert back.statistics("mean") == pytest.approx(9 / 4)
    assert (back.min(), back.max(), back.current()) == (1, 6, 6)


def test_files_of_the_other_numpy_are_read(tmp_path):
    """NumPy 1 and 2 name the same functions in two modules."""
    value = {"a": np.arange(3.0), "b": np.float64(2.5)}
    torch.save(value, tmp_path / "x.pth")
    names = ("numpy._core.multiarray", "numpy.core.multiarray")
    for old, new in (names, names[::-1]):
        with (
            zipfile.ZipFile(tmp_path / "x.pth") as source,
            zipfile.ZipFile(tmp_path / "y.pth", "w") as target,
        ):
            for item in source.namelist():
                data = source.read(item)
                if item.endswith("/data.pkl"):
                    data = data.replace(old.encode(), new.encode())
                    assert new.encode() in data
                target.writestr(item, data)
        back = torch.load(tmp_path / "y.pth", weights_only=True)
        np.testing.assert_array_equal(back["a"], value["a"])
        assert back["b"] == 2.5


class _Call:
    """Pickles as a call of any function."""

    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


class TestCraftedFiles:
    @pytest.mark.parametrize(
        "payload",
        [
            _Call(eval, "1 + 1"),
            _Call(exec, "pass"),
            _Call(print, "hello"),
            _Call(collections.namedtuple, "X", "a"),
            _Call(getattr, HistoryBuffer, "register_statistics"),
            _Call(getattr, HistoryBuffer, "__init__"),
            _Call(getattr, np.ndarray, "tofile"),
            _Call(getattr, np.dtype, "__reduce__"),
            _Call(getattr, torch.Tensor, "__class__"),
            _Call(bytes, 1 << 40),
            np.array([object()], dtype=object),
        ],
        ids=lambda payload: repr(getattr(payload, "args", "object array")),
    )
    def test_refused(self, tmp_path, payload):
        torch.save({"x": payload}, tmp_path / "x.pth")
        with pytest.raises(pickle.UnpicklingError):
            torch.load(tmp_path / "x.pth")

    def test_nothing_is_run(self, tmp_path):
        marker = tmp_path / "was_here"
        torch.save(_Call(eval, f"open({str(marker)!r}, 'w')"), tmp_path / "x.pth")
        with pytest.raises(pickle.UnpicklingError):
            torch.load(tmp_path / "x.pth")
        assert not marker.exists()

    def test_subclasses_of_arrays_are_refused(self, tmp_path):
        value = np.ma.masked_array([1.0, 2.0], mask=[0, 1])
        torch.save(value, tmp_path / "x.pth")
        with pytest.raises(pickle.UnpicklingError):
            torch.load(tmp_path / "x.pth")
