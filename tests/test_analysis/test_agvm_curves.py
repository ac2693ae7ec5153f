"""AGVM's curves in a log."""

from run_files import train

from mms_plugin.analysis import agvm_curves, running_mean, summarize_agvm


def test_curves_and_how_they_end():
    records = [
        train(10, **{"agvm/mu/neck": 1.0, "agvm/phi/neck": 0.9}),
        train(20, **{"agvm/quiet/neck": 1.0}),
        train(30, **{"agvm/mu/neck": 2.0, "agvm/phi/neck": 0.3}),
        train(40, **{"agvm/mu/neck": 1.5, "agvm/phi/neck": 0.5}),
    ]
    curves = agvm_curves(records)
    assert curves == {
        "mu/neck": [(10, 1.0), (30, 2.0), (40, 1.5)],
        "phi/neck": [(10, 0.9), (30, 0.3), (40, 0.5)],
    }
    # The last third of three is the last.
    assert summarize_agvm(curves) == dict(mu=dict(neck=1.5), phi=dict(neck=0.5))


def test_what_is_no_finite_number_does_not_count():
    nan = float("nan")
    values = [0.9, 0.8, 0.7, 0.2, nan, 0.4, None]
    records = [
        train(step, **{"agvm/phi/neck": value, "agvm/mu/neck": value})
        for step, value in enumerate(values, 1)
    ]
    records += [train(8, **{"agvm/phi/head": nan, "agvm/mu/backbone": None})]
    curves = agvm_curves(records)
    assert set(curves) == {"phi/neck", "mu/neck", "phi/head"}
    assert [step for step, _ in curves["phi/neck"]] == [1, 2, 3, 4, 5, 6]
    # The last third of 0.9, 0.8, 0.7, 0.2, 0.4 is 0.4.
    assert summarize_agvm(curves) == dict(phi=dict(neck=0.4), mu=dict(neck=0.4))


def test_running_mean():
    points = [(1, 1.0), (2, 3.0), (5, 8.0)]
    assert running_mean(points, 2) == [(2, 2.0), (5, 5.5)]
    assert running_mean(points, 1) == points
    assert running_mean(points, 4) == []
