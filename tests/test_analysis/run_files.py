"""Work dirs as MMEngine leaves them, written by hand."""

from __future__ import annotations

import json
from pathlib import Path


def write_start(work_dir, name, records, config=None, text="", together=False):
    """One start of a training; its ``vis_data`` folder.

    The sizes of the iterations are in a file of their own, but for older versions.
    """
    folder = Path(work_dir) / name / "vis_data"
    folder.mkdir(parents=True)
    files = {"scalars.json": [], "sizes.json": []}
    for record in records:
        own = not together and ("train/height" in record or "resumed_at" in str(record))
        files["sizes.json" if own else "scalars.json"].append(record)
    for file, lines in files.items():
        if lines or file == "scalars.json":
            text_of = "".join(json.dumps(record) + "\n" for record in lines)
            (folder / file).write_text(text_of)
    if config is not None:
        (folder / "config.py").write_text(config)
    if text:
        (folder.parent / f"{name}.log").write_text(text)
    return folder


def drawn(step, height, width, batch_size, epoch=None):
    return ({} if epoch is None else dict(epoch=epoch)) | {
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
