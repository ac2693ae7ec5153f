"""Run a quick slice of the tests on the oldest and the newest supported versions.

Makes one environment per combination under .matrix/, apart from .venv, and reads what
is in it from requirements/matrix/. Can be interrupted and run again: environments that
are complete stay, and so do passed slices until the code, the tests or the versions
change. Needs the interpreter of each combination on PATH, in ~/.pyenv/versions or named
by MMS_PYTHON_3_9 and so on.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / "requirements" / "matrix"
COMBINATIONS = ("oldest", "newest", "forks")
# Each part of the package once: planning, resuming, AGVM, checkpoints, libraries.
SLICE = (
    "tests/test_package.py",
    "tests/test_utils/test_host_versions.py",
    "tests/test_checkpoints",
    "tests/test_multi_scale",
    "tests/test_hooks",
    "tests/test_agvm",
    "tests/test_analysis/test_model_flops.py",
    "tests/test_integration/test_mmdet.py",
    "tests/test_integration/test_mmpretrain.py",
)
# Two ranks on one machine are part of the whole suite, and slow.
DESELECT = ("-m", "not distributed")


class MatrixError(Exception):
    """A combination that cannot be set up; the text is shown as one line."""


def wanted_python(requirements: str) -> str:
    """Return the version in the line ``# python 3.9`` of a requirements file."""
    found = re.search(r"^# python (\d+\.\d+)$", requirements, flags=re.MULTILINE)
    if found is None:
        raise MatrixError('a file in requirements/matrix has no line "# python 3.x"')
    return found[1]


def find_python(version: str) -> str:
    """Return an interpreter of that version that can make environments."""
    variable = f"MMS_PYTHON_{version.replace('.', '_')}"
    candidates = [os.environ.get(variable), shutil.which(f"python{version}")]
    home = Path.home() / ".pyenv" / "versions"
    candidates += [str(p) for p in sorted(home.glob(f"{version}.*/bin/python"))]
    code = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"
    for candidate in candidates:
        if not candidate or shutil.which(candidate) is None:
            continue
        done = subprocess.run([candidate, "-c", code], capture_output=True, text=True)
        if done.returncode == 0 and done.stdout.strip() == version:
            return candidate
    raise MatrixError(
        f"no CPython {version} found; install it or name one: "
        f"{variable}=/path/to/python{version}"
    )


def digest(*paths: Path) -> str:
    """Return a hash of files, and of every Python file and config in folders."""
    total = hashlib.sha256()
    for path in paths:
        files = [path] if path.is_file() else sorted(path.rglob("*.py"))
        for file in files:
            total.update(str(file.relative_to(ROOT)).encode() + b"\0")
            total.update(file.read_bytes())
    return total.hexdigest()


