"""What is outdated stays until it is told to go, and only then."""

from mmengine.fileio import LocalBackend

from mms_plugin.checkpoints.delayed_removal_backend import DelayedRemovalBackend


def test_removals_wait(tmp_path):
    backend = DelayedRemovalBackend(LocalBackend())
    paths = {name: tmp_path / name for name in ("file", "used", "folder", "absent")}
    paths["file"].write_bytes(b"a")
    paths["used"].write_bytes(b"b")
    paths["folder"].mkdir()
    backend.remove(str(paths["file"]))
    backend.remove(str(paths["used"]))
    backend.rmtree(str(paths["folder"]))
    backend.remove(str(paths["absent"]))
    assert paths["file"].exists() and paths["folder"].exists()
    assert len(backend.outdated) == 4
    backend.remove_outdated([str(paths["used"]), None])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["used"]
    assert backend.outdated == []


def test_everything_else_is_passed_on(tmp_path):
    backend = DelayedRemovalBackend(LocalBackend())
    backend.put(b"abc", str(tmp_path / "a"))
    assert backend.get(str(tmp_path / "a")) == b"abc"
    assert backend.join_path("a", "b") == "a/b"
