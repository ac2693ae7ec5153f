"""mmdet's transforms at the size of the batch: values worked out by hand.

One image of height 40 and width 60 whose pixel (y, x) holds (y, x, 0), with a box, a
box over the right border, and an ignored region.
"""

import gc

import numpy as np
import pytest
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS, init_default_scope

from mms_plugin.multi_scale import (
    MultiScaleDataset,
    MultiScaleTransform,
    sized_index_class,
)

pytest.importorskip("mmdet")

HEIGHT, WIDTH = 40, 60
BOXES = [[6.0, 4.0, 30.0, 20.0], [40.0, 10.0, 60.0, 40.0], [0.0, 0.0, 60.0, 8.0]]
LABELS = [0, 1, 1]
IGNORED = [False, False, True]
Y, X = np.mgrid[:HEIGHT, :WIDTH].astype(np.uint8)
IMAGE = np.stack([Y, X, 0 * X], axis=-1)


@pytest.fixture(scope="module", autouse=True)
def _quick_collections():
    # MMEngine collects garbage for each data set that it serializes.
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def scope(_fresh_process):
    init_default_scope("mmdet")


def bitmaps(boxes, height=HEIGHT, width=WIDTH):
    masks = np.zeros((len(boxes), height, width), np.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, np.asarray(boxes, int)):
        mask[y1:y2, x1:x2] = 1
    return masks


def sample(size, kind="bitmap", boxes=BOXES):
    from mmdet.structures.bbox import HorizontalBoxes
    from mmdet.structures.mask import BitmapMasks, PolygonMasks

    if kind == "bitmap":
        masks = BitmapMasks(bitmaps(boxes), HEIGHT, WIDTH)
    else:
        corners = [
            [np.array([x1, y1, x2, y1, x2, y2, x1, y2])] for x1, y1, x2, y2 in boxes
        ]
        masks = PolygonMasks(corners, HEIGHT, WIDTH)
    return dict(
        img=IMAGE.copy(),
        img_shape=(HEIGHT, WIDTH),
        ori_shape=(HEIGHT, WIDTH),
        img_path="image.png",
        gt_bboxes=HorizontalBoxes(np.array(boxes, np.float32).reshape(-1, 4)),
        gt_bboxes_labels=np.array(LABELS[: len(boxes)]),
        gt_ignore_flags=np.array(IGNORED[: len(boxes)]),
        gt_instances_ids=np.arange(7, 7 + len(boxes)),
        gt_masks=masks,
        target_size=size,
    )


def boxes_of(results):
    return results["gt_bboxes"].tensor.numpy()


def mask_boxes(results):
    return results["gt_masks"].get_bboxes("hbox").tensor.numpy()


def near(values):
    return pytest.approx(np.asarray(values, float), abs=1e-4)


KINDS = pytest.mark.parametrize("kind", ["bitmap", "polygon"])

# size, keep_ratio -> image (height, width) and factors (x, y). With the ratio kept the
# size bounds the image: at 24 x 32 by min(32 / 60, 24 / 40), 21.33 rounds to 21.
RESIZED = [
    ((24, 32), True, (21, 32), (32 / 60, 21 / 40)),
    ((48, 64), True, (43, 64), (64 / 60, 43 / 40)),
    ((24, 32), False, (24, 32), (32 / 60, 24 / 40)),
    ((80, 90), False, (80, 90), (90 / 60, 80 / 40)),
]


@KINDS
@pytest.mark.parametrize("size, keep_ratio, shape, factors", RESIZED)
def test_resize(size, keep_ratio, shape, factors, kind):
    transform = MultiScaleTransform(dict(type="Resize", keep_ratio=keep_ratio))
    results = transform(sample(size, kind))
    x, y = factors
    expected = np.array(BOXES) * [x, y, x, y]
    assert results["img"].shape[:2] == results["img_shape"] == shape
    assert results["scale_factor"] == near(factors)
    assert results["homography_matrix"] == near([[x, 0, 0], [0, y, 0], [0, 0, 1]])
    assert boxes_of(results) == near(expected)
    assert results["gt_bboxes_labels"].tolist() == LABELS
    assert results["gt_ignore_flags"].tolist() == IGNORED
    masks = results["gt_masks"]
    assert (masks.height, masks.width) == shape
    if kind == "polygon":
        assert mask_boxes(results) == near(expected)
    else:
        # A pixel is in or out: off by less than one, and by half at each end.
        assert mask_boxes(results) == pytest.approx(expected, abs=1.0)


