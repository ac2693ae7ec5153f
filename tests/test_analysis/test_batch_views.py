"""Batches as the network sees them."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import default_collate, pseudo_collate
from mmengine.model import ImgDataPreprocessor
from mmengine.structures import BaseDataElement, InstanceData, PixelData
from toys import train_dataloader

from mms_plugin.analysis.batch_views import batch_view, first_batches


class Images:
    """Images of given sizes, blue-green-red as mmcv loads them."""

    metainfo = dict(classes=("cat", "dog"))

    def __init__(self, shapes, **truth):
        rng = np.random.default_rng(0)
        self.images = [rng.integers(0, 256, (3, *s), dtype=np.uint8) for s in shapes]
        self.truth = truth

    def __getitem__(self, index):
        image = torch.from_numpy(self.images[index])
        sample = BaseDataElement(metainfo=dict(img_shape=tuple(image.shape[1:])))
        for name, value in self.truth.items():
            sample.set_field(value, name)
        return dict(inputs=image, data_samples=sample)


def view_of(dataset, count, **kwargs):
    loader = SimpleNamespace(dataset=dataset, collate_fn=pseudo_collate)
    preprocessor = ImgDataPreprocessor(
        mean=[10.0, 20.0, 30.0], std=[3.0, 5.0, 7.0], bgr_to_rgb=True, **kwargs
    )
    return batch_view(loader, range(count), preprocessor, (8, 8), most_images=2)


def test_pixels_are_those_that_were_loaded():
    dataset = Images([(8, 8)] * 3)
    view = view_of(dataset, 3)
    expected = [image[::-1].transpose(1, 2, 0) for image in dataset.images]
    np.testing.assert_array_equal(view.pixels, expected)
    assert (view.batch_size, len(view.images), view.padding) == (3, 2, 0.0)
    np.testing.assert_array_equal(view.images[1].pixels, expected[1])


@pytest.mark.parametrize("wrapped", [False, True])
def test_pixels_of_segmentors(wrapped):
    """Their preprocessor names its channel conversion otherwise, and may be wrapped."""
    pytest.importorskip("mmseg.models")
    structures = pytest.importorskip("mmseg.structures")
    from mmengine.registry import MODELS

    from mms_plugin.multi_scale.sizes import TARGET_SIZE

    image = np.random.default_rng(0).integers(0, 256, (3, 8, 8), dtype=np.uint8)
    labels = PixelData(data=torch.zeros(1, 8, 8, dtype=torch.long))
    sample = structures.SegDataSample(
        metainfo={"img_shape": (8, 8), TARGET_SIZE: (8, 8)}, gt_sem_seg=labels
    )
    dataset = [dict(inputs=torch.from_numpy(image), data_samples=sample)]
    config = dict(
        type="mmseg.SegDataPreProcessor",
        mean=[10.0, 20.0, 30.0],
        std=[3.0, 5.0, 7.0],
        bgr_to_rgb=True,
        size=(8, 8),
    )
    if wrapped:
        config = dict(type="MultiScaleDataPreprocessor", preprocessor=config)
    loader = SimpleNamespace(dataset=dataset, collate_fn=pseudo_collate)
    view = batch_view(loader, [0], MODELS.build(config), (8, 8))
    np.testing.assert_array_equal(view.pixels[0], image[::-1].transpose(1, 2, 0))


def test_share_of_padding():
    """8 x 6 and 5 x 8 in 8 x 8: padded to 16 x 16 by the divisor."""
    view = view_of(Images([(8, 6), (5, 8)]), 2, pad_size_divisor=16)
    assert view.shape == (16, 16)
    assert view.size == (8, 8)
    assert view.padding == pytest.approx(1 - (48 + 40) / (2 * 256))


@pytest.mark.parametrize(
    "truth, caption",
    [
        (dict(gt_label=torch.tensor([1])), "dog"),
        (dict(gt_label=torch.tensor([5])), "class 5"),
        (dict(gt_score=torch.tensor([0.3, 0.7])), "0.70 dog + 0.30 cat"),
        (dict(gt_score=torch.tensor([1.0, 0.0])), "cat"),
        ({}, ""),
    ],
)
def test_labels(truth, caption):
    assert view_of(Images([(8, 8)], **truth), 1).images[0].caption == caption


def test_objects():
    masks = np.zeros((2, 8, 8), np.uint8)
    masks[1, 2:4, 3:7] = 1
    truth = InstanceData(
        bboxes=torch.tensor([[0.0, 1.0, 2.0, 3.0], [3.0, 2.0, 7.0, 4.0]]),
        labels=torch.tensor([1, 0]),
        masks=masks,
    )
    objects = view_of(Images([(8, 8)], gt_instances=truth), 1).images[0].objects
    assert [one.label for one in objects] == ["dog", "cat"]
    assert objects[0].box == (0.0, 1.0, 2.0, 3.0)
    assert objects[1].mask.sum() == 8


def test_the_first_full_batch_of_each_size():
    loader, batches = first_batches(train_dataloader(num=60, num_workers=2), seed=1)
    assert loader.num_workers == 0
    # 4 images at 8 x 8; of 60 images the largest batch is met within some epochs.
    assert {size: len(batch) for size, batch in batches.items()} == {
        (4, 4): 16,
        (6, 6): 7,
        (8, 8): 4,
        (10, 10): 2,
        (12, 12): 1,
    }
    assert list(batches) == sorted(batches)
    assert all(index.size == size for size, batch in batches.items() for index in batch)


def test_a_data_set_too_small_for_a_full_batch():
    _, batches = first_batches(train_dataloader(num=5))
    assert len(batches[4, 4]) == 5


def test_a_data_set_smaller_than_every_batch_shows_all_sizes():
    _, batches = first_batches(train_dataloader(num=3, batch_size=40))
    assert {size[0]: len(batch) for size, batch in batches.items()} == {
        4: 3, 6: 3, 8: 3, 10: 3, 12: 3,
    }  # fmt: skip
    assert all(index.size == size for size, batch in batches.items() for index in batch)


def test_samplers_without_an_end_and_plain_ones():
    sampler = dict(type="InfiniteSampler", shuffle=True)
    _, batches = first_batches(train_dataloader(num=60, sampler=sampler))
    assert len(batches) == 5
    plain = train_dataloader(num=60)
    plain.pop("batch_sampler")
    _, batches = first_batches(plain)
    assert {size: len(batch) for size, batch in batches.items()} == {None: 4}


def test_of_several_views_the_first_is_shown():
    first, second = Images([(8, 8)] * 3), Images([(6, 6)] * 3)

    class Views:
        def __getitem__(self, index):
            sample = BaseDataElement(metainfo=dict(img_shape=(50, 50)))  # as on disk
            inputs = [first[index]["inputs"], second[index]["inputs"]]
            return dict(inputs=inputs, data_samples=sample)

    loader = SimpleNamespace(dataset=Views(), collate_fn=default_collate)

    def stack(data, training):
        return dict(data, inputs=[view.float() for view in data["inputs"]])

    view = batch_view(loader, range(3), stack, (8, 8))
    expected = [image[::-1].transpose(1, 2, 0) for image in first.images]
    np.testing.assert_array_equal(view.pixels, expected)
    assert (view.shape, view.padding, view.shown) == ((8, 8), 0.0, "view 1 of 2")


def test_what_is_no_image():
    dataset = Images([(8, 8)])
    loader = SimpleNamespace(dataset=dataset, collate_fn=pseudo_collate)
    with pytest.raises(ValueError, match=r"\(N, 3, height, width\)"):
        batch_view(loader, [0], lambda data, training: dict(inputs=torch.ones(4)))


def test_a_sheet_shows_boxes_masks_and_images(tmp_path):
    pytest.importorskip("matplotlib")
    from mms_plugin.analysis.batch_pictures import describe_batch, draw_batch

    masks = np.zeros((1, 64, 64), np.uint8)
    masks[0, 10:50, 10:50] = 1
    truth = InstanceData(
        bboxes=torch.tensor([[10.0, 10.0, 50.0, 50.0]]),
        labels=torch.tensor([1]),
        masks=masks,
    )
    dataset = Images([(64, 64)], gt_instances=truth)
    dataset.images = [np.full((3, 64, 64), 255, np.uint8)]
    view = view_of(dataset, 1)
    draw_batch(view, tmp_path / "sheet.png")
    image = cv2.imread(str(tmp_path / "sheet.png")).astype(int)
    blue = np.array((0xB2, 0x72, 0x00))
    outline = (abs(image - blue).max(axis=2) < 30).sum()
    fill = (abs(image - (0.6 * 255 + 0.4 * blue)).max(axis=2) < 12).sum()
    assert outline > 500
    assert fill > 30 * outline**0.5
    assert describe_batch(view) == (
        "drawn: 8 × 8 px, given to the network: 64 × 64 px, 1 images, 0.0% of the "
        "pixels are padding"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]
    view.images = []
    with pytest.raises(ValueError, match="at least one image"):
        draw_batch(view, tmp_path / "sheet.png")
