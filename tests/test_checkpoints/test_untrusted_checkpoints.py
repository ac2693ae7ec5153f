"""No command runs the code that a crafted checkpoint holds."""

import ast
import os
import pickle
import types
from pathlib import Path

import numpy as np
import pytest
import torch
import toys  # noqa: F401
from mmengine.logging import HistoryBuffer
from mmengine.runner.checkpoint import CheckpointLoader

from mms_plugin.checkpoints import safe_globals as checkpoint

CONFIG = """
custom_imports = dict(imports=['toys', 'mms_plugin'], allow_failed_imports=False)
default_scope = 'mmengine'
model = dict(type='ToyModel')
loader = dict(
    batch_size=4, num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='ToyDataset', num=8, pipeline=[
        dict(type='MakeImage', scale=(8, 8)), dict(type='CollectToy')]),
    collate_fn=dict(type='default_collate'))
train_dataloader = loader
test_dataloader = loader
train_cfg = dict(by_epoch=True, max_epochs=1)
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1))
test_cfg = dict()
test_evaluator = dict(type='CountSamples')
log_level = 'ERROR'
"""


class Touch:
    """Unpickling it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return eval, (f"open({str(self.path)!r}, 'w').close()",)


@pytest.fixture
def marker(tmp_path):
    return tmp_path / "was_run"


@pytest.fixture
def crafted(tmp_path, marker):
    """What MMEngine writes, and one thing more."""
    path = tmp_path / "crafted.pth"
    weights = {"weight": torch.zeros(1)}
    torch.save(
        dict(state_dict=weights, meta=dict(epoch=1, iter=2, more=Touch(marker))), path
    )
    return path


@pytest.fixture
def config_file(tmp_path):
    path = tmp_path / "toy.py"
    path.write_text(CONFIG)
    return path


def test_the_file_would_run_its_code(crafted, marker):
    """Where the check is off: else the tests below would show nothing."""
    torch.load(crafted, weights_only=False)
    assert marker.exists()


@pytest.mark.skipif(
    not hasattr(torch.serialization, "add_safe_globals"),
    reason="this torch has no list of safe globals",
)
@pytest.mark.parametrize(
    "name, arguments",
    [
        ("test.py", ["{ckpt}"]),
        ("test.py", ["{ckpt}", "{ckpt}"]),
        ("train.py", ["--resume", "{ckpt}"]),
        ("train.py", ["--cfg-options", "load_from={ckpt}"]),
        ("train.py", ["--cfg-options", "load_from={ckpt}", "resume=True"]),
        (
            "train.py",
            [
                "--cfg-options",
                "model.init_cfg.type=Pretrained",
                "model.init_cfg.checkpoint={ckpt}",
            ],
        ),
        ("train.py", ["--resume"]),
        ("analysis_tools/reliability.py", ["{ckpt}"]),
        (
            "analysis_tools/calibrate_batch_sizes.py",
            ["--sizes", "8", "16", "--checkpoint", "{ckpt}"],
        ),
    ],
)
def test_a_command_refuses_it(
    tool, config_file, crafted, marker, tmp_path, name, arguments
):
    if arguments == ["--resume"]:
        (tmp_path / "work_dirs/toy").mkdir(parents=True)
        (tmp_path / "work_dirs/toy/last_checkpoint").write_text(str(crafted))
    if "reliability" in name:
        pytest.importorskip("matplotlib")
    code, text = tool(
        name, config_file, *(arg.format(ckpt=crafted) for arg in arguments)
    )
    assert code == 2, text
    assert not marker.exists()
    lines = [line for line in text.splitlines() if ": error: " in line]
    assert len(lines) == 1 and "Traceback" not in text
    # Which file, and what in it.
    assert "crafted.pth" in lines[0] or "Weights only load failed" in lines[0]
    assert "eval" in lines[0]


needs_list = pytest.mark.skipif(
    not hasattr(torch.serialization, "add_safe_globals"),
    reason="this torch has no list of safe globals",
)


@needs_list
class TestNothingFallsBack:
    @pytest.fixture
    def forced(self, monkeypatch):
        for name in (
            "TORCH_FORCE_WEIGHTS_ONLY_LOAD",
            "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD",
        ):
            monkeypatch.setenv(name, "")  # put back afterwards
            monkeypatch.delenv(name)
        assert not checkpoint.check_is_on()
        checkpoint.check_by_default()
        assert checkpoint.check_is_on()

    def test_a_caller_that_turns_the_check_off(self, forced, crafted, marker):
        with pytest.raises(pickle.UnpicklingError):
            torch.load(crafted, weights_only=False)
        assert not marker.exists()

    def test_the_loader_of_the_installed_mmengine(self, forced, crafted, marker):
        with pytest.raises(pickle.UnpicklingError):
            CheckpointLoader.load_checkpoint(str(crafted), "cpu")
        assert not marker.exists()

    def test_a_list_that_is_taken_off_again_leaves_ours(self, tmp_path):
        """The fork's loader does so after each load."""
        if not hasattr(torch.serialization, "safe_globals"):
            pytest.skip("this torch cannot take entries off its list")
        path = tmp_path / "log.pth"
        torch.save(
            dict(log=HistoryBuffer([1.0], [1]), value=np.float64(2), x=np.arange(3)),
            path,
        )
        theirs = [HistoryBuffer, np.ndarray, np.dtype, type(np.dtype(np.float64))]
        with torch.serialization.safe_globals([*theirs, type(np.dtype(np.int64))]):
            torch.load(path, weights_only=True)
        back = torch.load(path, weights_only=True)
        assert back["log"].current() == 1 and back["value"] == 2
        assert back["x"].tolist() == [0, 1, 2]

    def test_no_call_of_ours_turns_it_off(self):
        root = Path(checkpoint.__file__).parents[2]
        files = [*root.glob("mms_plugin/**/*.py"), *root.glob("tools/**/*.py")]
        assert len(files) > 50
        calls = [
            f"{file}:{node.lineno}"
            for file in files
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
            if isinstance(node, ast.keyword)
            and node.arg == "weights_only"
            and getattr(node.value, "value", None) is not True
        ]
        # The one that tries whether the check is on.
        assert len(calls) == 1 and "checkpoint" in calls[0]