class Combination:
    """One environment of the matrix."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.requirements = REQUIREMENTS / f"{name}.txt"
        self.folder = ROOT / ".matrix" / name
        self.python = self.folder / "bin" / "python"
        self.log = self.folder / "matrix.log"
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("PYTEST")},
            "PYTHONPATH": str(ROOT),
            "PYTHONNOUSERSITE": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}",
        }
        self.environment.setdefault("OMP_NUM_THREADS", "2")

    def run(self, *command: str, **environment: str) -> int:
        """Run a command into the log and return its exit code."""
        with open(self.log, "a", encoding="utf-8") as log:
            log.write(f"\n$ {' '.join(command)}\n")
            log.flush()
            return subprocess.run(
                command,
                cwd=ROOT,
                env={**self.environment, **environment},
                stdout=log,
                stderr=subprocess.STDOUT,
            ).returncode

    def is_marked(self, mark: str, key: str) -> bool:
        """Return whether the mark was set with this key."""
        file = self.folder / f"{mark}.done"
        return file.is_file() and file.read_text() == key

    def set_mark(self, mark: str, key: str) -> None:
        """Set the mark with this key."""
        part = self.folder / f"{mark}.part"
        part.write_text(key)
        part.replace(self.folder / f"{mark}.done")

    def set_up(self) -> None:
        """Make the environment, or complete it, or find it complete."""
        text = self.requirements.read_text(encoding="utf-8")
        key = digest(self.requirements)
        if self.is_marked("environment", key):
            self._add_operators()
            return
        version = wanted_python(text)
        interpreter = find_python(version)
        print(f"{self.name}: installing into {self.folder.relative_to(ROOT)}")
        # Another version of a library must not stay beside the wanted one.
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        steps = [
            [interpreter, "-m", "venv", str(self.folder)],
            [str(self.python), "-m", "pip", "install", "-q", "pip>=24", "wheel"],
            [
                *(str(self.python), "-m", "pip", "install", "-q", "--no-cache-dir"),
                *("--prefer-binary", "-r", str(self.requirements)),
            ],
        ]
        for step in steps:
            if self.run(*step):
                raise MatrixError(f"{' '.join(step[1:4])} failed; see {self.log}")
        self._replace_opencv()
        self._add_operators()
        self.set_mark("environment", key)

    def _add_operators(self) -> None:
        """Put NMS and RoIAlign beside an mmcv without compiled operators."""
        code = "import sysconfig; print(sysconfig.get_path('purelib'))"
        command = [str(self.python), "-c", code]
        packages = subprocess.check_output(command, text=True).strip()
        mmcv = Path(packages) / "mmcv"
        if not list(mmcv.glob("_ext.*.so")):
            shutil.copy(ROOT / "tools" / "mmcv_ext.py", mmcv / "_ext.py")

    def _replace_opencv(self) -> None:
        """Put the headless build over opencv-python, which needs libGL."""
        listed = subprocess.check_output(
            [str(self.python), "-m", "pip", "list", "--format=freeze"],
            text=True,
            env=self.environment,
        )
        pip = [str(self.python), "-m", "pip"]
        if "opencv-python==" in listed:
            headless = re.search(r"^opencv-python-headless==.*$", listed, flags=re.M)
            self.run(*pip, "uninstall", "-q", "-y", "opencv-python")
            if headless is not None:
                self.run(
                    *pip, "install", "-q", "--no-deps", "--force-reinstall",
                    "--no-cache-dir", headless[0],
                )  # fmt: skip

    def test(self, arguments: list[str]) -> str:
        """Run the slice and return pytest's last line.

        Raises:
            MatrixError: A test failed.
        """
        key = digest(
            ROOT / "mms_plugin", ROOT / "tests", ROOT / "tools", ROOT / "configs"
        )
        key += digest(self.requirements) + repr(arguments)
        if self.is_marked("slice", key):
            return (self.folder / "summary.txt").read_text()
        print(f"{self.name}: testing; log: {self.log.relative_to(ROOT)}", flush=True)
        code = self.run(
            *(str(self.python), "-m", "pytest", "-q", *arguments),
            CUDA_VISIBLE_DEVICES="",  # as `make test`
        )
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        summary = next((line for line in reversed(lines) if line.strip()), "")
        summary = summary.strip("= ")
        if code:
            failed = [line for line in lines if line.startswith(("FAILED", "ERROR "))]
            raise MatrixError("\n  ".join([summary, *failed[:20]]))
        (self.folder / "summary.txt").write_text(summary)
        self.set_mark("slice", key)
        return summary


def versions(combination: Combination) -> str:
    """Return the versions of Python and of the host libraries, for the summary."""
    code = (
        "import platform\n"
        "from mms_plugin.utils.host_versions import installed_hosts\n"
        "print(f'Python {platform.python_version()}', *sorted(\n"
        "    f'{h.distribution} {h.version}' for h in installed_hosts().values()),\n"
        "    sep=', ')"
    )
    done = subprocess.run(
        [str(combination.python), "-c", code],
        env=combination.environment,
        capture_output=True,
        text=True,
    )
    return (done.stdout or done.stderr).strip().splitlines()[-1]


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "combinations", nargs="*", metavar="NAME",
        help=f"of {', '.join(COMBINATIONS)}; default: all",
    )  # fmt: skip
    parser.add_argument(
        "--tests", nargs="+", default=list(SLICE), help="default: a quick slice"
    )
    parser.add_argument(
        "--set-up-only", action="store_true", help="make the environments only"
    )
    parser.add_argument(
        "--remove", action="store_true", help="remove each environment after its tests"
    )
    parser.add_argument(
        "--smoke", action="store_true", help="print what would be set up and tested"
    )
    args = parser.parse_args()
    unknown = sorted(set(args.combinations) - set(COMBINATIONS))
    if unknown:
        parser.error(f"{unknown[0]} is not one of {', '.join(COMBINATIONS)}")
    missing = [name for name in args.tests if not (ROOT / name.split("::")[0]).exists()]
    if missing:
        parser.error(f"{missing[0]} does not exist")
    if args.smoke:
        for name in args.combinations or COMBINATIONS:
            text = (REQUIREMENTS / f"{name}.txt").read_text(encoding="utf-8")
            pins = [line for line in text.splitlines() if line and line[0] != "#"]
            print(f"{name}: Python {wanted_python(text)}; {', '.join(pins)}")
        print(f"tests: {' '.join(args.tests)}")
        return 0
    results = []
    for name in args.combinations or COMBINATIONS:
        combination = Combination(name)
        try:
            combination.set_up()
            if not args.set_up_only:
                summary = combination.test([*DESELECT, *args.tests])
                results.append((name, True, f"{versions(combination)}\n  {summary}"))
        except MatrixError as error:
            results.append((name, False, str(error)))
        if args.remove:
            shutil.rmtree(combination.folder, ignore_errors=True)
    for name, passed, text in results:
        print(f"{'passed' if passed else 'FAILED'}: {name}: {text}")
    return 0 if all(passed for _, passed, _ in results) else 1


if __name__ == "__main__":
    sys.exit(main())
