import collections

import numpy as np
import pytest
import torch
from mmengine.structures import BaseDataElement, InstanceData

from mms_plugin.agvm.batch_slicing import count_images, first_images

Pair = collections.namedtuple("Pair", "one two")


def _samples(count):
    return [
        BaseDataElement(metainfo=dict(index=i), label=torch.tensor([i]))
        for i in range(count)
    ]


def test_a_stacked_tensor_with_samples():
    images, samples = torch.arange(24.0).view(4, 6), _samples(4)
    data = dict(inputs=images, data_samples=samples, mode="loss", scale=2.0)
    assert count_images(data) == 4
    part = first_images(data, 4, 2)
    assert torch.equal(part["inputs"], images[:2])
    assert [sample.index for sample in part["data_samples"]] == [0, 1]
    assert (part["mode"], part["scale"]) == ("loss", 2.0)


def test_changes_do_not_reach_the_batch():
    images, samples = torch.zeros(4, 6), _samples(4)
    part = first_images(dict(inputs=images, data_samples=samples), 4, 2)
    part["inputs"] += 1
    part["data_samples"][0].label += 5
    part["data_samples"][0].set_metainfo(dict(index=9))
    assert images.sum() == 0
    assert samples[0].label == 0 and samples[0].index == 0
    assert part["inputs"].untyped_storage().nbytes() == 2 * 6 * 4  # not all four


def test_images_of_different_sizes():
    images = [torch.zeros(3, 4 + i, 5) for i in range(3)]
    data = dict(inputs=images, data_samples=None)
    assert count_images(data) == 3
    part = first_images(data, 3, 1)
    assert [image.shape for image in part["inputs"]] == [(3, 4, 5)]
    assert part["data_samples"] is None


def test_views_mappings_and_nests():
    views = [torch.zeros(4, 3, 8, 8), torch.ones(4, 3, 6, 6)]
    data = dict(inputs=views, data_samples=_samples(4))
    assert count_images(data) == 4
    shapes = [view.shape for view in first_images(data, 4, 3)["inputs"]]
    assert shapes == [(3, 3, 8, 8), (3, 3, 6, 6)]

    # As many views as images: each view is cut, while a list of images is shortened.
    views = [torch.zeros(2, 3, 8, 8), torch.ones(2, 3, 6, 6)]
    assert [len(view) for view in first_images(views, 2, 1)] == [1, 1]
    assert len(first_images([torch.zeros(3, 8, 8)] * 3, 3, 2)) == 2

    nested = dict(
        inputs=dict(img=torch.zeros(4, 2), points=[torch.zeros(i) for i in range(4)]),
        data_samples=dict(boxes=_samples(4), extra=(np.arange(4), None)),
    )
    assert count_images(nested) == 4
    part = first_images(nested, 4, 2)
    assert part["inputs"]["img"].shape == (2, 2)
    assert [len(points) for points in part["inputs"]["points"]] == [0, 1]
    assert len(part["data_samples"]["boxes"]) == 2
    assert part["data_samples"]["extra"][0].tolist() == [0, 1]


def test_named_tuples_and_instances_keep_their_type():
    pair = first_images(Pair(torch.zeros(5, 1), torch.ones(5, 2)), 5, 2)
    assert isinstance(pair, Pair) and pair.two.shape == (2, 2)
    instances = InstanceData(bboxes=torch.arange(12.0).view(3, 4))
    assert len(first_images(instances, 3, 2)) == 2


def test_without_samples_the_first_tensor_counts():
    assert count_images(dict(mode="loss", inputs=torch.zeros(7, 2))) == 7
    with pytest.raises(ValueError, match="without a batch"):
        count_images(dict(mode="loss", scale=torch.tensor(2.0)))


@pytest.mark.parametrize(
    "value, words",
    [
        (torch.zeros(3, 2), r"array of shape \(3, 2\), which is no batch of 4"),
        (torch.tensor(1.0), r"array of shape \(\)"),
        (dict(one=torch.zeros(4), two=torch.zeros(2)), r"array of shape \(2,\)"),
        (object(), "it holds a object, which cannot be cut"),
        (InstanceData(bboxes=torch.zeros(3, 4)), "it holds a InstanceData"),
    ],
)
def test_what_cannot_be_cut(value, words):
    with pytest.raises(ValueError, match=words):
        first_images(dict(inputs=value), 4, 2)


def test_samples_of_mmdet_with_masks():
    structures = pytest.importorskip("mmdet.structures")
    masks = pytest.importorskip("mmdet.structures.mask")
    samples = []
    for count in (2, 1, 3):
        instances = InstanceData(
            bboxes=torch.rand(count, 4),
            masks=masks.BitmapMasks(np.ones((count, 4, 4), np.uint8), 4, 4),
        )
        samples.append(structures.DetDataSample(gt_instances=instances))
    part = first_images(
        dict(inputs=torch.zeros(3, 3, 4, 4), data_samples=samples), 3, 2
    )
    assert [len(sample.gt_instances) for sample in part["data_samples"]] == [2, 1]
    assert len(part["data_samples"][0].gt_instances.masks) == 2
