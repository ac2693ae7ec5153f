import argparse

import pytest

from mms_plugin import cli
from mms_plugin.multi_scale.sizes import size_text


@pytest.fixture
def parse():
    parser = cli.ArgumentParser(prog="own")
    cli.add_common_arguments(parser)
    return lambda *arguments: parser.parse_args([*map(str, arguments)])


def test_options_are_values_by_dotted_keys(parse):
    args = parse("a.py", "--cfg-options", "b.c=[1,2]", "d=1e-3", "--cfg-options", "e=x")
    assert args.cfg_options == {"b.c": [1, 2], "d": 1e-3, "e": "x"}
    assert parse("a.py").cfg_options is None


@pytest.mark.parametrize("value", ["[1,2", "[dict(type='A',b=1)]"])
def test_a_value_that_does_not_parse_is_one_line(parse, capsys, value):
    with pytest.raises(SystemExit):
        parse("a.py", "--cfg-options", f"b={value}")
    text = capsys.readouterr().err
    assert "does not parse" in text and text.count("\n") == 1


@pytest.mark.parametrize("name", ["--local_rank", "--local-rank"])
def test_the_rank_of_old_launchers(parse, name):
    assert parse("a.py", name, 3).local_rank == 3


def test_an_error_is_one_line(parse, capsys):
    with pytest.raises(SystemExit) as ended:
        parse()
    assert ended.value.code == 2
    text = capsys.readouterr().err
    assert text.startswith("own: error: ") and text.count("\n") == 1


@pytest.mark.parametrize(("text", "size"), [("224", (224, 224)), ("96x320", (96, 320))])
def test_sizes(text, size):
    assert cli.size_argument(text) == size
    assert cli.size_argument(size_text(size)) == size


@pytest.mark.parametrize("text", ["0", "-3", "3.5", "96x", "96x0", "x96", "a"])
def test_a_size_that_is_not_valid(text):
    with pytest.raises(argparse.ArgumentTypeError, match="HEIGHTxWIDTH"):
        cli.size_argument(text)


def test_whole_numbers():
    assert cli.whole_number(2)("2") == 2
    for text in ("1", "-2", "2.0", ""):
        with pytest.raises(argparse.ArgumentTypeError, match="at least 2"):
            cli.whole_number(2)(text)
