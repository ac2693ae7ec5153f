"""Commands show what is ours; a real warning of a host library is shown once."""

import subprocess
import sys
import warnings

import pytest

from mms_plugin.cli import quiet_hosts

COMMAND = """
import warnings
from mms_plugin import cli

def main(argv):
    for number in range(3):
        for text in ("pkg_resources is deprecated as an API. See x", "a host speaks"):
            warnings.warn_explicit(text, UserWarning, f"/host/{number}.py", number)
    warnings.warn_explicit("the data looks odd", RuntimeWarning, "/host/other.py", 1)
    raise cli.UserError("no such model")

cli.run_command(main)
"""


@pytest.fixture
def filters():
    with warnings.catch_warnings():
        warnings.resetwarnings()
        yield


def run(*options):
    """Run a command that warns: what standard error holds."""
    done = subprocess.run(
        [sys.executable, *options, "-c", COMMAND], capture_output=True, text=True
    )
    assert done.returncode == 2, done.stderr
    return done.stderr


def test_a_command_shows_real_warnings_once_and_noise_never():
    text = run()
    assert text.count("a host speaks") == 1
    assert text.count("the data looks odd") == 1
    assert "pkg_resources" not in text
    assert text.splitlines()[-1].endswith("error: no such model")


def test_what_the_user_asks_for_is_shown():
    text = run("-W", "always")
    assert text.count("pkg_resources is deprecated as an API") >= 3
    assert text.count("a host speaks") >= 3


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