@pytest.mark.parametrize("size, factor", [((20, 30), 0.5), ((80, 120), 2)])
def test_bitmaps_at_half_and_twice_the_size_are_exact(size, factor):
    results = MultiScaleTransform(dict(type="Resize"))(sample(size))
    expected = bitmaps(np.array(BOXES) * factor, *size)
    assert (results["gt_masks"].masks == expected).all()
    assert boxes_of(results) == near(np.array(BOXES) * factor)


@KINDS
@pytest.mark.parametrize("size, shape", [((24, 32), (11, 16)), ((48, 64), (21, 32))])
def test_random_resize(size, shape, kind):
    config = dict(type="RandomResize", ratio_range=(0.5, 0.5), keep_ratio=True)
    results = MultiScaleTransform(config)(sample(size, kind))
    assert results["img"].shape[:2] == shape
    x, y = shape[1] / WIDTH, shape[0] / HEIGHT
    assert boxes_of(results) == near(np.array(BOXES) * [x, y, x, y])
    assert (results["gt_masks"].height, results["gt_masks"].width) == shape
    assert results["homography_matrix"] == near([[x, 0, 0], [0, y, 0], [0, 0, 1]])


@KINDS
@pytest.mark.parametrize("size", [(24, 32), (32, 56)])
def test_random_crop(size, kind):
    transform = MultiScaleTransform(dict(type="RandomCrop", allow_negative_crop=True))
    for seed in range(6):
        np.random.seed(seed)
        results = transform(sample(size, kind))
        assert results["img"].shape[:2] == size == results["img_shape"]
        # The pixels tell where it was cut out.
        top, left = (int(v) for v in results["img"][0, 0, :2])
        shifted = np.array(BOXES) - [left, top, left, top]
        clipped = np.clip(shifted, 0, [size[1], size[0]] * 2)
        inside = (clipped[:, 2:] > clipped[:, :2]).all(axis=1)
        assert boxes_of(results) == near(clipped[inside])
        assert results["gt_bboxes_labels"].tolist() == np.array(LABELS)[inside].tolist()
        assert results["gt_ignore_flags"].tolist() == np.array(IGNORED)[inside].tolist()
        ids = np.arange(7, 10)[inside].tolist()
        assert results["gt_instances_ids"].tolist() == ids
        assert mask_boxes(results) == near(clipped[inside])
        shift = [[1, 0, -left], [0, 1, -top], [0, 0, 1]]
        assert results["homography_matrix"] == near(shift)


@KINDS
@pytest.mark.parametrize("size", [(48, 64), (64, 96)])
def test_pad(size, kind):
    results = MultiScaleTransform(dict(type="Pad"))(sample(size, kind))
    assert results["img"].shape[:2] == results["pad_shape"][:2] == size
    assert (results["img"][:HEIGHT, :WIDTH] == IMAGE).all()
    assert results["img"][HEIGHT:].max() == results["img"][:, WIDTH:].max() == 0
    assert boxes_of(results) == near(BOXES)
    assert (results["gt_masks"].height, results["gt_masks"].width) == size
    assert mask_boxes(results) == near(BOXES)


