"""The demo's documented figures: README's tables, and a comparison with a run's own.

All of them lie in ``docs/results/demo.json``; a test compares README with it.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence

from mms_plugin.utils.tables import markdown_table

__all__ = ["beside", "load", "readme_table", "spread"]

ROOT = Path(__file__).resolve().parents[2]
KINDS = ("at_base_size", "mean_over_sizes")


def load() -> Dict[str, Any]:
    """Return the content of ``docs/results/demo.json``."""
    content: Dict[str, Any] = json.loads(
        (ROOT / "docs" / "results" / "demo.json").read_text()
    )
    return content


def spread(values: Sequence[float]) -> str:
    """Return the mean, and with several seeds their standard deviation.

    Args:
        values: One figure of each seed.
    """
    mean = f"{statistics.mean(values):.1f}"
    return f"{mean} ± {statistics.stdev(values):.1f}" if len(values) > 1 else mean


def _labels(task: Mapping[str, Any], metric: str) -> List[str]:
    sizes = ", ".join(map(str, task["test_sizes"]))
    name = metric.replace(" (%)", "")
    return [f"{name} at {task['base_size']} px", f"{name}, mean over {sizes} px"]


def readme_table(task: Mapping[str, Any]) -> str:
    """Return README's table of a task, in Markdown.

    Args:
        task: A task of :func:`load`.
    """
    header = ["arm", "epochs", "iterations", "training FLOPs", "CPU time"]
    for metric in task["arms"][0]["metrics"]:
        header += _labels(task, metric)
    rows = [header]
    first = task["arms"][0]
    for arm in task["arms"]:
        flops, seconds = arm["train_tflops"], arm["cpu_time"]
        # Not measured where other programs shared the machine.
        time = ""
        if seconds is not None:
            time = f"{seconds} s ({seconds / first['cpu_time']:.2f})"
        row = [
            arm["name"],
            str(arm["epochs"]),
            f"{arm['iterations']:,}",
            f"{flops:.2f} TFLOPs ({flops / first['train_tflops']:.2f})",
            time,
        ]
        for values in arm["metrics"].values():
            for kind in KINDS:
                text = spread(values[kind])
                if len(values[kind]) > 1:
                    text += f" ({', '.join(map(str, values[kind]))})"
                row.append(text)
        rows.append(row)
    return markdown_table(rows)


def beside(name: str, task: Mapping[str, Any], seed: int) -> List[List[str]]:
    """Return the rows of a table with a run's figures beside the documented ones.

    Args:
        name: Name of the task.
        task: A task of ``report.json``.
        seed: The run's seed.

    Returns:
        list[list[str]]: The header and a row of each arm and metric. Empty where the
        run trained or tested something else than what is documented.
    """
    documented = load()[name]
    arms = {arm["name"]: arm for arm in documented["arms"]}
    images = documented["train_images"]
    if task["test_sizes"] != documented["test_sizes"] or any(
        arm["epochs"] != arms[arm["name"]]["epochs"]
        or arm["images"] != arm["epochs"] * images
        for arm in task["arms"]
    ):
        return []
    seeds = documented["seeds"]
    rows = [
        ["arm", "metric", f"this run, seed {seed}", f"documented, seed {seed}"]
        + [f"documented, {len(seeds)} seed(s)"]
    ]
    for arm in task["arms"]:
        for metric in task["metrics"]:
            for kind, label in zip(KINDS, _labels(documented, metric)):
                values = arms[arm["name"]]["metrics"][metric][kind]
                same = f"{values[seeds.index(seed)]:.1f}" if seed in seeds else "-"
                own = f"{arm['metrics'][metric][kind]:.1f}"
                rows.append([arm["name"], label, own, same, spread(values)])
    return rows
