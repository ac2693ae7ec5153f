"""Reading and changing configs of any kind."""

import copy

import pytest
from mmengine.config import ConfigDict

from mms_plugin.recipes import RecipeError
from mms_plugin.recipes.config_edits import (
    add_plugin_import,
    assign,
    nested_components,
    nested_configs,
    short,
)


@pytest.mark.parametrize("kind", [dict, ConfigDict])
def test_a_nested_value_is_replaced_in_a_copy(kind):
    inner = dict(type="A")
    plain = dict(
        type="Outer",
        transforms=[dict(type="B"), inner],
        schedule=[dict(epoch=3, pipeline=[inner])],
        single=inner,
        numbers=[1, 2],
    )
    config = kind(plain)
    untouched = copy.deepcopy(config)
    found = dict(nested_components(config))
    assert set(found) == {"transforms", "schedule[0].pipeline", "single"}
    assert found["single"] == [inner] and len(found["transforms"]) == 2
    changed = copy.copy(config)
    for path in found:
        assign(changed, path, ["new"])
    assert changed["schedule"][0] == dict(epoch=3, pipeline=["new"])
    assert changed["transforms"] == changed["single"] == ["new"]
    assert config == untouched


def test_every_config_inside_another():
    inner = dict(type="A", sizes=[3, (4,)])
    outer = dict(parts=[inner, 5, (dict(),)], own=inner)
    found = list(nested_configs(outer, "model"))
    assert found == [
        ("model", outer),
        ("model.parts[0]", inner),
        ("model.parts[2][0]", {}),
        ("model.own", inner),
    ]
    assert list(nested_configs(None, "model")) == []


@pytest.mark.parametrize(
    "before, after",
    [
        (None, ["mms_plugin"]),
        (dict(imports="mine"), ["mine", "mms_plugin"]),
        (dict(imports=["a", "mms_plugin"]), ["a", "mms_plugin"]),
    ],
)
def test_the_plugin_is_imported_once(before, after):
    config, lines = dict(custom_imports=before), []
    add_plugin_import(config, lines.append)
    assert config["custom_imports"]["imports"] == after
    known = bool(before) and "mms_plugin" in before["imports"]
    assert lines == ([] if known else ["custom_imports: added mms_plugin"])


@pytest.mark.parametrize("allowed", [True, False, None])
def test_the_users_word_on_failed_imports_stands(allowed):
    imports = dict(imports=["not_there"])
    if allowed is not None:
        imports["allow_failed_imports"] = allowed
    config = dict(custom_imports=imports)
    add_plugin_import(config)
    assert config["custom_imports"]["allow_failed_imports"] is bool(allowed)


def test_short_texts():
    assert short([1, 2, 3, 4]) == "[1, 2, 3, 4]"
    assert short([1, 2, 3, 4, 5]) == "[1, 2, ..., 5]"
    assert short("x" * 80, limit=10) == "'xxxxxx..."


def test_an_error_has_a_place_and_a_reason():
    error = RecipeError("model.neck", "is missing")
    assert (error.place, error.reason) == ("model.neck", "is missing")
    assert isinstance(error, ValueError) and str(error) == "model.neck: is missing"
