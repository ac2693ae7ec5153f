import itertools
import math

import pytest

from mms_plugin.agvm import AGVMConfig
from mms_plugin.agvm.agvm_config import FITTED, arguments_to_fit
from mms_plugin.agvm.fit_measurements import fit_measurements


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


@pytest.mark.parametrize("counts", [1, 3])
@pytest.mark.parametrize("stop", [None, 20, 21, 37])
def test_measured_updates_against_brute_force(counts, stop):
    for interval, start in itertools.product((1, 4, 7), (0, 5, 18)):
        config = AGVMConfig(interval=interval, start_iter=start, stop_iter=stop)
        expected, wait = [], 0
        for update in range(40):
            iteration = update * counts
            if iteration < start or (stop is not None and iteration >= stop):
                continue
            if wait == 0:
                expected.append(update)
                wait = interval
            wait -= 1
        assert [u for u in range(40) if config.measures(u, counts)] == expected
        for begin, end in itertools.product((0, 3, 11), (2, 13, 40)):
            found = config.measured_updates(begin, end, counts)
            assert list(found) == [u for u in expected if begin <= u < end]


def test_none_asks_for_a_fit():
    unset = dict(start_iter=None, interval=None, momentum=None)
    assert arguments_to_fit(unset) == list(FITTED)
    assert arguments_to_fit(dict(interval=None, start_iter=5)) == ["interval"]
    assert arguments_to_fit(None) == arguments_to_fit(AGVMConfig()) == []
    # Without a number of updates the defaults hold.
    assert AGVMConfig.build(unset) == AGVMConfig()
    stopped = AGVMConfig.build(dict(start_iter=None, stop_iter=300))
    fitted = stopped.fitted(["start_iter"], 1000)
    assert (fitted.start_iter, fitted.stop_iter) == (fit_measurements(1000).start, 300)


@pytest.mark.parametrize("counts", [1, 4])
def test_a_fit_is_that_of_the_updates(counts):
    times = fit_measurements(500)
    fitted = AGVMConfig(anchor="neck").fitted(FITTED, 500, counts)
    assert fitted.start_iter == times.start * counts
    assert (fitted.interval, fitted.momentum) == (times.interval, times.momentum)
    assert fitted.anchor == "neck"
    measured = [update for update in range(500) if fitted.measures(update, counts)]
    assert len(measured) == times.measurements and measured[0] == times.start


def test_a_fit_keeps_what_is_given():
    config = AGVMConfig(start_iter=401, stop_iter=800)
    fitted = config.fitted(["interval", "momentum"], 500, 4)
    assert fitted.start_iter == 401
    # Updates 101 to 199.
    assert (fitted.interval, fitted.momentum) == (1, 0.949)
    # A stop before the start that fits: nothing is measured.
    fitted = AGVMConfig(start_iter=0, stop_iter=9).fitted(["start_iter"], 500, 4)
    assert not any(fitted.measures(update, 4) for update in range(500))
