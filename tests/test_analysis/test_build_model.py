import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import nn

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


def test_nothing_is_downloaded():
    class Backbone(nn.Module):
        def __init__(self, pretrained=False, init_cfg=None):
            super().__init__()
            self.pretrained, self.init_cfg = pretrained, init_cfg

    class Model(nn.Module):
        def __init__(self, backbone, train_cfg, init_cfg):
            super().__init__()
            self.backbone = MODELS.build(backbone)
            self.num = train_cfg.num  # as mmdet's detectors read it
            self.init_cfg = init_cfg

    loads = dict(type="Pretrained", checkpoint="https://nowhere.example/a.pth")
    normal = dict(type="Normal", layer="Linear")
    model = build_model(
        Config(
            dict(
                model=dict(
                    type=Model,
                    backbone=dict(type=Backbone, pretrained=True, init_cfg=loads),
                    train_cfg=dict(num=3),
                    init_cfg=[loads, normal],
                )
            )
        )
    )
    assert not model.backbone.pretrained and model.backbone.init_cfg is None
    assert model.num == 3 and model.init_cfg == [normal]
