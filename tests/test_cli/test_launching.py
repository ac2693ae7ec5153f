from pathlib import Path

import pytest
import torch.distributed as dist
from mmengine.config import Config

from mms_plugin import cli
from mms_plugin.cli.launching import has_accelerator


def group_threads():
    """Threads of gloo's process groups in this process."""
    names = (
        path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")
    )
    return [name for name in names if "gloo" in name]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="asks Linux")
def test_no_thread_outlives_the_process_group(tmp_path):
    assert not group_threads()
    dist.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1
    )
    dist.barrier()  # the thread has its name now
    holder = [dist.group.WORLD]
    holder.append(holder)  # as a runner does
    del holder
    assert group_threads()
    cli.leave_process_group()
    assert not group_threads() and not dist.is_initialized()


@pytest.mark.parametrize(
    ("launcher", "name"),
    [
        ("pytorch", "RANK"),
        ("slurm", "SLURM_PROCID"),
        ("mpi", "OMPI_COMM_WORLD_RANK"),
    ],
)
def test_a_launcher_sets_its_variables(launcher, name, monkeypatch):
    monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(cli.UserError, match=f"the variable {name}, "):
        cli.prepare_launcher(Config(dict()), launcher)


@pytest.mark.skipif(has_accelerator(), reason="MMEngine joins the ranks there")
@pytest.mark.parametrize(("rank", "says"), [("0", "WORLD_SIZE"), ("x", "'x'")])
def test_an_incomplete_launch_is_one_line(rank, says, monkeypatch):
    for name in ("WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(cli.UserError, match="^--launcher pytorch: .*" + says) as error:
        cli.prepare_launcher(Config(dict()), "pytorch")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("rank", "is_main"), [("0", True), ("3", False)])
def test_the_main_process(rank, is_main, monkeypatch):
    for name in ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert cli.is_main_process()
    monkeypatch.setenv("SLURM_PROCID", rank)
    assert cli.is_main_process() is is_main
