import pytest
import torch
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from mms_plugin.evaluation.input_sizes import backbone_stride, check_sizes


@pytest.fixture
def build():
    pytest.importorskip("mmpretrain")
    from mmpretrain.utils import register_all_modules

    register_all_modules(init_default_scope=False)

    def build(**backbone):
        with DefaultScope.overwrite_default_scope("mmpretrain"):
            return MODELS.build(dict(type="ImageClassifier", backbone=backbone))

    return build


@pytest.mark.parametrize("strides, stride", [((1, 2, 2, 2), 32), ((1, 2, 2, 1), 16)])
def test_stride_of_a_resnet(build, strides, stride):
    model = build(
        type="ResNet", depth=18, stem_channels=4, base_channels=4, strides=strides
    )
    model.train()
    assert backbone_stride(model) == stride
    assert model.training and model.backbone.training
    check_sizes(model, [stride, 100])
    with pytest.raises(
        ValueError, match=rf"size {stride - 1} is below .* {stride} pixels"
    ):
        check_sizes(model, [100, stride - 1])


def test_a_transformer_of_patches(build):
    model = build(
        type="VisionTransformer",
        arch=dict(embed_dims=8, num_layers=1, num_heads=1, feedforward_channels=8),
        img_size=64,
        patch_size=16,
    )
    assert backbone_stride(model) is None
    check_sizes(model, [64, 96])


def test_a_model_without_backbone():
    model = nn.Linear(2, 2)
    assert backbone_stride(model) is None
    check_sizes(model, [1])


def test_padding_of_the_data_preprocessor():
    class OnlyMultiplesOf32(nn.Module):
        def forward(self, image):
            if image.shape[-1] % 32:
                raise RuntimeError("not a multiple of 32")
            return [torch.zeros(1, 2, *(side // 32 for side in image.shape[-2:]))]

    model = nn.Module()
    model.weight = nn.Parameter(torch.zeros(1))
    model.backbone = OnlyMultiplesOf32()
    model.data_preprocessor = nn.Module()
    model.data_preprocessor.pad_size_divisor = 32
    check_sizes(model, [33, 100])
    model.data_preprocessor.pad_size_divisor = 1
    with pytest.raises(ValueError, match="size 100: not a multiple of 32"):
        check_sizes(model, [64, 100])


def test_a_neck_that_does_not_run():
    """A map of stride 16, upsampled by 2, must be as large as the one of stride 8."""

    class Detector(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))
            self.backbone = nn.ModuleList(
                nn.MaxPool2d(stride, ceil_mode=True) for stride in (8, 16)
            )
            self.backbone.forward = lambda image: [
                pool(image) for pool in self.backbone
            ]
            self.data_preprocessor = nn.Module()

        def extract_feat(self, image):
            fine, coarse = self.backbone(image)
            return fine + nn.functional.interpolate(coarse, scale_factor=2)

    model = Detector()
    assert backbone_stride(model) == 16
    check_sizes(model, [96, 112])
    # 104 / 8 = 13 cells, and twice ceil(104 / 16) = 14.
    with pytest.raises(ValueError, match="does not run at size 104: .*13"):
        check_sizes(model, [96, 104])
    check_sizes(model, [96, 104], divisor=16)
