"""Commands show what is ours; a real warning of a host library is shown once."""

import subprocess
import sys
import warnings

import pytest

from mms_plugin.cli import quiet_hosts

CONFIG = """
import warnings

for number in range(3):
    warnings.warn_explicit(
        "pkg_resources is deprecated as an API. See https://example.org", UserWarning,
        f"/host/file_{number}.py", number)
    warnings.warn_explicit(
        "a host has something to say", UserWarning, f"/host/file_{number}.py", number)
warnings.warn_explicit("the data looks odd", RuntimeWarning, "/host/other.py", 1)
del warnings, number
model = dict(type="NoSuchModel")
"""


@pytest.fixture
def filters():
    with warnings.catch_warnings():
        warnings.resetwarnings()
        yield


@pytest.fixture
def run(tmp_path):
    """Run tools/train.py on a config that warns: what standard error holds."""

    def run(*options):
        (tmp_path / "warns.py").write_text(CONFIG)
        code = (
            "import sys\n"
            "from mms_plugin import cli\n"
            "import warnings\n"
            "def main(argv):\n"
            "    cli.load_config(argv[0])\n"
            "    raise cli.UserError('no such model')\n"
            "cli.run_command(main)\n"
        )
        done = subprocess.run(
            [sys.executable, *options, "-c", code, str(tmp_path / "warns.py")],
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )
        assert done.returncode == 2, done.stderr
        return done.stderr

    return run


def test_a_command_shows_real_warnings_once_and_noise_never(run):
    text = run()
    assert text.count("a host has something to say") == 1
    assert text.count("the data looks odd") == 1
    assert "pkg_resources" not in text
    assert text.splitlines()[-1].endswith("error: no such model")


def test_what_the_user_asks_for_is_shown(run):
    text = run("-W", "always")
    assert text.count("pkg_resources is deprecated as an API") >= 3
    assert text.count("a host has something to say") >= 3


def test_importing_the_package_changes_no_filter():
    code = (
        "import warnings, mmengine.runner, numpy, torch\n"
        "before = list(warnings.filters)\n"
        "import mms_plugin, mms_plugin.cli\n"
        "added = [f for f in warnings.filters if f not in before]\n"
        "print(added)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("category", "shown"),
    [(UserWarning, 1), (FutureWarning, 1), (RuntimeWarning, 1)],
)
def test_once_by_text_wherever_it_comes_from(filters, monkeypatch, category, shown):
    monkeypatch.setattr(sys, "warnoptions", [])
    seen = []
    monkeypatch.setattr(
        warnings, "showwarning", lambda message, *args, **kwargs: seen.append(message)
    )
    quiet_hosts()
    quiet_hosts()
    for number in range(3):
        # Each time the filters change, Python forgets which places have warned.
        warnings.simplefilter("ignore", ResourceWarning, append=True)
        warnings.warn_explicit(f"odd {category}", category, f"x{number}.py", number)
        warnings.warn_explicit(
            "`torch.cuda.amp.autocast(args...)` is deprecated", category, "y.py", number
        )
    assert len(seen) == shown