@KINDS
@pytest.mark.parametrize("size", [(24, 32), (64, 80)])
def test_large_scale_jitter_ends_at_the_size(size, kind):
    steps = [
        dict(type="RandomResize", ratio_range=(0.4, 2.0), keep_ratio=True),
        dict(type="RandomCrop", allow_negative_crop=True),
        dict(type="Pad"),
    ]
    transforms = [MultiScaleTransform(step) for step in steps]
    shapes = set()
    for seed in range(8):
        np.random.seed(seed)
        results = transforms[0](sample(size, kind))
        shapes.add(results["img"].shape[:2])
        for transform in transforms[1:]:
            results = transform(results)
        assert results["img"].shape[:2] == size
        boxes = boxes_of(results)
        assert (
            len(boxes) == len(results["gt_masks"]) == len(results["gt_bboxes_labels"])
        )
        assert (boxes >= 0).all() and (boxes <= [size[1], size[0]] * 2).all()
        # All has gone one way: the matrix takes the old corners to the new ones.
        corners = np.array(BOXES).reshape(-1, 2) @ results["homography_matrix"][:2, :2]
        moved = (corners + results["homography_matrix"][:2, 2]).reshape(-1, 4)
        ids = results["gt_instances_ids"] - 7
        height, width = (min(a, b) for a, b in zip(size, shape_before_pad(results)))
        assert boxes == pytest.approx(
            np.clip(moved, 0, [width, height] * 2)[ids], abs=1e-3
        )
    assert len(shapes) >= 5


def shape_before_pad(results):
    """Height and width of what is image: its third channel alone is zero."""
    inside = results["img"][..., :2].any(axis=-1)
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    return rows[-1] + 1, columns[-1] + 1


# ---------------------------------------------------------------- mixing wrappers


@DATASETS.register_module()
class FourImages(BaseDataset):
    """Four times the image above, with its first two boxes."""

    METAINFO = dict(classes=("a", "b"))

    def load_data_list(self):
        return [dict(i=i, height=HEIGHT, width=WIDTH) for i in range(4)]

    def prepare_data(self, idx):
        return self.pipeline({**sample(None, boxes=BOXES[:2]), "i": idx})


class Load:
    def __call__(self, results):
        results.pop("gt_masks")
        results.pop("gt_instances_ids")
        return results


def mixed(pipeline, leaf_pipeline=()):
    return MultiScaleDataset(
        dict(
            type="MultiImageMixDataset",
            dataset=dict(type="FourImages", pipeline=[Load(), *leaf_pipeline]),
            pipeline=pipeline,
        )
    )


STILL = dict(
    max_rotate_degree=0.0,
    max_translate_ratio=0.0,
    max_shear_degree=0.0,
    scaling_ratio_range=(1.0, 1.0),
)
MOSAIC = dict(type="MultiScaleMosaic", center_ratio_range=(1.0, 1.0))


@pytest.mark.parametrize("size, factor", [((20, 30), 0.5), ((80, 120), 2.0)])
def test_mosaic(size, factor):
    """Four images that fill a quarter each of a canvas of twice the sides."""
    height, width = size
    results = mixed([MOSAIC])[sized_index_class(size)(1)]
    assert results["img"].shape[:2] == (2 * height, 2 * width)
    one = np.array(BOXES[:2]) * factor
    corners = [(0, 0), (width, 0), (0, height), (width, height)]
    expected = np.concatenate([one + [x, y, x, y] for x, y in corners])
    assert boxes_of(results) == near(expected)
    assert results["gt_bboxes_labels"].tolist() == [0, 1] * 4
    assert results["target_size"] == size


@pytest.mark.parametrize("size, factor", [((20, 30), 0.5), ((80, 120), 2.0)])
def test_mosaic_cut_down_to_the_size(size, factor):
    affine = dict(type="MultiScaleRandomAffine", **STILL)
    results = mixed([MOSAIC, affine])[sized_index_class(size)(1)]
    assert results["img"].shape[:2] == size
    # The affine transform stands still: the upper left image is what stays.
    assert boxes_of(results) == near(np.array(BOXES[:2]) * factor)


