import json
import math
import os

import numpy as np
import pytest

from mms_plugin import cli


def test_plain_is_json():
    value = {
        "a": np.float32(0.5),
        1: [np.int64(3), float("nan"), math.inf],
        "b": np.arange(2),
        "c": None,
    }
    text = json.dumps(cli.plain(value), allow_nan=False)
    assert json.loads(text) == {"a": 0.5, "1": [3, None, None], "b": [0, 1], "c": None}


def test_only_the_document_is_on_standard_output(capfd):
    with cli.json_on_stdout(True) as emit:
        os.write(1, b"epoch 1\n")  # as C code does
        emit(dict(a=math.nan))
        os.write(1, b"epoch 2\n")
    os.write(1, b"later\n")
    out, err = capfd.readouterr()
    assert out == json.dumps(dict(a=None), indent=2) + "\nlater\n"
    assert err == "epoch 1\nepoch 2\n"


def test_without_json_nothing_moves(capfd):
    with cli.json_on_stdout(False) as emit:
        print("epoch 1")
        emit(dict(a=1))
    assert capfd.readouterr() == ("epoch 1\n", "")


def test_a_document_in_a_file(tmp_path):
    path = tmp_path / "metrics.json"
    cli.write_json({1: np.float64(0.5), "b": math.inf}, str(path))
    assert json.loads(path.read_text()) == {"1": 0.5, "b": None}
    with pytest.raises(OSError, match="metrics.json"):
        cli.write_json({}, str(path / "metrics.json"))
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.json"]
