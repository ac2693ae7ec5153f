import math

import pytest

from mms_plugin.agvm import AGVMConfig


def test_defaults_are_the_papers():
    config = AGVMConfig.build(None)
    assert (config.interval, config.momentum, config.start_iter) == (10, 0.97, 600)
    assert (config.anchor, config.ratio_range) == ("backbone", (0.5, 10.0))
    assert config.stop_iter is None and config.modules is None and config.modulate


@pytest.mark.parametrize(
    "arguments, words",
    [
        (dict(interval=0), "interval must be an integer of at least 1, but got 0"),
        (dict(interval=2.5), "interval must be an integer.*2.5"),
        (dict(interval=True), "interval must be an integer.*True"),
        (dict(start_iter=-1), "start_iter must be an integer of at least 0.*-1"),
        (dict(stop_iter="end"), "stop_iter must be an integer.*'end'"),
        (dict(momentum=1), "momentum must be a number in .0, 1.*1"),
        (dict(momentum=-0.1), "momentum must be a number.*-0.1"),
        (dict(momentum=math.nan), "momentum must be a number.*nan"),
        (dict(momentum="0.9"), "momentum must be a number"),
        (dict(start_iter=9, stop_iter=8), "start_iter=9 lies after stop_iter=8"),
        (dict(single_process="halves"), "one of lookback, consecutive, but.*'halves'"),
        (dict(lookback_fraction=0), "lookback_fraction must be a number in .0, 1.*0"),
        (dict(lookback_fraction=1.5), "lookback_fraction must be a number.*1.5"),
        (dict(lookback_fraction=True), "lookback_fraction must be a number.*True"),
        (dict(ratio_range=(10, 0.5)), "ratio_range.*low first.*10, 0.5"),
        (dict(ratio_range=(0, 1)), "ratio_range must be positive"),
        (dict(ratio_range=(-1, 1)), "ratio_range must be positive"),
        (dict(ratio_range=(1, math.inf)), "ratio_range.*finite"),
        (dict(ratio_range=(1,)), "ratio_range must be two numbers"),
        (dict(ratio_range=2.0), "ratio_range must be two numbers"),
        (dict(ratio_range=(1, math.nan)), "ratio_range must be two numbers"),
        (dict(tau=10), "unknown argument 'tau'. It takes interval, momentum"),
    ],
)
def test_wrong_values(arguments, words):
    with pytest.raises(ValueError, match=words):
        AGVMConfig.build(arguments)


@pytest.mark.parametrize(
    "arguments, words",
    [
        (dict(anchor=3), "anchor must be the name"),
        (dict(modulate=1), "modulate must be True or False"),
        ([], "agvm must be a dict"),
    ],
)
def test_wrong_types(arguments, words):
    with pytest.raises(TypeError, match=words):
        AGVMConfig.build(arguments)


def test_when_it_measures():
    config = AGVMConfig(interval=3, start_iter=5, stop_iter=14)
    assert [u for u in range(20) if config.measures(u)] == [5, 8, 11]
    # Updates of four iterations: the first that starts at iteration 5 or later is
    # number 2; none at iteration 14 or later.
    config = AGVMConfig(interval=1, start_iter=5, stop_iter=14)
    assert [u for u in range(20) if config.measures(u, 4)] == [2, 3]
