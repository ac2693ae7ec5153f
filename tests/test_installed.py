"""Wheel and sdist: built, installed, used from a folder without a checkout."""

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from checkout import copy_checkout, tracked

from mms_plugin.commands import mms

pytest.importorskip("mmpretrain")
pytest.importorskip("build")

# A config of the package, at a size that trains in a second.
LEAF = """
_base_ = "mms_plugin::demo/resnet18_vbs-cur_1xb16-18e_scenes.py"
train_cfg = dict(max_epochs=1)
in_process = dict(num_workers=0, persistent_workers=False)
train_dataloader = in_process
val_dataloader = in_process
test_dataloader = in_process
"""


def run(*command, cwd, **env):
    """Run a command, which must succeed, and return its standard output."""
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [*map(str, command)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**kept, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", **env},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of the checkout."""
    return copy_checkout(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def built(source, tmp_path_factory):
    """A folder with the sdist, and the wheel that was built from it."""
    before = set(source.rglob("*"))
    dist = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "-o", dist, ".", cwd=source)
    left = set(source.rglob("*")) - before
    assert {p.relative_to(source).parts[0] for p in left} == {"mms_plugin.egg-info"}
    return dist


def install(env, *arguments):
    """Make an environment with the package only, and return its ``bin`` folder.

    What the package needs comes from this environment, but no .pth file of it works
    there: a checkout that is installed here is not.
    """
    python = env / "bin" / "python"
    run(sys.executable, "-m", "venv", "--without-pip", env, cwd=env)
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(run(python, "-c", code, cwd=env).strip())
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    run(
        *(sys.executable, "-m", "pip", "--python", python, "install", "-q"),
        *("--no-deps", "--no-index", "--no-build-isolation", *arguments),
        cwd=env,
    )
    return env / "bin"


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """The ``bin`` folder of an environment with the wheel."""
    env = tmp_path_factory.mktemp("env")
    bin_folder = install(env, *built.glob("*.whl"))
    code = "import mms_plugin; print(mms_plugin.__file__)"
    assert run(bin_folder / "python", "-c", code, cwd=env).startswith(str(env))
    return bin_folder


@pytest.fixture(scope="module")
def trained(installed, tmp_path_factory):
    """A folder with ``leaf.py``, made images and what ``mms train`` left in ``run``."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "leaf.py").write_text(LEAF)
    random = np.random.default_rng(0)
    for part in ("train", "val"):
        for label in "abcd":
            images = folder / "scenes" / "classification" / part / label
            images.mkdir(parents=True)
            for number in range(10):
                pixels = random.integers(0, 255, (64, 64, 3), np.uint8)
                assert cv2.imwrite(str(images / f"{number}.png"), pixels)
    run(
        *(installed / "mms", "train", "leaf.py", "--work-dir", "run"),
        cwd=folder, MMS_SCENES=str(folder / "scenes"),
    )  # fmt: skip
    return folder


def test_the_sdist_has_files_for_links(built):
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        members = archive.getmembers()
    assert not any(member.issym() or member.islnk() for member in members)
    names = {member.name.partition("/")[2] for member in members}
    assert {f"mms_plugin/.mim/{name}" for name in tracked("configs")} <= names
    assert not any(name.startswith("tests/") for name in names)


def test_train_and_test(installed, trained):
    assert (trained / "run" / "epoch_1.pth").is_file()
    sizes = ["--sizes", "48", "64", "--json"]
    printed = run(
        *(installed / "mms", "test", "leaf.py", "run/epoch_1.pth", *sizes),
        cwd=trained, MMS_SCENES=str(trained / "scenes"),
    )  # fmt: skip
    assert "64" in printed and json.loads(printed)


def test_the_other_commands(installed, trained):
    """In one process, which imports the libraries once."""
    commands = {
        "cost": ["leaf.py", "--num-samples", "160", "--json"],
        "browse": ["leaf.py", "--out", "sheets", "--max-images", "2", "--json"],
        "calibrate": [
            *("leaf.py", "--sizes", "48", "64", "--batch-size", "4", "--measure", "1"),
            *("2", "--repeats", "1", "--data", "synthetic", "--json"),
        ],
        "plot": ["run", "--json"],
        "reliability": ["leaf.py", "run/epoch_1.pth", "--json"],
    }
    assert {"train", "test", *commands} == set(mms.COMMANDS)
    code = """
import json, sys
from mms_plugin.commands import mms

for name, arguments in json.loads(sys.argv[1]).items():
    try:
        mms.main([name, *arguments])
    except SystemExit as end:
        assert not end.code, (name, end.code)
"""
    printed = run(
        *(installed / "python", "-c", code, json.dumps(commands)),
        cwd=trained, MMS_SCENES=str(trained / "scenes"),
    )  # fmt: skip
    results = {}
    for name in commands:
        results[name], end = json.JSONDecoder().raw_decode(printed)
        printed = printed[end:].lstrip()
    assert not printed
    assert results["cost"]["epochs"][0]["images"] == 160
    assert results["cost"]["train_flops"] > 0
    assert len(list((trained / "sheets").glob("*.png"))) >= 3
    assert results["plot"]["runs"][0]["epochs"] == 1


def test_mim_finds_configs_and_tools(installed, trained):
    """As openmim looks for them: in ``.mim`` of the installed package."""
    (mim,) = installed.parent.glob("lib/*/site-packages/mms_plugin/.mim")
    assert (mim / "model-index.yml").is_file() and not (mim / "configs").is_symlink()
    printed = run(installed / "python", mim / "tools/train.py", "--help", cwd=trained)
    assert printed.startswith("usage: train.py")


def test_editable_install(source, tmp_path):
    bin_folder = install(tmp_path, "-e", source)
    (tmp_path / "leaf.py").write_text(LEAF)
    code = """
from mmengine.config import Config
import mms_plugin
print(mms_plugin.__file__)
print(Config.fromfile("leaf.py").train_dataloader.batch_sampler.type)
"""
    printed = run(bin_folder / "python", "-c", code, cwd=tmp_path).splitlines()
    assert printed[0] == str(source / "mms_plugin" / "__init__.py")
    assert printed[-1] == "MultiScaleVariableBatchSampler"
