"""What importing the package gives, and what pip installs."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import mmengine.registry as registries
import pytest

import mms_plugin

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("name", mms_plugin.__all__)
def test_every_public_name_is_there(name):
    assert getattr(mms_plugin, name) is not None


@pytest.mark.parametrize(
    ("registry", "name"),
    [
        ("DATA_SAMPLERS", "MultiScaleVariableBatchSampler"),
        ("DATASETS", "MultiScaleDataset"),
        ("TRANSFORMS", "MultiScaleTransform"),
        ("HOOKS", "ResolutionCurriculumHook"),
        ("OPTIM_WRAPPERS", "BFloat16OptimWrapper"),
    ],
)
def test_components_are_found_from_every_library(registry, name):
    """The root registries: each library's scope looks there."""
    found = getattr(registries, registry).get(name)
    assert found is getattr(mms_plugin, name)
    for library in ("mmdet", "mmpretrain"):
        module = pytest.importorskip(f"{library}.registry")
        assert getattr(module, registry).get(name) is found


def test_the_wheel_holds_the_whole_package(tmp_path):
    """Built with this environment's setuptools, as ``pip install .`` would."""
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "-q"]
    command += ["--no-build-isolation", "-w", str(tmp_path), str(ROOT)]
    copy = tmp_path / "source"
    copy.mkdir()
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "mms_plugin", "setup.py",
         "pyproject.toml"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in listed.stdout.split():
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    command[-1] = str(copy)
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.startswith(f"mms_plugin-{mms_plugin.__version__}-")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = (name for name in names if name.endswith("/METADATA"))
        text = archive.read(metadata).decode()
    modules = {name for name in listed.stdout.split() if name.startswith("mms_plugin/")}
    assert {name for name in modules if (ROOT / name).is_file()} <= names
    assert "mms_plugin/py.typed" in names
    assert not any(name.startswith("tests/") for name in names)
    # pip would put a required MMEngine over a fork of it with the same import name.
    required = re.findall(r"^Requires-Dist: ([\w.-]+)[^;\n]*$", text, re.MULTILINE)
    assert sorted(required) == ["numpy", "torch"]
    extras = re.findall(r"^Provides-Extra: ([\w-]+)$", text, re.MULTILINE)
    assert sorted(extras) == [
        "cls",
        "corruptions",
        "det",
        "dev",
        "docs",
        "mmengine",
        "onedl-cls",
        "onedl-det",
        "seg",
    ]
    assert "Requires-Python: >=3.9" in text
