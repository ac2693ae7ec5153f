"""A data preprocessor at the size of the batch."""

import pickle

import pytest
import torch
from mmengine.model import BaseDataPreprocessor
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement

from mms_plugin import MultiScaleDataPreprocessor


@MODELS.register_module()
class PadToSize(BaseDataPreprocessor):
    """Pad images at the right and at the bottom."""

    def __init__(self, size, nested=None):
        super().__init__()
        self.size, self.nested = size, nested

    def forward(self, data, training=False):
        height, width = self.size
        pad = torch.nn.functional.pad
        return [
            pad(i, (0, width - i.shape[1], 0, height - i.shape[0]))
            for i in data["inputs"]
        ]


def batch(size=None):
    sample = BaseDataElement()
    if size is not None:
        sample.set_metainfo(dict(target_size=size))
    return dict(inputs=[torch.ones(2, 3)], data_samples=[sample])


def build(**kwargs):
    return MODELS.build(
        dict(
            type="MultiScaleDataPreprocessor",
            preprocessor=dict(type="PadToSize", size=(50, 60)),
            **kwargs,
        )
    )


@pytest.mark.parametrize(
    "kwargs, shape",
    [
        (dict(), (8, 12)),
        (dict(order="wh"), (12, 8)),
        (dict(size_ratio=(2, 0.5)), (16, 6)),
    ],
)
def test_it_pads_to_the_size_of_the_batch(kwargs, shape):
    made = build(**kwargs)
    assert made(batch((8, 12)), training=True)[0].shape == shape
    assert made(batch((8, 12)), training=False)[0].shape == (50, 60)
    assert made(batch(), training=True)[0].shape == (50, 60)
    again = pickle.loads(pickle.dumps(made))
    assert again(batch((8, 12)), training=True)[0].shape == shape


def test_attributes_are_those_of_the_configured_one():
    made = build()
    assert made.size == (50, 60) and not list(made.buffers())
    with pytest.raises(AttributeError):
        _ = made.no_such_attribute


@pytest.mark.parametrize(
    "kwargs, says",
    [
        (dict(preprocessor=3), "preprocessor must be a config"),
        (dict(preprocessor=dict(type="PadToSize", size=1), order="x"), "order must be"),
        (dict(preprocessor=dict(type="PadToSize", size=1), size_ratio=0), "size_ratio"),
    ],
)
def test_bad_arguments(kwargs, says):
    with pytest.raises(ValueError, match=says):
        MultiScaleDataPreprocessor(**kwargs)
