"""A data preprocessor of one size, at the size of each batch."""

import copy

import pytest
import torch
from mmengine.model import BaseDataPreprocessor, BaseModel
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement

from mms_plugin.multi_scale import (
    MultiScaleDataPreprocessor,
    MultiScaleDataset,
    sized_index_class,
)


@MODELS.register_module()
class PadTo(BaseDataPreprocessor):
    """Pads images at the right and the bottom; remembers the device."""

    def __init__(self, size, nested=None, value=7.0):
        super().__init__()
        self.size, self.nested, self.value = size, nested, value

    def forward(self, data, training=False):
        height, width = self.size
        images = [
            torch.nn.functional.pad(
                image,
                (0, width - image.shape[-1], 0, height - image.shape[-2]),
                value=self.value,
            )
            for image in data["inputs"]
        ]
        return dict(inputs=torch.stack(images), data_samples=data["data_samples"])


def batch(size=None, count=2):
    sample = BaseDataElement()
    if size is not None:
        sample.set_metainfo(dict(target_size=size))
    samples = [copy.deepcopy(sample) for _ in range(count)]
    return dict(inputs=[torch.zeros(3, 4, 5)] * count, data_samples=samples)


def shape(preprocessor, *args, **kwargs):
    return tuple(preprocessor(*args, **kwargs)["inputs"].shape[-2:])


def test_each_batch_has_its_size():
    own = dict(type="PadTo", size=(8, 10))
    preprocessor = MultiScaleDataPreprocessor(own)
    for size in ((6, 8), (12, 16), (6, 8)):
        assert shape(preprocessor, batch(size), training=True) == size
    padded = preprocessor(batch((6, 8)), training=True)["inputs"]
    assert padded[0, :, :4, :5].sum() == 0 and (padded[0, :, 4:] == 7).all()
    # In evaluation, and where there is no size, as it is configured.
    assert shape(preprocessor, batch((6, 8)), training=False) == (8, 10)
    assert shape(preprocessor, batch(), training=True) == (8, 10)
    assert own == dict(type="PadTo", size=(8, 10))


def test_order_ratio_and_nested_arguments():
    twice = MultiScaleDataPreprocessor(
        dict(type="PadTo", size=(8, 8)), size_ratio=[1.0, 1.25]
    )
    assert shape(twice, batch((8, 8)), training=True) == (8, 10)
    turned = MultiScaleDataPreprocessor(dict(type="PadTo", size=(8, 8)), order="wh")
    assert shape(turned, batch((8, 6)), training=True) == (6, 8)
    nested = MultiScaleDataPreprocessor(
        dict(type="PadTo", size=(8, 8), nested=[dict(scale=1)]),
        size_arg="nested.0.scale",
    )
    assert nested.nested == [dict(scale=1)]
    nested(batch((6, 9)), training=True)
    assert nested._by_size[(6, 9)].nested == [dict(scale=(6, 9))]


def test_attributes_and_state_are_the_preprocessors_own():
    preprocessor = MultiScaleDataPreprocessor(dict(type="PadTo", size=(8, 8)))
    preprocessor(batch((6, 9)), training=True)
    assert preprocessor.value == 7.0 and preprocessor.state_dict() == {}
    assert [name for name, _ in preprocessor.named_children()] == ["preprocessor"]
    again = copy.deepcopy(preprocessor)
    assert shape(again, batch((6, 9)), training=True) == (6, 9)
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = preprocessor.no_such_thing


class Model(BaseModel):
    def forward(self, *args, **kwargs):
        raise NotImplementedError


def test_the_device_is_the_models():
    own = dict(type="PadTo", size=(8, 8))
    model = Model(dict(type="MultiScaleDataPreprocessor", preprocessor=own))
    preprocessor = model.data_preprocessor
    preprocessor(batch((6, 9)), training=True)
    model.to("meta")
    # One that is there already, one that is made afterwards, and the configured one.
    for size, training in (((6, 9), True), ((9, 9), True), (None, False)):
        data = batch(size)
        data["inputs"] = [image.to("meta") for image in data["inputs"]]
        preprocessor(data, training)
    chosen = [preprocessor.preprocessor, *preprocessor._by_size.values()]
    assert [each.device.type for each in chosen] == ["meta"] * 3


def test_the_dataset_writes_the_size_into_packed_samples():
    packed = BaseDataElement()

    class Packed:
        metainfo = {}

        def __len__(self):
            return 1

        def __getitem__(self, index):
            return dict(inputs=0, data_samples=packed)

    sample = MultiScaleDataset(Packed())[sized_index_class((6, 8))(0)]
    assert sample["data_samples"].metainfo["target_size"] == (6, 8)


@pytest.mark.parametrize(
    "arguments, words",
    [
        (dict(preprocessor="PadTo"), "preprocessor must be a config"),
        (dict(order="short"), "order must be one of"),
        (dict(size_ratio=0), "size_ratio must be"),
        (dict(size_arg="sides"), "size_arg must be an argument of 'PadTo'"),
        (dict(size_arg="nested.0.scale"), "must lead to a nested config"),
    ],
)
def test_arguments_that_are_not_valid(arguments, words):
    arguments = {"preprocessor": dict(type="PadTo", size=(8, 8)), **arguments}
    with pytest.raises(ValueError, match=words):
        MultiScaleDataPreprocessor(**arguments)
