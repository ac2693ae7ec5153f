"""MMEngine finds the atomic backend by its name, and writes through it."""

import os

import pytest
from mmengine import fileio

from mms_plugin.checkpoints import AtomicLocalBackend
from mms_plugin.utils.files import NotWrittenError

ARGS = dict(backend="atomic_local")


def test_mmengine_finds_it(tmp_path):
    path = tmp_path / "new" / "folder" / "a.bin"
    fileio.put(b"abc", str(path), backend_args=ARGS)
    assert path.read_bytes() == b"abc"
    fileio.put_text("ü", str(path), backend_args=ARGS)
    assert path.read_bytes() == "ü".encode()
    backend = fileio.get_file_backend(str(path), backend_args=ARGS)
    assert type(backend) is AtomicLocalBackend
    assert backend.get_text(path) == "ü"
    # Other files go on through MMEngine's own.
    assert type(fileio.get_file_backend(str(path))) is fileio.LocalBackend


@pytest.mark.parametrize("put, content", [("put", b"new"), ("put_text", "new")])
def test_a_write_that_fails_leaves_the_file(tmp_path, monkeypatch, put, content):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(NotWrittenError, match="No space left"):
        getattr(fileio, put)(content, str(path), backend_args=ARGS)
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["a.bin"]
