import pytest

from mms_plugin import cli


def test_one_line_shows_the_cause():
    try:
        try:
            raise ImportError("mms_plugin supports mmdet >=3")
        except ImportError as error:
            raise ImportError("Failed to import mms_plugin") from error
    except ImportError as error:
        assert cli.one_line(error) == "mms_plugin supports mmdet >=3"
    worker = ValueError(
        "Caught ValueError in DataLoader worker process 0.\n"
        "Original Traceback (most recent call last):\n  File x\n"
        "ValueError: sizes is empty\n"
    )
    assert cli.one_line(worker) == "ValueError: sizes is empty"
    assert cli.one_line(KeyError("a is\nmissing")) == "KeyError: a is missing"


def test_errors_of_the_set_up_are_the_users(monkeypatch):
    odd = pytest.raises(cli.UserError, match="^--sizes: 3 is odd$")
    with odd as caught, cli.setting_up("--sizes"):
        raise ValueError("3 is\nodd")
    assert caught.value.exit_code == 2
    with pytest.raises(cli.UserError, match="^own$"), cli.setting_up("--sizes"):
        raise cli.UserError("own")
    monkeypatch.setenv("MMS_DEBUG", "1")
    with pytest.raises(ValueError, match="odd"), cli.setting_up("--sizes"):
        raise ValueError("3 is odd")
