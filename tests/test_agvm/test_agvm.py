import math

import pytest

from mms_plugin.agvm import AGVM, AGVMConfig, half_batch_variance


def _products(phi, length=1.0):
    """Return the inner products of two vectors with ``1 - cos = phi``."""
    return [length, length * (1 - phi), length]


NONE = [0.0, 0.0, 0.0]


def test_multipliers_by_hand():
    agvm = AGVM(AGVMConfig(momentum=0.5), ["backbone", "neck", "head"])
    measured = agvm.update([_products(0.4), _products(0.1, 7.0), _products(0.8)])
    assert measured == ["backbone", "neck", "head"]
    assert agvm.variances == pytest.approx(dict(backbone=0.4, neck=0.1, head=0.8))
    neck = math.sqrt((0.4 + 1e-6) / (0.1 + 1e-6))
    head = math.sqrt((0.4 + 1e-6) / (0.8 + 1e-6))
    assert agvm.multipliers == pytest.approx(
        dict(backbone=1.0, neck=(1 + neck) / 2, head=(1 + head) / 2)
    )
    assert agvm.multipliers["backbone"] == 1.0
    agvm.update([_products(0.4), _products(0.1), _products(0.8)])
    assert agvm.multipliers["neck"] == pytest.approx(0.25 + 0.75 * neck)
    assert agvm.num_measured == 2


def test_a_module_without_a_variance_keeps_its_multiplier():
    agvm = AGVM(AGVMConfig(momentum=0.5), ["backbone", "neck", "head"])
    agvm.update([_products(0.4), _products(0.1), _products(0.8)])
    before, variances = dict(agvm.multipliers), dict(agvm.variances)
    for broken in (NONE, [math.nan] * 3, [math.inf, 0.0, 1.0]):
        measured = agvm.update([_products(0.4), broken, _products(0.8)])
        assert measured == ["backbone", "head"]
        assert agvm.multipliers["neck"] == before["neck"]
        assert agvm.variances["neck"] == variances["neck"]
    assert agvm.multipliers["head"] != before["head"]


def test_without_the_anchors_variance_all_keep_theirs():
    agvm = AGVM(AGVMConfig(momentum=0.5), ["backbone", "neck"])
    agvm.update([_products(0.4), _products(0.1)])
    before = dict(agvm.multipliers)
    for broken in (NONE, [math.nan] * 3):
        assert agvm.update([broken, _products(0.3)]) == ["neck"]
        assert agvm.multipliers == before
    assert agvm.num_measured == 1
    assert agvm.variances["neck"] == pytest.approx(0.3)


def test_an_anchor_of_several_modules_is_taken_as_one():
    modules = ["backbone.layer1", "backbone.layer2", "head"]
    agvm = AGVM(AGVMConfig(momentum=0.0), modules)
    agvm.update([[1, 0.9, 1], [3, 1.5, 3], [1, 0.5, 1]])
    whole = 1 - 2.4 / 4
    expected = [math.sqrt((whole + 1e-6) / (phi + 1e-6)) for phi in (0.1, 0.5, 0.5)]
    assert list(agvm.multipliers.values()) == pytest.approx(expected)


def test_the_anchor_stays_at_1_whatever_the_range():
    agvm = AGVM(AGVMConfig(ratio_range=(2, 3), momentum=0.0), ["backbone", "neck"])
    agvm.update([_products(0.4), _products(0.4)])
    assert agvm.multipliers == dict(backbone=1.0, neck=math.sqrt(2))


def test_other_parts_than_halves_are_converted():
    agvm = AGVM(AGVMConfig(momentum=0.0), ["backbone", "neck"])
    agvm.update([_products(0.25), _products(0.5)], half_batch_variance)
    assert agvm.variances == pytest.approx(dict(backbone=0.4, neck=1 / 1.5))


def test_an_unknown_anchor():
    with pytest.raises(ValueError, match="anchor 'fpn' is not among.*backbone, neck"):
        AGVM(AGVMConfig(anchor="fpn"), ["backbone", "neck"])


def test_a_single_number_has_no_variance():
    agvm = AGVM(AGVMConfig(momentum=0.0), ["backbone", "rest"], fixed=["rest"])
    assert agvm.update([_products(0.4), _products(2.0)]) == ["backbone"]
    assert agvm.multipliers["rest"] == 1.0
    with pytest.raises(ValueError, match="anchor 'backbone' has a single"):
        AGVM(AGVMConfig(), ["backbone", "rest"], fixed=["backbone"])


def test_modulate_false_computes_but_does_not_scale():
    agvm = AGVM(AGVMConfig(modulate=False, momentum=0.0), ["backbone", "neck"])
    agvm.update([_products(0.4), _products(0.1)])
    assert agvm.multipliers["neck"] == pytest.approx(2.0, rel=1e-4)
    assert agvm.lr_multiplier("neck") == 1.0


def test_the_state_is_saved_and_restored():
    agvm = AGVM(AGVMConfig(), ["backbone", "neck"])
    agvm.update([_products(0.4), _products(0.1)])
    other = AGVM(AGVMConfig(), ["backbone", "neck", "head"])
    assert other.load_state_dict(agvm.state_dict()) == ["head"]
    assert other.multipliers == dict(agvm.multipliers, head=1.0)
    assert other.variances["neck"] == agvm.variances["neck"]
    assert other.num_measured == 1
    other.reset()
    assert set(other.multipliers.values()) == {1.0} and other.num_measured == 0


def test_modules_without_variance_for_many_measurements_are_quiet():
    modules = ["backbone", "dead", "low", "unused", "broken", "neck"]
    agvm = AGVM(AGVMConfig(), modules)
    broken = [math.nan, math.nan, math.nan]
    # The ratios of "low" and "neck" to the backbone lie beside the bound of 10.
    rest = [NONE, broken, _products(0.051)]
    quiet = [_products(0.5), _products(1e-6), _products(0.049), *rest]
    for _ in range(19):
        agvm.update(quiet)
    assert agvm.quiet_modules() == []
    resumed = AGVM(AGVMConfig(), agvm.modules)
    resumed.load_state_dict(agvm.state_dict())
    for state in (agvm, resumed):
        state.update(quiet)
        assert state.quiet_modules() == ["dead", "low", "unused"]
    agvm.update([_products(0.5), _products(0.2), _products(0.051), *rest])
    assert agvm.quiet_modules() == ["unused"]


def test_what_is_a_low_variance_depends_on_the_anchor_and_the_bound():
    low = [_products(0.04), _products(0.3)]
    for config, found in (
        (AGVMConfig(anchor="head"), []),  # 0.3 / 0.04 is below 10
        (AGVMConfig(anchor="head", ratio_range=(0.5, 5.0)), ["neck"]),
        (AGVMConfig(anchor="neck", ratio_range=(0.5, 5.0)), []),
    ):
        agvm = AGVM(config, ["neck", "head"])
        for _ in range(20):
            agvm.update(low)
        assert agvm.quiet_modules() == found
    # The anchor itself, and all others with it.
    agvm = AGVM(AGVMConfig(), ["backbone", "neck"])
    for _ in range(20):
        agvm.update([_products(1e-4), _products(1e-4)])
    assert agvm.quiet_modules() == ["backbone", "neck"]


def test_states_saved_before_quiet_modules_were_counted_load():
    agvm = AGVM(AGVMConfig(), ["backbone", "neck"])
    state = agvm.state_dict()
    del state["num_quiet"]
    agvm.load_state_dict(state)
    assert agvm.num_quiet == dict(backbone=0, neck=0)
