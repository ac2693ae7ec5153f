"""tools/setup_env.sh: what it refuses, and that it survives interruption.

No package is installed here: fake interpreters, compilers and disks stand in, the
script is the real one.
"""

import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
INPUTS = (
    "requirements/env.txt",
    "pyproject.toml",
    "setup.py",
    "mms_plugin/version.py",
    "tools/setup_env.sh",
    "tools/setup_env_parts.py",
    "tools/mmcv_ext.py",
)
# All that the script calls, but for Python and the compiler.
PROGRAMS = [
    "awk", "bash", "cat", "cp", "cut", "df", "dirname", "env", "flock", "grep",
    "mkdir", "mv", "nproc", "rm", "sed", "setsid", "sha256sum", "sleep", "tail",
    "tar", "tr", "uname",
]  # fmt: skip

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the script is for Linux"),
    pytest.mark.timeout(120),
]


def write_program(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/bash\n" + text)
    path.chmod(0o755)
    return path


def _default_signals():
    """A background job ignores some signals, and bash cannot trap what is ignored."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


class Project:
    """A copy of what the script reads, and a PATH that holds what a test puts in."""

    def __init__(self, folder):
        self.root = folder / "project"
        self.bin = folder / "bin"
        for name in INPUTS:
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, self.root / name)
        self.bin.mkdir()
        for name in PROGRAMS:
            found = shutil.which(name)
            assert found, f"{name} is missing on this machine"
            (self.bin / name).symlink_to(found)
        self.calls = folder / "calls.txt"
        self.calls.touch()
        self.env = {
            "PATH": str(self.bin),
            "HOME": str(folder),
            "CALLS": str(self.calls),
            "PIP_CONFIG_FILE": os.devnull,
        }
        self.venv = self.root / ".venv"
        self.state = self.venv / ".mms"

    def start(self, **env):
        return subprocess.Popen(
            ["bash", "tools/setup_env.sh"],
            cwd=self.root,
            env={**self.env, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=_default_signals,
        )

    def run(self, **env):
        process = self.start(**env)
        out, err = process.communicate(timeout=100)
        return process.returncode, out, err

    def refused(self, **env):
        """The one line of a run that must fail."""
        code, _, err = self.run(**env)
        assert code == 1
        lines = err.strip().splitlines()
        assert len(lines) == 1, err
        assert lines[0].startswith("setup_env: ")
        assert not (self.state / "stamp").exists()
        return lines[0]

    def add_compiler(self, text="exit 0\n"):
        write_program(self.bin / "c++", text)

    def add_df(self, gigabytes):
        (self.bin / "df").unlink()
        write_program(
            self.bin / "df",
            "echo 'Filesystem 1024-blocks Used Available Capacity Mounted on'\n"
            f"echo '/dev/x 1 1 {int(gigabytes * 1048576)} 1% /'\n",
        )

    def add_venv(self):
        """A .venv whose Python writes down how it is called, and does nothing.

        FAKE_SLEEP names a part of env.txt whose installation takes so long that a
        test can interrupt it, until the file FAKE_GO is there; FAKE_FAIL makes the
        last check fail; FAKE_NO_WHEEL leaves no wheel of mmcv.
        """
        write_program(
            self.venv / "bin" / "python",
            f"REAL={sys.executable}\n"
            r"""
if [[ $1 == -c ]]; then
    case $2 in
    *version_info*) echo 3.11 ;;
    *base_prefix*) echo /fake/base ;;
    *sysconfig*) echo "$FAKE_HEADERS" ;;
    esac
    exit 0
fi
[[ $* == *'setup_env_parts.py list'* ]] && exec $REAL "$@"
echo "$*" >>"$CALLS"
[[ -n $FAKE_NO_WHEEL && $* == *--only-binary* ]] && exit 1
if [[ -n $FAKE_SLEEP && $* == *$FAKE_SLEEP.txt ]]; then
    until [[ -n $FAKE_GO && -e $FAKE_GO ]]; do sleep 0.1; done
fi
if [[ -n $FAKE_FAIL && $* == *'setup_env_parts.py verify' ]]; then
    echo "error: torch nothing in place of 2.11.0"
    exit 1
fi
exit 0
""",
        )
        (self.venv / "pyvenv.cfg").write_text("home = /fake/base/bin\n")

    def stamp(self):
        digest = hashlib.sha256()
        for name in INPUTS:
            digest.update((self.root / name).read_bytes())
        digest.update((self.venv / "pyvenv.cfg").read_bytes())
        digest.update(str(self.root.resolve()).encode())
        return digest.hexdigest()

    def installs(self):
        """The lists given to pip; mmcv is installed by its name."""
        return [
            line.rpartition("/")[2]
            for line in self.calls.read_text().splitlines()
            if " install " in line and line.endswith(".txt")
        ]


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


def fake_python(project, name="python3.11", version="3.11", **answers):
    """An interpreter that answers the script's questions as told."""
    cases = "".join(f"*{key}*) {text} ;;\n" for key, text in answers.items())
    return write_program(
        project.bin / name,
        f"case $2 in\n{cases}*version_info*) echo {version} ;;\n"
        f'*) exec {sys.executable} "$@" ;;\nesac\n',
    )