@pytest.mark.parametrize("size, factor", [((20, 30), 0.5), ((80, 120), 2.0)])
def test_mix_up(size, factor):
    mix_up = dict(type="MultiScaleMixUp", ratio_range=(1.0, 1.0), flip_ratio=1.0)
    resize = dict(type="MultiScaleResize")
    results = mixed([resize, mix_up])[sized_index_class(size)(2)]
    assert results["img"].shape[:2] == size
    # Both images lie over each other.
    assert boxes_of(results) == near(np.array(BOXES[:2] * 2) * factor)


def test_names_to_skip_when_the_mixing_ends():
    dataset = mixed(
        [
            MOSAIC,
            dict(type="MultiScaleRandomAffine", **STILL),
            dict(type="MultiScaleMixUp"),
            dict(type="MultiScaleResize"),
        ]
    )
    # As mmdet's YOLOXModeSwitchHook does it.
    dataset.update_skip_type_keys(
        ("MultiScaleMosaic", "MultiScaleRandomAffine", "MultiScaleMixUp")
    )
    results = dataset[sized_index_class((20, 30))(0)]
    assert boxes_of(results) == near(np.array(BOXES[:2]) * 0.5)


# ------------------------------------------------- what vanishes at a small size

# At half the size 1 pixel wide, 0.95 pixels wide, 0.5 pixels high.
SMALL = [[10.0, 10.0, 12.0, 30.0], [20.0, 10.0, 21.9, 30.0], [30.0, 10.0, 50.0, 11.0]]


@KINDS
@pytest.mark.parametrize(
    "size, kept", [((20, 30), [0]), ((40, 60), [0, 1, 2]), ((10, 15), [])]
)
def test_boxes_below_a_pixel_go_with_all_that_is_theirs(size, kept, kind):
    results = MultiScaleTransform(dict(type="Resize"))(sample(size, kind, SMALL))
    factor = size[0] / HEIGHT
    assert boxes_of(results) == near(np.array(SMALL)[kept] * factor)
    assert results["gt_bboxes_labels"].tolist() == [LABELS[i] for i in kept]
    assert results["gt_ignore_flags"].tolist() == [IGNORED[i] for i in kept]
    assert results["gt_instances_ids"].tolist() == [7 + i for i in kept]
    assert len(results["gt_masks"]) == len(kept)
    assert (results["gt_masks"].height, results["gt_masks"].width) == size


def test_what_other_libraries_hold_for_each_box_goes_with_it():
    results = sample((8, 12))
    own = dict(gt_polygons=list("abc"), gt_texts=["x", "y", "z"])
    arrays = dict(depths=np.arange(3.0), centers_2d=np.arange(6.0).reshape(3, 2))
    results.update(own, **arrays, text="one of the image")
    transform = MultiScaleTransform(dict(type="Resize"), min_box_side=3.5)
    after = transform(results)
    # At a fifth of the size the boxes are 3.2, 6 and 1.6 px high, all 4 px wide or more
    assert after["gt_polygons"] == ["b"] and after["gt_texts"] == ["y"]
    assert after["depths"].tolist() == [1.0]
    assert after["centers_2d"].tolist() == [[2.0, 3.0]]
    assert after["text"] == "one of the image"


def test_min_box_side():
    def kept(min_box_side):
        transform = MultiScaleTransform(dict(type="Resize"), min_box_side=min_box_side)
        return transform(sample((20, 30), "polygon", SMALL))[
            "gt_instances_ids"
        ].tolist()

    assert kept(0) == [7, 8, 9]
    assert kept(0.94) == [7, 8]
    assert kept(1.01) == []


def test_masks_without_a_pixel_go_too():
    results = sample((20, 30))
    # Every second column and row is left out, and with it all of this mask.
    results["gt_masks"].masks[0] = 0
    results["gt_masks"].masks[0, 5, 7:29:2] = 1
    # What is ignored has an empty mask on purpose.
    results["gt_masks"].masks[2] = 0
    resized = MultiScaleTransform(dict(type="Resize"))(results)
    assert resized["gt_instances_ids"].tolist() == [8, 9]
    assert resized["gt_ignore_flags"].tolist() == [False, True]


