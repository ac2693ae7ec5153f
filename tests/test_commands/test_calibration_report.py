"""Batch sizes from measurements that an accelerator might have given."""

import pytest

from mms_plugin import cli
from mms_plugin.analysis import CostFit, Timing
from mms_plugin.commands.calibrate_batch_sizes import parse_args, points_of
from mms_plugin.commands.calibration_report import evaluate, show
from mms_plugin.multi_scale import GrowingSizes


def on_an_accelerator(*options, overhead=0.1, failed=((50, 50, 32),)):
    """What is made of measurements that an accelerator might have given."""
    args = parse_args(["config.py", *options])
    schedule = GrowingSizes(8, 100, [50, 100, 200], weights=[1, 2, 1])
    points = points_of(schedule, args.measure)
    time, memory = CostFit(overhead, 1e-6, 0.01), CostFit(1e9, 4e3, 1e7)
    timings = {
        (*size, b): Timing(time.at(*size, b), 0.01, int(memory.at(*size, b)))
        for size, batch_sizes in points.items()
        for b in batch_sizes
    }
    timings.update({point: Timing(None) for point in failed})
    measured = dict(timings=timings, clock="wall", device="GPU", batches="made up")
    measured.update(num_samples=900, loading={})
    return evaluate(schedule, points, measured, args.memory_budget)


def test_time_and_memory_of_an_accelerator(capsys):
    document = on_an_accelerator()
    assert [s["batch_sizes"] for s in document["sizes"]] == [
        [8, 16, 32], [4, 8], [2, 4, 8],
    ]  # fmt: skip
    assert document["sizes"][0]["seconds"][2] is None
    assert document["memory_model"] == pytest.approx(
        dict(overhead=1e9, alpha=4e3, beta=1e7), rel=1e-3
    )
    assert document["cost_model"] == pytest.approx(
        dict(overhead=0.1, alpha=1e-6, beta=0.01)
    )
    assert document["sampler"]["cost_model"] == dict(alpha=1.0, beta=10000.0)
    # 8 * 20 ms over 12.5 ms and over 50 ms
    assert document["batch_sizes"] == [12, 8, 3]
    prediction = document["prediction"]
    assert prediction["cost_model"]["batch_sizes"] == [12, 8, 3]
    assert prediction["pixel_budget"]["batch_sizes"] == [32, 8, 2]
    # 12 + 2 * 8 + 3 = 31 images in 4 iterations; 0.25, 2 * 0.26 and 0.25 s
    row = prediction["batch_sizes"]
    assert row["iterations"] == pytest.approx(900 * 4 / 31)
    assert row["seconds"] == pytest.approx(900 / 31 * (0.25 + 2 * 0.26 + 0.25))
    assert row["slowest_iteration"] == pytest.approx(0.26)
    # 1 GB and 3 images of 170 MB; by the pixel budget 32 of 20 MB
    assert row["peak_memory"] == pytest.approx(1.51e9)
    assert prediction["pixel_budget"]["peak_memory"] == pytest.approx(1.64e9)
    show(document, None)
    shown = capsys.readouterr().out
    assert "50x50 32 out of memory" in " ".join(shown.split()) and " peak GB\n" in shown
    assert "cost_model=dict(alpha=1.0, beta=10000)" in shown
    assert "batch_sizes=[12, 8, 3]  # each as long as 8 images of 100x100" in shown
    # 32 images of 50x50 were measured, and did not fit.
    assert prediction["pixel_budget"]["out_of_memory"] == ["32 images of 50x50"]
    assert "  32, 8, 2  (out of memory)" in shown
    assert shown.count("out of memory") == 2


def test_nothing_that_did_not_fit_is_to_be_pasted(capsys):
    failed = [(50, 50, 32), (200, 200, 8), (200, 200, 4)]
    document = on_an_accelerator("--memory-budget", "1.9", failed=failed)
    # 41, 18 and 5 images would fill it by the fit; 16 and 2 were measured and fit.
    assert document["batch_sizes"] == [16, 18, 2]
    show(document, 1.9)
    assert "batch_sizes=[16, 18, 2]  # each within 1.9 GB" in capsys.readouterr().out
    document = on_an_accelerator(failed=[(50, 50, 16), (50, 50, 32)])
    assert document["batch_sizes"] == [12, 8, 3]
    measured = ("--measure", "2", "8", "12")
    document = on_an_accelerator(*measured, failed=[(50, 50, 12), (200, 200, 12)])
    assert document["batch_sizes"] == [8, 8, 3]
    show(document, None)
    shown = capsys.readouterr().out
    assert "(no cost_model: with it, 12 images of 50x50 would not fit" in shown
    assert "cost_model=" not in shown


def test_a_base_batch_that_does_not_fit(capsys):
    with pytest.raises(cli.UserError, match="8 images of 100x100, the base batch"):
        on_an_accelerator(failed=[(100, 100, 8)])


def test_times_that_are_mostly_overhead_level_no_batches(capsys):
    # 8 images of 100 x 100 px take 0.16 s beside the overhead.
    document = on_an_accelerator(overhead=0.15)
    assert document["overhead_share"] == pytest.approx(0.15 / 0.31, rel=1e-3)
    show(document, None)
    assert "batch_sizes=[" in capsys.readouterr().out
    document = on_an_accelerator(overhead=0.48)
    show(document, None)
    shown = capsys.readouterr().out
    assert "75% of an iteration of 8 images of 100x100 does not depend on" in shown
    assert "batch_sizes=[" not in shown and "cost_model=" not in shown
    assert "an epoch of 900 images" in shown
    # Memory does not depend on how long an iteration takes.
    show(document, 2.0)
    assert "each within 2 GB" in capsys.readouterr().out


def test_memory_budget(capsys):
    document = on_an_accelerator("--memory-budget", "2", failed=())
    # 1 GB left for images of 20, 50 and 170 MB
    assert document["batch_sizes"] == [50, 20, 5]
    assert document["prediction"]["batch_sizes"]["peak_memory"] <= 2e9 * (1 + 1e-6)
    show(document, 2.0)
    assert "batch_sizes=[50, 20, 5]  # each within 2 GB" in capsys.readouterr().out
    with pytest.raises(cli.UserError, match="no image of 200x200 fits into 1.1 GB"):
        on_an_accelerator("--memory-budget", "1.1")
