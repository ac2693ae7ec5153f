"""What importing the package gives, and what pip installs."""

import re
import subprocess
import sys
import zipfile

import mmengine.registry as registries
import pytest
from checkout import copy_checkout, tracked

import mms_plugin


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
    source = copy_checkout(tmp_path / "source")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "-q"]
    command += ["--no-build-isolation", "-w", str(tmp_path), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.startswith(f"mms_plugin-{mms_plugin.__version__}-")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = (name for name in names if name.endswith("/METADATA"))
        text = archive.read(metadata).decode()
    mim = {name for name in names if name.startswith("mms_plugin/.mim/")}
    package = {name for name in tracked("mms_plugin") if ".mim/" not in name}
    assert package <= names - mim
    assert {name for name in mim if "/tools/" not in name} == {
        f"mms_plugin/.mim/{name}" for name in tracked("configs", "model-index.yml")
    }
    tools = {name.partition("/.mim/")[2] for name in mim if "/tools/" in name}
    assert {"tools/train.py", "tools/test.py", "tools/dist_train.sh"} <= tools
    assert {n for n in tools if "analysis_tools" in n} == tracked(
        "tools/analysis_tools"
    )
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
