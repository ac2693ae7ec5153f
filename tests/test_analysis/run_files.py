"""Work dirs as MMEngine leaves them, written by hand."""

from __future__ import annotations

import json
from pathlib import Path


def write_start(work_dir, name, records, config=None, text=""):
    """One start of a training; its ``vis_data`` folder."""
    folder = Path(work_dir) / name / "vis_data"
    folder.mkdir(parents=True)
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (folder / "scalars.json").write_text(lines)
    if config is not None:
        (folder / "config.py").write_text(config)
    if text:
        (folder.parent / f"{name}.log").write_text(text)
    return folder


def drawn(step, height, width, batch_size):
    return {
        "train/height": height,
        "train/width": width,
        "train/batch_size": batch_size,
        "step": step,
    }


def train(step, epoch=None, **values):
    record = dict(lr=0.1, loss=1.0, iter=step, step=step, **values)
    return record if epoch is None else dict(record, epoch=epoch)


def validation(step, **values):
    return dict(values, data_time=0.1, time=0.2, step=step)
