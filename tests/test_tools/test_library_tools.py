"""The libraries' own tools, as ``mim train`` runs them, take a config of ours."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]

MULTI_SCALE = """
_base_ = {base!r}
train_dataloader = dict(
    batch_sampler=dict(
        type='MultiScaleVariableBatchSampler', base_size=32, sizes=[24, 32, 40]),
    dataset=dict(
        _delete_=True,
        type='MultiScaleDataset',
        dataset=dict(type='CustomDataset', data_root={data!r}, pipeline=[
            dict(type='LoadImageFromFile'),
            dict(
                type='MultiScaleTransform', transform=dict(type='RandomResizedCrop')),
            dict(type='PackInputs')])))
custom_hooks = [
    dict(type='ResolutionCurriculumHook', start_sizes=[24]),
    dict(type='DryRunHook')]
"""


def mim_tool(library):
    """``tools/train.py`` in the ``.mim`` folder of an installed library."""
    spec = importlib.util.find_spec(library)
    if spec is None or spec.origin is None:
        pytest.skip(f"{library} is not installed")
    tool = Path(spec.origin).parent / ".mim" / "tools" / "train.py"
    if not tool.exists():
        pytest.skip(f"this {library} has no .mim folder: it was not built for mim")
    return tool


@pytest.mark.timeout(240)
def test_mmpretrains_own_tool_trains_our_config(config_file, pictures, tmp_path):
    config = tmp_path / "tiny_vbs.py"
    config.write_text(MULTI_SCALE.format(base=str(config_file), data=str(pictures)))
    command = [sys.executable, str(mim_tool("mmpretrain")), str(config)]
    # The tool's default needs worker processes.
    command += ["--launcher", "none", "--no-persistent-workers"]
    done = subprocess.run(
        [*command, "--work-dir", str(tmp_path / "w")],
        capture_output=True,
        text=True,
        timeout=240,
        env=dict(os.environ, OMP_NUM_THREADS="1", PYTHONPATH=str(ROOT)),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (log,) = (tmp_path / "w").glob("*/*.log")
    text = log.read_text()
    assert re.findall(r"Dry run \d/\d: (.*): ", text) == [
        "4 images of 32x32",
        "7 images of 24x24",
    ]
    # 12 images: the first epoch at 24 pixels, 7 a batch; the last at 24 and 32.
    heights = [int(height) for height in re.findall(r"height: (\d+)", text)]
    assert set(heights[:2]) == {24} and set(heights) == {24, 32}
    assert torch.load(tmp_path / "w" / "epoch_2.pth")["meta"]["epoch"] == 2
