"""FLOPs of a converted config, and the error where they cannot be counted."""

import pytest

from mms_plugin.analysis import UncountedError
from mms_plugin.recipes import RecipeError, counted_flops


def test_the_error_names_the_remedy(monkeypatch):
    def fail(*arguments, **options):
        raise UncountedError("backbone.stem is not known to the counter")

    monkeypatch.setattr(
        counted_flops, "build_model", lambda config: config.pop("model")
    )
    monkeypatch.setattr(counted_flops, "model_flops", fail)
    config = dict(model=dict(type="X"))
    with pytest.raises(RecipeError, match="^model: backbone.stem .*; leave it out$"):
        counted_flops.counted_flops(config, [], None, "leave it out", print)
    assert config == dict(model=dict(type="X"))
