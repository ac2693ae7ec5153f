import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from mms_plugin.analysis import build_model


def test_the_model_has_the_configs_data_preprocessor():
    pytest.importorskip("mmpretrain")
    config = Config(
        dict(
            model=dict(
                type="ImageClassifier",
                backbone=dict(
                    type="ResNet", depth=18, stem_channels=4, base_channels=4
                ),
            ),
            data_preprocessor=dict(mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 6.0]),
        )
    )
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        model = build_model(config)
    assert type(model).__name__ == "ImageClassifier"
    mean = model.data_preprocessor.mean.flatten()
    assert torch.equal(mean, torch.tensor([1.0, 2.0, 3.0]))
