"""Files are whole or as they were: on a full disk, and when the writer is killed."""

import os
import re
import resource
import shutil
import signal
import subprocess
from contextlib import contextmanager

import pytest

from mms_plugin.utils.files import (
    NotWrittenError,
    move_atomically,
    remove_leftovers,
    write_atomically,
)


@contextmanager
def largest_file(size):
    """No file may grow beyond ``size`` bytes meanwhile."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def small_disk(tmp_path):
    """A file system with 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if os.geteuid() or not shutil.which("mount") or subprocess.run(command).returncode:
        pytest.skip("file systems cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_it_is_written_as_any_file(tmp_path, monkeypatch):
    before = os.umask(0o027)
    try:
        write_atomically(b"abc", tmp_path / "a")
        (tmp_path / "plain").write_bytes(b"abc")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert sorted(os.listdir(tmp_path)) == ["a", "plain"]
    (tmp_path / "link").symlink_to("a")
    write_atomically(b"def", tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "a").read_bytes() == b"def"
    monkeypatch.chdir(tmp_path)
    write_atomically(b"ghi", "plain")
    assert (tmp_path / "plain").read_bytes() == b"ghi"


def test_a_file_that_may_not_grow(tmp_path):
    path = tmp_path / "a.pth"
    write_atomically(b"old", path)
    with largest_file(5_000), pytest.raises(NotWrittenError) as caught:
        write_atomically(bytes(20_000), path)
    assert f"{path} cannot be written: File too large" in str(caught.value)
    assert "it needs 20,000 bytes" in str(caught.value)
    assert "free in" in str(caught.value)
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["a.pth"]


def test_a_full_disk(small_disk):
    path = small_disk / "a.pth"
    write_atomically(b"old", path)
    with pytest.raises(OSError, match="No space left on device") as caught:
        write_atomically(bytes(400 << 10), path)
    assert isinstance(caught.value, NotWrittenError)
    text = str(caught.value)
    assert text.startswith(f"{path} cannot be written: ") and "\n" not in text
    free = re.search(r"it needs 409,600 bytes, and ([\d,]+) are free in", text)[1]
    # What is left beside the old file, of three bytes.
    assert 128 << 10 < int(free.replace(",", "")) < 256 << 10
    assert path.read_bytes() == b"old" and os.listdir(small_disk) == ["a.pth"]


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(NotWrittenError, match="cannot be written"):
        write_atomically(b"abc", tmp_path / "file" / "a.pth")


def size_of(path):
    """The bytes of a file that another process writes; -1 without one."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1


def test_a_killed_writer_leaves_one_of_the_two(tmp_path):
    path = tmp_path / "a.pth"
    old, new = bytes(4 << 20), bytes([1]) * (4 << 20)
    write_atomically(old, path)
    left = []
    for step in range(12):
        writer = os.fork()
        if writer == 0:
            try:
                while True:
                    write_atomically(new, path)
                    write_atomically(old, path)
            finally:
                os._exit(1)
        # Killed when so much of a file is written, from nothing to all of it.
        part = tmp_path / f".a.pth.{writer}.part"
        while size_of(part) < len(new) * step // 11:
            assert os.waitpid(writer, os.WNOHANG) == (0, 0), "the writer has ended"
        os.kill(writer, signal.SIGKILL)
        os.waitpid(writer, 0)
        assert path.read_bytes() in (old, new)
        # Not if the file was renamed just before.
        left += [part.name] if part.exists() else []
    assert left, "no write was hit"
    assert remove_leftovers(str(tmp_path)) == sorted(left)
    assert os.listdir(tmp_path) == ["a.pth"]


def test_only_leftovers_are_removed(tmp_path):
    kept = [".a.part", "a.12.part", ".a.12", ".a.x.part", "a.part", ".12.part.pth"]
    for name in [*kept, ".epoch_1.pth.77.part"]:
        (tmp_path / name).write_text("x")
    assert remove_leftovers(str(tmp_path)) == [".epoch_1.pth.77.part"]
    assert sorted(os.listdir(tmp_path)) == sorted(kept)
    assert remove_leftovers(str(tmp_path / "absent")) == []


def test_a_file_is_moved_over_another_one(tmp_path):
    (tmp_path / "new").write_bytes(b"new")
    (tmp_path / "a").write_bytes(b"old")
    move_atomically(tmp_path / "new", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"new" and os.listdir(tmp_path) == ["a"]
    with pytest.raises(FileNotFoundError):
        move_atomically(tmp_path / "absent", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"new"
