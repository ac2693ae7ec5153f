import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from mms_plugin import cli
from mms_plugin.utils.files import NotWrittenError

ROOT = Path(__file__).resolve().parents[2]


def test_a_reader_that_has_seen_enough():
    code = (
        "from mms_plugin import cli; cli.run_command(lambda _: print('a\\n' * 10**6))"
    )
    command = f'{shlex.quote(sys.executable)} -c "{code}" | head -n 1'
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "a\n", "")


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (None, 0, ""),
        (cli.UserError("two\nlines"), 2, "own.py: error: two lines\n"),
        (cli.RunError("the disk is full"), 1, "own.py: error: the disk is full\n"),
        (NotWrittenError(28, "a.png: No space"), 1, "own.py: error: a.png: No space\n"),
        (KeyboardInterrupt(), 130, "own.py: interrupted\n"),
    ],
)
def test_exit_codes(error, code, text, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["/some/own.py", "a", "b"])
    given = []

    def main(argv):
        given.extend(argv)
        if error is not None:
            raise error

    with pytest.raises(SystemExit) as ended:
        cli.run_command(main)
    assert ended.value.code == code and given == ["a", "b"]
    assert capsys.readouterr().err == text


def test_the_cause_is_a_traceback_away(monkeypatch, capsys):
    def main(argv):
        raise cli.UserError("no model") from KeyError("model")

    monkeypatch.setattr(sys, "argv", ["own.py"])
    with pytest.raises(SystemExit):
        cli.run_command(main)
    assert "MMS_DEBUG=1 shows the traceback" in capsys.readouterr().err
    monkeypatch.setenv("MMS_DEBUG", "1")
    with pytest.raises(cli.UserError, match="no model"):
        cli.run_command(main)


def test_a_broken_pipe_that_is_not_standard_output_is_a_fault():
    code = (
        "from mms_plugin import cli\n"
        "def main(argv):\n"
        "    print('so far', flush=True)\n"
        "    raise BrokenPipeError(32, 'Broken pipe')\n"
        "cli.run_command(main)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert (done.returncode, done.stdout) == (1, "so far\n")
    assert done.stderr.splitlines()[-1] == "BrokenPipeError: [Errno 32] Broken pipe"
