"""Which hosts are refused, and with which words."""

import subprocess
import sys

import pytest

from mms_plugin.utils import host_versions
from mms_plugin.utils.host_versions import (
    FORKS,
    HOSTS,
    Installed,
    MissingHostError,
    UnsupportedVersionError,
    check_combination,
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
        ("torch", "2.1"),
        ("torch", "2.1.0a0+gitabc"),
        ("torch", "3.1.0"),
        ("mmengine", "0.10.3"),
        ("mmengine", "0.99.1"),
        ("mmcv", "2.0.0"),
        ("mmcv", "2.0.0rc4"),
        ("mmcv", "2.2.0"),
        ("mmcv", "2.2.9"),
        ("mmdet", "3.2.0"),
        ("mmdet", "3.99"),
        ("mmpretrain", "1.0.0rc8"),
        ("mmpretrain", "1.9.9"),
        ("mmdet", "unknown"),
    ],
)
def test_supported(name, version):
    check_versions({**GOOD, name: version}, (3, 9, 0))


@pytest.mark.parametrize(
    ("name", "version", "supported"),
    [
        ("torch", "1.13.1+cu117", ">=2.1.0"),
        ("torch", "2.0.1", ">=2.1.0"),
        ("mmengine", "0.10.2", ">=0.10.3,<1.0.0"),
        ("mmengine", "0.9.1", ">=0.10.3,<1.0.0"),
        ("mmengine", "1.0.0", ">=0.10.3,<1.0.0"),
        ("mmcv", "1.7.2", ">=2.0.0,<2.3.0"),
        ("mmcv", "2.3.0", ">=2.0.0,<2.3.0"),
        ("mmcv", "2.10.0", ">=2.0.0,<2.3.0"),
        ("mmdet", "3.1.0", ">=3.2.0,<4.0.0"),
        ("mmdet", "2.28.2", ">=3.2.0,<4.0.0"),
        ("mmdet", "4.0.0", ">=3.2.0,<4.0.0"),
        ("mmpretrain", "0.25.0", ">=1.0.0,<2.0.0"),
        ("mmpretrain", "2.0.0", ">=1.0.0,<2.0.0"),
    ],
)
def test_refused_in_one_line(name, version, supported):
    with pytest.raises(UnsupportedVersionError) as caught:
        check_versions({**GOOD, name: version}, (3, 11, 7))
    text = str(caught.value)
    assert "\n" not in text
    isolation = "--no-build-isolation " if name == "mmcv" else ""
    command = f'pip install {isolation}"{name}{supported}"'
    for part in (name, version, supported, command):
        assert part in text


def test_old_python_is_refused():
    with pytest.raises(UnsupportedVersionError, match=r"Python >=3.9.*Python 3.8.18"):
        check_versions(GOOD, (3, 8, 18))


def test_absent_hosts_are_not_checked():
    check_versions({"torch": "2.1.0"}, (3, 12, 1))
    check_versions({}, (3, 12, 1))


def _versions():
    """The versions of the installed hosts by import name."""
    found = host_versions.installed_hosts()
    return {name: host.version for name, host in found.items()}


def test_metadata_is_read_under_other_names(monkeypatch):
    installed = {"torch": "2.4.0", "mmcv-lite": "1.0.0"}

    def version(name):
        if name not in installed:
            raise host_versions.metadata.PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(host_versions.metadata, "version", version)
    assert _versions() == {"torch": "2.4.0", "mmcv": "1.0.0"}
    with pytest.raises(UnsupportedVersionError, match=r"mmcv 1\.0\.0 is installed"):
        host_versions.check_host_versions()