def test_polygons_below_an_area_of_a_pixel_go_too():
    results = sample((20, 30), "polygon")
    # A needle of 24 x 16 pixels and an area of 3.2, at half the size of 0.8.
    results["gt_masks"].masks[0] = [np.array([6.0, 4, 30, 20, 30, 19.7333])]
    assert results["gt_masks"].areas[0] == pytest.approx(3.2, abs=1e-3)
    resized = MultiScaleTransform(dict(type="Resize"))(results)
    assert resized["gt_instances_ids"].tolist() == [8, 9]


def test_boxes_as_plain_arrays_and_ids_as_a_list():
    results = dict(
        img=IMAGE,
        gt_bboxes=np.array(SMALL, np.float32),
        gt_instances_ids=["a", "b", "c"],
        target_size=(20, 30),
    )
    resized = MultiScaleTransform(dict(type="mmcv.Resize"))(results)
    assert resized["gt_bboxes"].tolist() == [[5, 5, 6, 15]]
    assert resized["gt_instances_ids"] == ["a"]


@DATASETS.register_module()
class TwoImages(FourImages):
    """Of two images the first has boxes that vanish at a small size."""

    def load_data_list(self):
        return super().load_data_list()[:2]

    def prepare_data(self, idx):
        boxes = BOXES[:2] if idx else SMALL[1:]
        return self.pipeline({**sample(None, boxes=boxes), "i": idx})


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("filter_empty_gt", [True, False, None])
def test_an_image_that_loses_all_is_what_filter_empty_gt_says(filter_empty_gt, wrapped):
    config = dict(
        type="TwoImages",
        filter_cfg=None
        if filter_empty_gt is None
        else dict(filter_empty_gt=filter_empty_gt),
        pipeline=[dict(type="MultiScaleResize")],
    )
    if wrapped:
        config = dict(type="RepeatDataset", dataset=config, times=2)
    dataset = MultiScaleDataset(config)
    large = dataset[sized_index_class((40, 60))(0)]
    assert large["i"] == 0 and len(large["gt_bboxes"]) == 2
    small = dataset[sized_index_class((20, 30))(0)]
    # Another one in its place at the same size; or an image without objects.
    assert small["img"].shape[:2] == (20, 30)
    assert small["i"] == (1 if filter_empty_gt else 0)
    assert len(small["gt_bboxes"]) == (2 if filter_empty_gt else 0)
    assert len(small["gt_masks"]) == len(small["gt_bboxes_labels"])


@DATASETS.register_module()
class TwoImagesWithProposals(TwoImages):
    """Proposals of which one is smaller than a pixel at a small size, and scores."""

    def prepare_data(self, idx):
        from mmdet.structures.bbox import HorizontalBoxes

        boxes = BOXES[:2] if idx else SMALL[1:]
        proposals = HorizontalBoxes([[0.0, 0.0, 30.0, 20.0], [5.0, 5.0, 5.5, 30.0]])
        return self.pipeline(
            {
                **sample(None, boxes=boxes),
                "i": idx,
                "proposals": proposals,
                "proposals_scores": np.array([0.9, 0.8]),
            }
        )


@pytest.mark.parametrize("filter_empty_gt", [True, False])
def test_proposals_stay_as_many_as_their_scores(filter_empty_gt):
    config = dict(
        type="TwoImagesWithProposals",
        filter_cfg=dict(filter_empty_gt=filter_empty_gt),
        pipeline=[
            dict(
                type="ProposalBroadcaster",
                transforms=[
                    dict(type="MultiScaleResize"),
                    dict(type="RandomFlip", prob=0.0),
                ],
            )
        ],
    )
    found = MultiScaleDataset(config)[sized_index_class((20, 30))(0)]
    assert len(found["proposals"]) == len(found["proposals_scores"]) == 2
    assert found["proposals"].tensor[0].tolist() == [0, 0, 15, 10]
    # An image without objects is what filter_empty_gt says, as without proposals.
    assert found["i"] == (1 if filter_empty_gt else 0)
    assert len(found["gt_bboxes"]) == (2 if filter_empty_gt else 0)


