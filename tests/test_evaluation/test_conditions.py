import pytest

from mms_plugin.evaluation.conditions import (
    Condition,
    headline_metric,
    plan_conditions,
    summarize,
    to_table,
)


def test_plan():
    assert plan_conditions([None]) == [Condition()]
    planned = plan_conditions([64, 96], ["fog"], [1, 3])
    assert planned == [
        Condition(64), Condition(96),
        Condition(64, "fog", 1), Condition(64, "fog", 3),
        Condition(96, "fog", 1), Condition(96, "fog", 3),
    ]  # fmt: skip
    assert str(planned[3]) == "64 px, fog 3"


def test_a_condition_changes_size_and_pixels():
    pipeline = [
        dict(type="LoadImageFromFile"),
        dict(type="Resize", scale=64),
        dict(type="PackInputs"),
    ]
    assert Condition().apply(pipeline) == pipeline
    assert Condition(96, "fog", 1).apply(pipeline) == [
        dict(type="LoadImageFromFile"),
        dict(type="Resize", scale=96),
        dict(type="CommonCorruption", corruption="fog", severity=1),
        dict(type="PackInputs"),
    ]


def test_headline():
    metrics = {"x": 1, "coco/bbox_mAP": 0.2, "coco/segm_mAP": 0.1, "bins": [1]}
    assert headline_metric(metrics) == "coco/segm_mAP"
    assert headline_metric(metrics, "x") == "x"
    assert headline_metric({"bins": [1], "own": 2.0}) == "own"
    assert headline_metric({"aAcc": 90.0, "mIoU": 40.0, "mAcc": 50.0}) == "mIoU"
    with pytest.raises(ValueError, match="'top1' is not one of.*x, coco/bbox_mAP"):
        headline_metric(metrics, "top1")
    with pytest.raises(ValueError, match="no metric"):
        headline_metric({})


def test_the_ap_of_a_detector_that_has_found_nothing_so_far():
    metric = "coco/bbox_mAP"
    assert headline_metric({"other/x": 1.0}, metric, complete=False) == metric
    # It was never given; or AP is given, but none of that name; or it is no AP.
    for metrics, wanted, complete in (
        ({"other/x": 1.0}, metric, True),
        ({"coco/segm_mAP": 0.1}, metric, False),
        ({"other/x": 1.0}, "accuracy/top1", False),
    ):
        with pytest.raises(ValueError, match=f"'{wanted}' is not one of"):
            headline_metric(metrics, wanted, complete)


def evaluated(corruption, severity, metrics):
    return dict(
        checkpoint="a.pth",
        size=None,
        corruption=corruption,
        severity=severity,
        metrics=metrics,
    )


def test_an_ap_of_minus_one_is_left_out():
    """COCO's: the test data have no such objects."""
    values = {(None, None): -1.0, ("fog", 1): -1.0, ("snow", 1): 0.5}
    results = [
        evaluated(*condition, {"coco/bbox_mAP_s": value, "other/x": value})
        for condition, value in values.items()
    ]
    report = summarize(results, "coco/bbox_mAP_s")
    (entry,) = report["summary"]
    assert (entry["clean"], entry["mean"], entry["relative_drop"]) == (None, 0.5, None)
    assert "-1" not in to_table(report)
    (entry,) = summarize(results, "other/x")["summary"]
    assert entry["clean"] == -1


def result(checkpoint, size, value, corruption=None, severity=None):
    return dict(
        checkpoint=checkpoint,
        size=size,
        corruption=corruption,
        severity=severity,
        metrics={"accuracy/top1": value},
    )


def test_table_over_sizes():
    report = summarize(
        [result("a", 64, 50), result("a", 96, 55.125), result("b", 64, None)],
        "accuracy/top1",
    )
    assert report["summary"][1] == dict(checkpoint="a", size=96, clean=55.125)
    assert to_table(report).splitlines() == [
        "| accuracy/top1 | 64 px | 96 px |",
        "| ------------- | ----: | ----: |",
        "| a             | 50.00 | 55.12 |",
        "| b             |     - |     - |",
    ]


def test_table_under_corruptions():
    report = summarize(
        [
            result("a", None, 80.0),
            result("a", None, 60.0, "fog", 1),
            result("a", None, 20.0, "fog", 5),
            result("a", None, 50.0, "snow", 1),
            result("a", None, 50.0, "snow", 5),
        ],
        "accuracy/top1",
    )
    (entry,) = report["summary"]
    assert (entry["clean"], entry["mean"], entry["relative_drop"]) == (80, 45, 43.75)
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in to_table(report).splitlines()
    ]
    size = "config's size"
    assert [cells[0], *cells[2:]] == [
        ["checkpoint", "size", "accuracy/top1", "severity 1", "severity 5", "mean"],
        ["a", size, "clean", "", "", "80.00"],
        # In the benchmark's order.
        ["a", size, "snow", "50.00", "50.00", "50.00"],
        ["a", size, "fog", "60.00", "20.00", "40.00"],
        ["a", size, "mean", "", "", "45.00"],
        ["a", size, "relative drop", "", "", "43.8 %"],
    ]


def test_a_detector_that_finds_nothing_counts_as_zero():
    # mmdet gives no metrics at all then.
    metric = "coco/bbox_mAP"
    results = [
        evaluated(None, None, {metric: 0.4}),
        evaluated("fog", 1, {metric: 0.3}),
        evaluated("fog", 2, {}),
    ]
    report = summarize(results, metric)
    (entry,) = report["summary"]
    assert entry["by_corruption"]["fog"] == pytest.approx(0.15)
    assert entry["relative_drop"] == pytest.approx(62.5)
    assert "0.0000" in to_table(report)
    # LVIS calls it AP.
    for one in results:
        if one["metrics"]:
            one["metrics"] = {"lvis/bbox_AP": one["metrics"][metric]}
    report = summarize(results, "lvis/bbox_AP")
    assert report["summary"][0]["relative_drop"] == pytest.approx(62.5)
    assert "0.3000" in to_table(report)
    # Also beside the metrics of another evaluator.
    results[2]["metrics"] = {"other/x": 1.0}
    report = summarize(results, "lvis/bbox_AP")
    assert report["summary"][0]["relative_drop"] == pytest.approx(62.5)
    # A metric that is no AP is not known there.
    (entry,) = summarize([evaluated(None, None, {})], "accuracy/top1")["summary"]
    assert entry["clean"] is None
