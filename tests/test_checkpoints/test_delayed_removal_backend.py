"""What is outdated stays until it is told to go, and only then."""

from mmengine.fileio import LocalBackend
from mmengine.logging import MMLogger

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


def test_what_cannot_be_removed_is_told_of_and_the_rest_goes(tmp_path, caplog):
    class Stubborn(LocalBackend):
        def remove(self, filepath):
            if filepath.endswith("kept"):
                raise PermissionError(1, "Operation not permitted", filepath)
            super().remove(filepath)

    logger = MMLogger.get_instance("stubborn")
    logger.addHandler(caplog.handler)
    backend = DelayedRemovalBackend(Stubborn())
    for name in ("kept", "other"):
        (tmp_path / name).write_bytes(b"a")
        backend.remove(str(tmp_path / name))
    backend.remove_outdated([])
    assert [p.name for p in tmp_path.iterdir()] == ["kept"]
    assert "an outdated checkpoint cannot be removed" in caplog.text
    assert str(tmp_path / "kept") in caplog.text