def test_an_image_in_a_mixing_wrapper_stays_without_objects():
    """The wrapper would only repeat the same transform of the same image."""
    dataset = MultiScaleDataset(
        dict(
            type="MultiImageMixDataset",
            dataset=dict(type="TwoImages", filter_cfg=dict(filter_empty_gt=True)),
            pipeline=[dict(type="MultiScaleResize")],
        )
    )
    results = dataset[sized_index_class((20, 30))(0)]
    assert results["i"] == 0 and len(results["gt_bboxes"]) == 0


@pytest.mark.parametrize("allowed", [True, False])
def test_a_crop_without_objects_is_what_the_crop_says(allowed):
    dataset = MultiScaleDataset(
        dict(
            type="TwoImages",
            filter_cfg=dict(filter_empty_gt=True),
            pipeline=[dict(type="MultiScaleRandomCrop", allow_negative_crop=allowed)],
        )
    )
    counts = []
    for seed in range(12):
        np.random.seed(seed)
        counts.append(len(dataset[sized_index_class((4, 4))(1)]["gt_bboxes"]))
    assert (0 in counts) is allowed and max(counts) > 0


def test_an_image_without_objects_stays_as_it_is():
    results = MultiScaleTransform(dict(type="Resize"))(sample((20, 30), boxes=[]))
    assert len(results["gt_bboxes"]) == 0 and results["img"].shape[:2] == (20, 30)


# ------------------------------------------------------------- sides of zero


@pytest.mark.parametrize(
    "config",
    [
        dict(type="Resize", keep_ratio=True),
        dict(type="FixScaleResize", keep_ratio=True),
        dict(type="RandomResize", ratio_range=(0.5, 0.5), keep_ratio=True),
    ],
)
def test_a_side_of_zero_names_size_and_image(config):
    strip = dict(img=np.zeros((3, 800, 3), np.uint8), target_size=(64, 64))
    transform = MultiScaleTransform(config)
    with pytest.raises(ValueError) as error:
        transform(strip)
    assert "(64, 64)" in str(error.value) and "(3, 800)" in str(error.value)
    assert config["type"] in str(error.value)
    strip = dict(img=np.zeros((3, 800, 3), np.uint8), target_size=(640, 640))
    assert min(transform(strip)["img"].shape[:2]) >= 1


def test_a_side_of_zero_in_a_data_set_names_the_file():
    class Strip:
        def __call__(self, results):
            results["img"] = np.zeros((3, 800, 3), np.uint8)
            return results

    dataset = MultiScaleDataset(
        dict(
            type="FourImages",
            pipeline=[Strip(), dict(type="MultiScaleResize", keep_ratio=True)],
        )
    )
    with pytest.raises(ValueError, match=r"\(64, 64\).*\(3, 800\).*image\.png"):
        dataset[sized_index_class((64, 64))(0)]


@pytest.mark.parametrize(
    "kwargs, says",
    [
        (dict(size_ratio=0), "size_ratio"),
        (dict(size_ratio="2"), "size_ratio"),
        (dict(size_ratio=float("nan")), "size_ratio"),
        (dict(min_box_side=-1), "min_box_side"),
        (dict(min_box_side=None), "min_box_side"),
        (dict(min_box_side=float("inf")), "min_box_side"),
    ],
)
def test_bad_arguments(kwargs, says):
    with pytest.raises(ValueError, match=f"{says} must be"):
        MultiScaleTransform(dict(type="Resize"), **kwargs)


def test_size_ratio():
    transform = MultiScaleTransform(dict(type="RandomCrop"), size_ratio=0.75)
    assert transform.at((48, 65)).crop_size == (49, 36)  # 48.75
    affine = MultiScaleTransform(dict(type="RandomAffine"))
    assert affine.at((64, 96)).border == (-48, -32)
