"""One line in the log, from rank 0 only."""

import pytest
from mmengine.logging import MMLogger

from mms_plugin.utils import main_process_warning
from mms_plugin.utils.main_process_warning import warn_on_main_process


@pytest.mark.parametrize("rank", [0, 1])
def test_only_the_main_process_warns(tmp_path, monkeypatch, rank):
    file = tmp_path / "run.log"
    MMLogger.get_instance("warned", log_file=str(file))
    monkeypatch.setattr(main_process_warning, "is_main_process", lambda: rank == 0)
    warn_on_main_process("end=3 lies beyond the end")
    lines = [line for line in file.read_text().splitlines() if "end=3" in line]
    assert len(lines) == (1 if rank == 0 else 0)
    assert all("WARNING" in line for line in lines)
