"""Models and images that do not have three channels."""

import numpy as np
import pytest
import torch
from torch import nn

from mms_plugin.utils.input_channels import input_channels

pytest.importorskip("mmpretrain")


def model(channels):
    from mmpretrain.models import (
        GlobalAveragePooling,
        ImageClassifier,
        LinearClsHead,
        ResNet,
    )

    return ImageClassifier(
        backbone=ResNet(18, channels, stem_channels=8, base_channels=8),
        neck=GlobalAveragePooling(),
        head=LinearClsHead(
            num_classes=2, in_channels=64, loss=dict(type="mmpretrain.CrossEntropyLoss")
        ),
        data_preprocessor=dict(type="mmpretrain.ClsDataPreprocessor"),
    )


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_those_of_the_first_convolution(channels):
    assert input_channels(model(channels)) == channels


def test_behind_the_focus_of_yolox():
    pytest.importorskip("mmdet")
    from mmdet.models import CSPDarknet

    net = nn.Module()
    net.backbone = CSPDarknet(widen_factor=0.125, deepen_factor=0.33)
    assert input_channels(net) == 3
    net.backbone(torch.zeros(1, 3, 64, 64))


def test_without_a_convolution():
    net = nn.Linear(3, 3)
    assert input_channels(net) == 3
    net.data_preprocessor = nn.Module()
    net.data_preprocessor.register_buffer("mean", torch.zeros(4, 1, 1))
    assert input_channels(net) == 4


@pytest.mark.parametrize("channels", [1, 5])
def test_costs_and_sizes(channels):
    from mms_plugin.analysis import model_flops, total_stride
    from mms_plugin.evaluation.input_sizes import backbone_stride, check_sizes

    net = model(channels)
    found = model_flops(net, [(64, 64)])
    more = model_flops(model(channels + 1), [(64, 64)])
    # A channel more in the 7 x 7 stem of 8 channels at 32 x 32, forward and the
    # gradient of the weights.
    extra = 2 * 2 * 49 * 8 * 32 * 32
    assert more.per_image[64, 64] - found.per_image[64, 64] == extra
    assert total_stride(net, (64, 64)) == backbone_stride(net) == 32
    check_sizes(net, [64])
    with pytest.raises(ValueError, match="stride of 32"):
        check_sizes(net, [16])


class Loader:
    def __init__(self, image):
        self.dataset = [dict(inputs=torch.from_numpy(image))] * 2

    @staticmethod
    def collate_fn(samples):
        return dict(inputs=[sample["inputs"] for sample in samples])


def view(image):
    from mmpretrain.models import ClsDataPreprocessor

    from mms_plugin.analysis.batch_views import batch_view

    preprocessor = ClsDataPreprocessor()
    return batch_view(Loader(image), [0, 1], preprocessor)


def test_sixteen_bits_in_gray():
    image = np.array([[[1000, 3000], [2000, 5000]]], np.int32)
    found = view(image)
    gray = np.round((image[0] - 1000) * (255 / 4000)).astype(np.uint8)
    assert np.array_equal(found.pixels[1], np.stack([gray] * 3, axis=-1))
    assert found.shown == "in gray, values 1000 to 5000 scaled to 8 bits"


def test_the_first_of_five_bands():
    image = np.arange(20, dtype=np.uint8).reshape(5, 2, 2)
    found = view(image)
    assert np.array_equal(found.pixels[0], image[:3].transpose(1, 2, 0))
    assert found.shown == "bands 1 to 3 of 5"
    fractions = view(image[:2].astype(np.float32) / 10)
    assert fractions.pixels.max() == 255
    assert fractions.shown == "band 1 of 2, in gray, values 0 to 0.3 scaled to 8 bits"


def test_eight_bit_color_is_shown_as_it_is():
    image = np.arange(12, dtype=np.uint8).reshape(3, 2, 2)
    found = view(image)
    assert found.shown == ""
    assert np.array_equal(found.pixels[0], image[::-1].transpose(1, 2, 0))