class TestRefused:
    """Each before anything is downloaded, in one line that says what to do."""

    def test_no_python(self, project):
        line = project.refused()
        assert "no CPython 3.11 found (no Python at all on PATH;" in line
        assert "apt-get install python3.11" in line and "MMS_PYTHON=" in line

    def test_another_python(self, project):
        fake_python(project, "python3", "3.13")
        line = project.refused()
        assert "python3 is 3.13" in line and "MMS_PYTHON=" in line

    def test_mms_python_is_no_program(self, project):
        line = project.refused(MMS_PYTHON="/no/such/python")
        assert "MMS_PYTHON=/no/such/python is not a program" in line

    def test_mms_python_is_no_python(self, project):
        line = project.refused(MMS_PYTHON=shutil.which("false"))
        assert "does not run as a Python" in line

    def test_mms_python_of_another_version(self, project):
        wrong = fake_python(project, "python3.8", "3.8")
        line = project.refused(MMS_PYTHON=str(wrong))
        assert "is Python 3.8" in line and "CPython 3.11" in line

    def test_a_real_interpreter_of_another_version(self, project):
        others = sorted(Path.home().glob(".pyenv/versions/3.*/bin/python")) + [
            Path(f"/usr/bin/python3.{minor}") for minor in (8, 9, 10, 12, 13, 14)
        ]
        others = [path for path in others if path.exists() and "/3.11" not in str(path)]
        if not others:
            pytest.skip("this machine has no Python of another version")
        line = project.refused(MMS_PYTHON=str(others[0]))
        assert f"MMS_PYTHON={others[0]} is Python 3." in line

    def test_no_venv_module(self, project):
        fake_python(project, ensurepip="exit 1")
        assert "apt-get install python3.11-venv" in project.refused()

    def test_too_little_disk(self, project):
        fake_python(project)
        project.add_compiler()
        project.add_df(3.2)
        line = project.refused()
        assert "3 GB free" in line and "about 10 GB needed" in line

    def test_no_network(self, project):
        if sys.version_info[:2] != (3, 11):
            pytest.skip("needs a real CPython 3.11")
        fake_python(project)
        project.add_compiler()
        project.add_df(100)
        # The discard port of this machine: nobody answers.
        line = project.refused(PIP_INDEX_URL="http://127.0.0.1:9/simple")
        assert "no answer from the package index" in line
        assert "check the network" in line

    def test_a_version_that_the_index_lacks(self, project, tmp_path):
        if sys.version_info[:2] != (3, 11):
            pytest.skip("needs a real CPython 3.11")
        fake_python(project)
        project.add_compiler()
        project.add_df(100)
        page = tmp_path / "simple" / "setuptools" / "index.html"
        page.parent.mkdir(parents=True)
        page.write_text('<a href="setuptools-1.0-py3-none-any.whl">setuptools</a>')
        line = project.refused(PIP_INDEX_URL=f"file://{tmp_path}/simple")
        assert "No matching distribution found for setuptools==" in line
        assert "check the network" not in line

    def test_a_venv_of_another_python(self, project):
        write_program(project.venv / "bin" / "python", "echo 3.9\n")
        line = project.refused()
        assert ".venv holds Python 3.9" in line and "rm -rf .venv" in line

    def test_a_venv_whose_python_is_gone(self, project):
        (project.venv / "bin").mkdir(parents=True)
        (project.venv / "bin" / "python").symlink_to("/no/such/python")
        assert "rm -rf .venv" in project.refused()

    def test_mms_python_other_than_the_venvs(self, project):
        project.add_venv()
        other = fake_python(project, base_prefix="echo /other/base")
        line = project.refused(MMS_PYTHON=str(other))
        assert "made with another interpreter" in line and "rm -rf .venv" in line

    def test_a_venv_that_is_a_file(self, project):
        project.venv.touch()
        assert ".venv is not a folder" in project.refused()


