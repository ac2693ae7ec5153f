"""No command runs the code that a crafted checkpoint holds."""

import os
import pickle
import types

import pytest
import torch
import toys  # noqa: F401

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
            ["--sizes", "8", "--checkpoint", "{ckpt}"],
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
        def ask(has_list, default, **environment):
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
                serialization=serialization,
                load=lambda file, weights_only=default: None,
            )
            monkeypatch.setattr(checkpoint, "torch", fake)
            checkpoint.check_by_default()
            return tuple(os.environ.get(name) for name in names)

        return ask

    def test_where_the_list_is_the_check_is_asked_for(self, ask):
        assert ask(has_list=True, default=False) == ("1", None)

    def test_where_it_is_the_default_nothing_is_set(self, ask):
        assert ask(has_list=True, default=None) == (None, None)

    def test_without_the_list_our_own_checkpoints_would_not_load(self, ask):
        assert ask(has_list=False, default=False) == (None, None)

    @pytest.mark.parametrize(
        "name", ["TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"]
    )
    def test_what_the_user_has_set_stays(self, ask, name):
        given = ask(has_list=True, default=False, **{name: "0"})
        assert sorted(given, key=str) == ["0", None]
