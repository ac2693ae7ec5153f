"""Which hosts are refused, and with which words."""

import subprocess
import sys

import pytest

from mms_plugin.utils import host_versions
from mms_plugin.utils.host_versions import (
    HOSTS,
    MissingHostError,
    UnsupportedVersionError,
    check_versions,
    require,
)

GOOD = {
    "torch": "2.11.0+cu130",
    "mmengine": "0.10.7",
    "mmcv": "2.1.0",
    "mmdet": "3.3.0",
    "mmpretrain": "1.2.0",
}


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("torch", "2.0"),
        ("torch", "2.0.0a0+gitabc"),
        ("torch", "3.1.0"),
        ("mmengine", "0.10.0"),
        ("mmengine", "0.99.1"),
        ("mmcv", "2.0.0"),
        ("mmcv", "2.0.0rc4"),
        ("mmcv", "2.2.0"),
        ("mmcv", "2.2.9"),
        ("mmdet", "3.0.0"),
        ("mmdet", "3.99"),
        ("mmpretrain", "1.0.0rc8"),
        ("mmpretrain", "1.9.9"),
        ("mmdet", "unknown"),
    ],
)
def test_supported(name, version):
    check_versions({**GOOD, name: version}, (3, 8, 0))


@pytest.mark.parametrize(
    ("name", "version", "supported"),
    [
        ("torch", "1.13.1+cu117", ">=2.0.0"),
        ("mmengine", "0.9.1", ">=0.10.0,<1.0.0"),
        ("mmengine", "1.0.0", ">=0.10.0,<1.0.0"),
        ("mmcv", "1.7.2", ">=2.0.0,<2.3.0"),
        ("mmcv", "2.3.0", ">=2.0.0,<2.3.0"),
        ("mmcv", "2.10.0", ">=2.0.0,<2.3.0"),
        ("mmdet", "2.28.2", ">=3.0.0,<4.0.0"),
        ("mmdet", "4.0.0", ">=3.0.0,<4.0.0"),
        ("mmpretrain", "0.25.0", ">=1.0.0,<2.0.0"),
        ("mmpretrain", "2.0.0", ">=1.0.0,<2.0.0"),
    ],
)
def test_refused_in_one_line(name, version, supported):
    with pytest.raises(UnsupportedVersionError) as caught:
        check_versions({**GOOD, name: version}, (3, 11, 7))
    text = str(caught.value)
    assert "\n" not in text
    for part in (name, version, supported, f'pip install "{name}{supported}"'):
        assert part in text


def test_old_python_is_refused():
    with pytest.raises(UnsupportedVersionError, match=r"Python >=3.8.*Python 3.7.16"):
        check_versions(GOOD, (3, 7, 16))


def test_absent_hosts_are_not_checked():
    check_versions({"torch": "2.1.0"}, (3, 12, 1))
    check_versions({}, (3, 12, 1))


def test_metadata_is_read_under_other_names(monkeypatch):
    installed = {"torch": "2.4.0", "mmcv-lite": "1.0.0"}

    def version(name):
        if name not in installed:
            raise host_versions.metadata.PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(host_versions.metadata, "version", version)
    assert host_versions.installed_versions() == {"torch": "2.4.0", "mmcv": "1.0.0"}
    with pytest.raises(UnsupportedVersionError, match=r"mmcv 1\.0\.0 is installed"):
        host_versions.check_host_versions()


def test_import_refuses_before_a_host_is_touched(tmp_path):
    """A real import, next to the metadata of an mmdet that is too old."""
    folder = tmp_path / "mmdet-2.28.2.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: mmdet\nVersion: 2.28.2\n"
    )
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "try:\n    import mms_plugin\n"
        "except ImportError as error:\n    print(error)\n"
        "hosts = ('torch', 'mmengine', 'mmdet')\n"
        "print([name for name in hosts if name in sys.modules])"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert out == [
        "mms_plugin supports mmdet >=3.0.0,<4.0.0, but mmdet 2.28.2 is installed; "
        'run: pip install "mmdet>=3.0.0,<4.0.0"',
        "[]",
    ]


def test_import_needs_three_packages_alone():
    """mmcv, mmdet, mmpretrain and OpenCV are not there: the import still works."""
    code = (
        "import sys\n"
        "for name in ('mmcv', 'mmdet', 'mmpretrain', 'torchvision', 'matplotlib',"
        " 'pycocotools', 'scipy', 'PIL'):\n"
        "    sys.modules[name] = None\n"
        "import mms_plugin\n"
        "print(mms_plugin.__version__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


class TestRequire:
    def test_returns_the_module(self):
        assert require("json").dumps([1]) == "[1]"
        assert require("importlib.metadata").__name__ == "importlib.metadata"

    def test_absent_host(self, monkeypatch):
        monkeypatch.setattr(sys, "path", [])
        for name in list(sys.modules):
            if name.partition(".")[0] == "mmdet":
                monkeypatch.delitem(sys.modules, name)
        monkeypatch.setattr(sys, "meta_path", [])
        with pytest.raises(MissingHostError) as caught:
            require("mmdet.datasets", "MultiScaleTransform")
        assert str(caught.value) == (
            "MultiScaleTransform needs the package mmdet, which is not installed; "
            'run: pip install "mmdet>=3.0.0,<4.0.0"'
        )

    def test_absent_other_package(self):
        with pytest.raises(MissingHostError, match="pip install no_such_package_x"):
            require("no_such_package_x.part")

    def test_a_fault_inside_an_installed_package_is_its_own(
        self, tmp_path, monkeypatch
    ):
        (tmp_path / "half_there.py").write_text("import no_such_package_x\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        with pytest.raises(ModuleNotFoundError) as caught:
            require("half_there")
        assert caught.value.name == "no_such_package_x"
        assert not isinstance(caught.value, MissingHostError)


def test_setup_py_and_check_agree():
    """What pip is told is what the import checks."""
    from pathlib import Path

    text = (Path(__file__).parents[2] / "setup.py").read_text()
    assert "mmengine>=0.10.0,<1.0" in text
    for host in HOSTS:
        if host.name in ("mmcv", "mmdet", "mmpretrain"):
            end = host.below[: -len(".0")]
            assert f"{host.name}>={host.minimum},<{end}" in text