class TestRuns:
    @pytest.fixture(autouse=True)
    def venv(self, project):
        project.add_venv()
        project.add_df(100)

    def test_all_steps_then_nothing(self, project):
        code, out, err = project.run()
        assert code == 0, err
        assert project.installs() == ["build.txt", "torch.txt", "libraries.txt"]
        assert (project.state / "stamp").read_text().strip() == project.stamp()
        for part in ("[2/6]", "[3/6]", "[4/6]", "[6/6]", "usually 1.5 min"):
            assert part in out
        before = project.calls.read_text()
        assert project.run() == (0, "setup_env: .venv is in place\n", "")
        assert project.calls.read_text() == before

    def test_only_what_changed_is_installed_again(self, project):
        assert project.run()[0] == 0
        project.calls.write_text("")
        pins = project.root / "requirements" / "env.txt"
        pins.write_text(pins.read_text().replace("ruff==", "ruff==0."))
        assert project.run()[0] == 0
        assert project.installs() == ["libraries.txt"]

    def test_every_pin_lies_in_one_part(self, project):
        assert project.run()[0] == 0
        listed = []
        for name in ("build", "torch", "libraries"):
            lines = (project.state / f"{name}.txt").read_text().splitlines()
            listed += [line.partition("#")[0].strip() for line in lines]
        pins = [
            line.partition("#")[0].strip()
            for line in (ROOT / "requirements/env.txt").read_text().splitlines()
        ]
        assert listed + ["mmcv==2.1.0"] == [pin for pin in pins if pin]

    def test_no_stamp_where_the_check_fails(self, project):
        line = project.refused(FAKE_FAIL="1")
        assert "torch nothing in place of 2.11.0" in line
        # Nothing is taken for done next time.
        project.calls.write_text("")
        assert project.run()[0] == 0
        assert project.installs() == ["build.txt", "torch.txt", "libraries.txt"]

    def wait_for(self, there):
        while not there():  # the test's own limit ends it
            time.sleep(0.05)

    def wait_for_call(self, project, text):
        self.wait_for(lambda: text in project.calls.read_text())

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_interrupted_and_run_again(self, project, number):
        process = project.start(FAKE_SLEEP="torch")
        self.wait_for_call(project, "torch.txt")
        process.send_signal(number)
        # The step, which has no end, is ended with it: nobody else holds the lock.
        _, err = process.communicate()
        assert process.returncode == 130 and "run again" in err
        assert not (project.state / "stamp").exists()
        with open(project.state / "lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # the test's own limit ends it
        assert project.run()[0] == 0
        # The first part was done before, the second is done again.
        assert project.installs() == [
            "build.txt", "torch.txt", "torch.txt", "libraries.txt",
        ]  # fmt: skip

    def test_killed_and_run_again(self, project):
        """The step outlives a killed script: the next run waits for its end."""
        go = project.root / "go"
        process = project.start(FAKE_SLEEP="torch", FAKE_GO=str(go))
        self.wait_for_call(project, "torch.txt")
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()
        second = project.start()
        assert "another set-up is at work" in second.stdout.readline()
        assert not (project.state / "stamp").exists()
        go.touch()
        second.communicate()
        assert second.returncode == 0
        assert (project.state / "stamp").is_file()

    def test_two_at_once(self, project):
        go = project.root / "go"
        first = project.start(FAKE_SLEEP="torch", FAKE_GO=str(go))
        self.wait_for_call(project, "torch.txt")
        second = project.start()
        assert "another set-up is at work" in second.stdout.readline()
        go.touch()
        out, _ = second.communicate()
        first.communicate()
        assert first.returncode == second.returncode == 0
        assert ".venv is in place" in out
        assert project.installs() == ["build.txt", "torch.txt", "libraries.txt"]

    def test_half_installed_packages_are_installed_again(self, project):
        packages = project.venv / "lib" / "python3.11" / "site-packages"
        for name in ("half-1.0", "whole-1.0"):
            (packages / f"{name}.dist-info").mkdir(parents=True)
            (packages / f"{name}.dist-info" / "METADATA").touch()
        (packages / "whole-1.0.dist-info" / "INSTALLER").write_text("pip\n")
        (packages / "~orch").mkdir()
        assert project.run()[0] == 0
        left = sorted(path.name for path in packages.iterdir())
        assert left == ["whole-1.0.dist-info"]

    def without_operators(self, project, reason, **env):
        """A run that installs mmcv-lite: one line says why and what to do."""
        packages = project.venv / "lib/python3.11/site-packages/mmcv"
        packages.mkdir(parents=True)
        code, out, err = project.run(FAKE_NO_WHEEL="1", **env)
        assert code == 0, err
        (line,) = (line for line in out.splitlines() if "mmcv-lite" in line)
        assert line.strip().startswith("mmcv-lite with torchvision's NMS")
        assert reason in line and "rm -rf .venv" in line
        assert "mmcv-lite==2.1.0" in project.calls.read_text()
        ours = (ROOT / "tools/mmcv_ext.py").read_bytes()
        assert (packages / "_ext.py").read_bytes() == ours
        return line

    def test_no_compiler(self, project):
        line = self.without_operators(project, "no C++ compiler (c++ not found)")
        assert "apt-get install g++" in line

    def test_a_compiler_that_does_not_work(self, project):
        project.add_compiler("exit 1\n")
        self.without_operators(project, "cannot build a small program")

    def test_no_python_headers(self, project, tmp_path):
        real = shutil.which("c++")
        if real is None:
            pytest.skip("this machine has no C++ compiler")
        # The real one: it must find <vector> and miss <Python.h>.
        project.add_compiler(f'PATH={os.environ["PATH"]} exec {real} "$@"\n')
        line = self.without_operators(
            project, "error: Python.h", FAKE_HEADERS=str(tmp_path / "nothing")
        )
        assert "apt-get install g++ python3.11-dev" in line

    def test_a_wheel_at_hand_needs_no_compiler(self, project):
        code, out, err = project.run()
        assert code == 0, err
        assert "mmcv-lite" not in out
        calls = [c for c in project.calls.read_text().splitlines() if "mmcv" in c]
        assert len(calls) == 1 and "--only-binary :all: mmcv==2.1.0" in calls[0]

    def test_without_a_wheel_it_is_built(self, project):
        project.add_compiler()
        source = project.state / "tmp" / "mmcv-2.1.0"
        (project.bin / "tar").unlink()
        write_program(project.bin / "tar", "exit 0\n")
        code, out, err = project.run(FAKE_NO_WHEEL="1")
        assert code == 0, err
        assert "mmcv-lite" not in out
        wheel, download, unite, build = (
            c for c in project.calls.read_text().splitlines() if "mmcv" in c
        )
        assert "--only-binary :all: mmcv==2.1.0" in wheel
        assert "download" in download and "--no-binary :all:" in download
        assert unite.endswith(f"setup_env_parts.py unite {source}")
        assert "--no-build-isolation" in build and build.endswith(f" {source}")

    def test_other_environments_do_not_leak_in(self, project):
        assert project.run(PYTHONPATH="/x", PIP_TARGET="/y", PIP_USER="1")[0] == 0


def test_make_lists_its_commands():
    if shutil.which("make") is None:
        pytest.skip("this machine has no make")
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0
    assert "make demo" in done.stdout and "make test" in done.stdout


def test_the_pins_are_complete():
    """--no-deps installs the list alone: it must hold what its packages need."""
    metadata = pytest.importorskip("importlib.metadata")
    packaging = pytest.importorskip("packaging.requirements")
    from packaging.utils import canonicalize_name

    pins = {}
    for line in (ROOT / "requirements/env.txt").read_text().splitlines():
        name, _, version = line.partition("#")[0].strip().partition("==")
        if name:
            pins[canonicalize_name(name)] = version
    problems = []
    for name, version in pins.items():
        try:
            found = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        if found.version.partition("+")[0] != version:
            continue
        for text in found.requires or []:
            need = packaging.Requirement(text)
            if need.marker is not None and not need.marker.evaluate({"extra": ""}):
                continue
            wanted = canonicalize_name(need.name)
            if wanted == "opencv-python":
                wanted = "opencv-python-headless"
            if wanted not in pins:
                problems.append(f"{name} needs {text}: not pinned")
            elif not need.specifier.contains(pins[wanted], prereleases=True):
                problems.append(f"{name} needs {text}: {pins[wanted]} is pinned")
    assert not problems


def test_sources_are_united(tmp_path):
    """Every source is compiled once: united, or by itself where it must be."""
    folder = tmp_path / "mmcv/ops/csrc/pytorch"
    (folder / "cpu").mkdir(parents=True)
    for name in ("nms", "roi_align", "cpu/nms", "cpu/roi_align", "cpu/psamask"):
        (folder / f"{name}.cpp").write_text(f"int {name.replace('/', '_')};\n")
    script = ROOT / "tools/setup_env_parts.py"
    subprocess.run([sys.executable, script, "unite", tmp_path], check=True)
    left = {path.relative_to(folder).as_posix() for path in folder.rglob("*.cpp")}
    assert left == {
        "united.cpp", "cpu/united.cpp", "cpu/roi_align.cpp", "cpu/psamask.cpp"
    }  # fmt: skip
    united = (folder / "united.cpp").read_text().splitlines()
    assert united == ['#include "nms.cpp.inc"', '#include "roi_align.cpp.inc"']
    assert (folder / "roi_align.cpp.inc").read_text() == "int roi_align;\n"
    assert (folder / "cpu/united.cpp").read_text() == '#include "nms.cpp.inc"\n'