@needs_list
def test_a_bare_pickle_is_refused(tool, config_file, marker, tmp_path):
    path = tmp_path / "crafted.pth"
    path.write_bytes(pickle.dumps(Touch(marker), protocol=2))
    code, text = tool("test.py", config_file, path)
    assert code == 2 and not marker.exists(), text


@pytest.mark.parametrize(
    "content",
    [b"\xff\xfe\x00", b"[" * 100_000, b"[1, 2", b"{}", b"[]", b'{"sizes": 3}'],
    ids=["binary", "deep", "cut", "empty", "list", "other"],
)
def test_times_that_are_none_are_one_line(tool, config_file, tmp_path, content):
    path = tmp_path / "times.json"
    path.write_bytes(content)
    code, text = tool("analysis_tools/training_cost.py", config_file, "--times", path)
    assert code == 2
    (line,) = text.splitlines()
    assert line.startswith(f"training_cost.py: error: --times {path}: ")


class TestOldTorch:
    """From 2.4 on torch has the list; the check is its default from 2.6 on."""

    @pytest.fixture
    def ask(self, monkeypatch):
        def ask(has_list, default, heeded=True, **environment):
            names = [
                "TORCH_FORCE_WEIGHTS_ONLY_LOAD",
                "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD",
            ]
            for name in names:
                monkeypatch.delenv(name, raising=False)
            for name, value in environment.items():
                monkeypatch.setenv(name, value)
            serialization = types.SimpleNamespace()
            if has_list:
                serialization.add_safe_globals = lambda found: None
            fake = types.SimpleNamespace(
                __version__="2.4.0",
                serialization=serialization,
                load=lambda file, weights_only=default: None,
            )
            monkeypatch.setattr(checkpoint, "torch", fake)
            monkeypatch.setattr(checkpoint, "check_is_on", lambda: heeded)
            checkpoint.check_by_default()
            return tuple(os.environ.get(name) for name in names)

        return ask

    def test_where_the_list_is_the_check_is_asked_for(self, ask):
        assert ask(has_list=True, default=False) == ("1", None)

    def test_where_it_is_the_default_it_is_asked_for_too(self, ask):
        """MMEngine after 0.10.7 and its fork pass ``weights_only=False``."""
        assert ask(has_list=True, default=None) == ("1", None)

    def test_a_torch_that_does_not_heed_it_is_refused(self, ask):
        with pytest.raises(RuntimeError, match="TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1"):
            ask(has_list=True, default=None, heeded=False)
        assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ

    def test_without_the_list_our_own_checkpoints_would_not_load(self, ask):
        assert ask(has_list=False, default=False) == (None, None)

    @pytest.mark.parametrize(
        "name", ["TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"]
    )
    def test_what_the_user_has_set_stays(self, ask, name):
        given = ask(has_list=True, default=False, **{name: "0"})
        assert sorted(given, key=str) == ["0", None]