def test_import_refuses_before_a_host_is_touched(tmp_path):
    """A real import, next to the metadata of an mmsegmentation that is too old."""
    folder = tmp_path / "mmsegmentation-0.30.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: mmsegmentation\nVersion: 0.30.0\n"
    )
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "try:\n    import mms_plugin\n"
        "except ImportError as error:\n    print(error)\n"
        "hosts = ('torch', 'mmengine', 'mmdet', 'mmseg')\n"
        "print([name for name in hosts if name in sys.modules])"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert out == [
        "mms_plugin supports mmseg >=1.0.0,<2.0.0, but mmseg 0.30.0 is installed; "
        'run: pip install "mmsegmentation>=1.0.0,<2.0.0"',
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
            'run: pip install "mmdet>=3.2.0,<4.0.0"'
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


class TestCombinations:
    @pytest.mark.parametrize(
        ("name", "version", "mmcv", "below"),
        [
            ("mmdet", "3.3.0", "2.2.0", "2.2.0"),
            ("mmdet", "3.2.0", "2.2.0", "2.2.0"),
            ("mmpretrain", "1.0.0", "2.1.0", "2.1.0"),
            ("mmpretrain", "1.1.1", "2.2.0", "2.2.0"),
            ("mmseg", "1.2.2", "2.2.0", "2.2.0"),
        ],
    )
    def test_what_does_not_load_is_named(self, name, version, mmcv, below):
        installed = {name: Installed(name, version), "mmcv": Installed("mmcv", mmcv)}
        with pytest.raises(UnsupportedVersionError) as caught:
            check_combination(installed)
        assert str(caught.value) == (
            f"{name} {version} needs mmcv >=2.0.0,<{below}, but mmcv {mmcv} is "
            f'installed; run: pip install "setuptools<81" wheel && '
            f'pip install --no-build-isolation "mmcv>=2.0.0,<{below}"'
        )

    @pytest.mark.parametrize(
        ("name", "version", "mmcv"),
        [
            ("mmdet", "3.3.0", "2.1.0"),
            ("mmdet", "3.2.0", "2.0.1"),
            ("mmpretrain", "1.2.0", "2.2.0"),
            ("mmpretrain", "1.1.0", "2.1.0"),
            ("mmdet", "a branch", "2.2.0"),
        ],
    )
    def test_what_loads_passes(self, name, version, mmcv):
        check_combination(
            {name: Installed(name, version), "mmcv": Installed("mmcv", mmcv)}
        )
        check_combination({name: Installed(name, version)})

    def test_the_forks_load_with_their_mmcv(self):
        check_combination(
            {
                "mmdet": Installed("onedl-mmdetection", "3.5.1"),
                "mmcv": Installed("onedl-mmcv", "2.3.6"),
            }
        )

    def test_an_original_beside_the_forks_mmcv(self):
        with pytest.raises(UnsupportedVersionError) as caught:
            check_combination(
                {
                    "mmdet": Installed("mmdet", "3.3.0"),
                    "mmcv": Installed("onedl-mmcv", "2.3.6"),
                }
            )
        assert "onedl-mmcv 2.3.6 is installed" in str(caught.value)
        assert 'pip install "onedl-mmdetection>=3.5.1,<4.0.0"' in str(caught.value)

    def test_an_original_without_a_fork_beside_the_forks_mmcv(self):
        with pytest.raises(UnsupportedVersionError, match="-y mmsegmentation$"):
            check_combination(
                {
                    "mmseg": Installed("mmsegmentation", "1.2.2"),
                    "mmcv": Installed("onedl-mmcv", "2.3.6"),
                }
            )


class TestForks:
    @pytest.fixture
    def install(self, monkeypatch):
        def install(**versions):
            found = {name.replace("_", "-"): v for name, v in versions.items()}

            def version(name):
                if name not in found:
                    raise host_versions.metadata.PackageNotFoundError(name)
                return found[name]

            monkeypatch.setattr(host_versions.metadata, "version", version)

        return install

    def test_they_are_recognized(self, install):
        install(
            torch="2.11.0", onedl_mmengine="0.10.12", onedl_mmcv="2.3.6",
            onedl_mmdetection="3.5.1", onedl_mmpretrain="1.3.6",
        )  # fmt: skip
        assert _versions() == {
            "torch": "2.11.0", "mmengine": "0.10.12", "mmcv": "2.3.6",
            "mmdet": "3.5.1", "mmpretrain": "1.3.6",
        }  # fmt: skip
        host_versions.check_host_versions()
        command = host_versions.install_command("mmdet")
        assert command == 'pip install "onedl-mmdetection>=3.5.1,<4.0.0"'

    def test_an_older_one_is_refused_by_its_own_name(self, install):
        install(onedl_mmengine="0.10.8")
        with pytest.raises(UnsupportedVersionError) as caught:
            host_versions.check_host_versions()
        assert "onedl-mmengine >=0.10.12,<1.0.0" in str(caught.value)
        assert 'pip install "onedl-mmengine>=0.10.12' in str(caught.value)

    def test_a_fork_over_its_original(self, install):
        install(mmengine="0.10.7", onedl_mmengine="0.10.12")
        with pytest.raises(UnsupportedVersionError) as caught:
            host_versions.check_host_versions()
        assert "mmengine and onedl-mmengine are both installed" in str(caught.value)

    def test_neither(self, install, monkeypatch):
        install(torch="2.11.0")
        monkeypatch.setattr(host_versions.importlib.util, "find_spec", lambda _: None)
        with pytest.raises(MissingHostError) as caught:
            host_versions.check_host_versions()
        for name in ("mmengine>=0.10.3", "onedl-mmengine>=0.10.12"):
            assert f'pip install "{name}' in str(caught.value)


def test_metadata_and_check_agree():
    """What pip is told lies within what the import checks."""
    requirements = pytest.importorskip("packaging.requirements")
    from pathlib import Path

    # pytest needs tomli where Python has no tomllib.
    toml = pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    project = toml.loads(text)["project"]
    # Whatever MMEngine is there must stay.
    assert project["dependencies"] == ["torch>=2.1", "numpy"]
    extras = project["optional-dependencies"]
    hosts = {name: host for host in HOSTS + FORKS for name in host.distributions}
    for extra in ("mmengine", "cls", "det", "onedl-cls", "onedl-det"):
        for text in extras[extra]:
            need = requirements.Requirement(text)
            if need.name == "setuptools":  # for what the originals import of it
                assert str(need.specifier) == "<81" and not extra.startswith("onedl")
                continue
            host = hosts[need.name]
            bounds = {part.operator: part.version for part in need.specifier}
            assert host_versions._release(bounds[">="]) >= host_versions._release(
                host.minimum
            )
            assert host_versions._release(bounds["<"]) <= host_versions._release(
                host.below
            )
    # No version of mmcv that the extra allows is refused by what it installs.
    for extra, name in (("cls", "mmpretrain"), ("det", "mmdet")):
        needs = {r.name: r for r in map(requirements.Requirement, extras[extra])}
        for mmcv in ("2.0.0", "2.1.0", "2.2.0"):
            for version in ("1.2.0", "3.2.0", "3.3.0"):
                if needs["mmcv"].specifier.contains(mmcv) and needs[
                    name
                ].specifier.contains(version):
                    check_combination(
                        {
                            name: Installed(name, version),
                            "mmcv": Installed("mmcv", mmcv),
                        }
                    )
