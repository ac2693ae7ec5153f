"""The built-in data: determinism, masks, balance, and what the libraries read."""

import hashlib
import json
import multiprocessing
import os
from dataclasses import replace

import cv2
import numpy as np
import pytest

from tools.demo import scenes
from tools.demo.scenes import (
    CLASSES,
    SHAPES,
    SceneParameters,
    classification_scene,
    decode_rle,
    detection_scene,
    encode_rle,
    write_scenes,
)

SMALL = SceneParameters(
    seed=3,
    train_images=24,
    val_images=12,
    image_size=48,
    det_train_images=6,
    det_val_images=4,
    det_image_size=96,
)


def digest(scene):
    parts = [scene.image.tobytes()]
    parts += [item.mask.tobytes() + item.class_name.encode() for item in scene.objects]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def digest_of_index(index):
    return digest(detection_scene(5, "train", index))


def points_inside(outline, height, width, per_side=6):
    """Share of each pixel inside a polygon, by the even-odd rule on sub-pixels."""
    offsets = (np.arange(per_side) + 0.5) / per_side
    xs = (np.arange(width)[:, None] + offsets).ravel()
    ys = (np.arange(height)[:, None] + offsets).ravel()
    inside = np.zeros((len(ys), len(xs)), bool)
    for (x1, y1), (x2, y2) in zip(outline, np.roll(outline, -1, axis=0)):
        if y1 == y2:
            continue
        rows = (ys >= min(y1, y2)) & (ys < max(y1, y2))
        crossing = x1 + (ys - y1) * (x2 - x1) / (y2 - y1)
        inside ^= rows[:, None] & (xs[None, :] < crossing[:, None])
    return inside.reshape(height, per_side, width, per_side).mean(axis=(1, 3))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "scenes"
    assert write_scenes(folder, SMALL)
    return folder


def test_same_image_whatever_the_order_and_the_global_generators():
    first = [digest_of_index(index) for index in range(3)]
    np.random.seed(1)
    np.random.rand(7)
    cv2.setRNGSeed(9)
    assert [digest_of_index(index) for index in (2, 1, 0)] == first[::-1]
    assert len(set(first)) == 3


def test_same_image_in_another_process():
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        found = pool.map(digest_of_index, range(4))
    assert found == [digest_of_index(index) for index in range(4)]


def test_seed_split_task_and_index_each_give_another_image():
    images = [
        classification_scene(0, "train", 0),
        classification_scene(1, "train", 0),
        classification_scene(0, "val", 0),
        classification_scene(0, "train", 12),
        detection_scene(0, "train", 0),
    ]
    assert len({digest(scene) for scene in images}) == 5


@pytest.mark.parametrize("index", range(12))
def test_masks_are_the_visible_parts(index):
    scene = detection_scene(11, "train", index)
    height, width = scene.image.shape[:2]
    covers = [points_inside(item.outline, height, width) for item in scene.objects] + [
        points_inside(outline, height, width) for outline in scene.occluders
    ]
    for number, item in enumerate(scene.objects):
        expected = covers[number] >= 0.5
        # Pixels that an outline halves may fall either way.
        sure = abs(covers[number] - 0.5) > 0.2
        for cover in covers[number + 1 :]:
            expected &= cover < 0.5
            sure &= abs(cover - 0.5) > 0.2
        assert (item.mask == expected)[sure].all()
        assert sure.mean() > 0.9
        assert item.area >= 0.45 * (covers[number] >= 0.5).sum() - 2


def test_somewhere_objects_hide_objects_and_masks_never_overlap():
    hidden = 0
    for index in range(20):
        scene = detection_scene(0, "val", index, 96)
        total = np.sum([item.mask for item in scene.objects], axis=0)
        assert np.max(total) <= 1
        for item in scene.objects:
            whole = points_inside(item.outline, *scene.image.shape[:2]) >= 0.5
            hidden += item.area < 0.95 * whole.sum()
    assert hidden >= 10


def test_the_class_is_that_of_the_largest_object():
    for index in range(36):
        scene = classification_scene(0, "val", index)
        assert scene.objects[0].class_name == CLASSES[index % 12]
        radii = [np.ptp(item.outline, axis=0).max() for item in scene.objects]
        assert np.argmax(radii) == 0
        assert scene.objects[0].area > 0.02 * 96 * 96


def test_rle_by_hand():
    mask = np.array([[0, 1, 1], [0, 1, 0]], bool)
    # Column by column: 0 0 | 1 1 | 1 0.
    assert encode_rle(mask) == {"size": [2, 3], "counts": [2, 3, 1]}
    assert encode_rle(~mask) == {"size": [2, 3], "counts": [0, 2, 3, 1]}
    assert encode_rle(np.zeros((2, 2), bool))["counts"] == [4]
    assert encode_rle(np.ones((2, 2), bool))["counts"] == [0, 4]


def test_rle_comes_back_and_pycocotools_agrees():
    coco = pytest.importorskip("pycocotools.mask")
    generator = np.random.default_rng(0)
    for density in (0.0, 0.3, 0.9, 1.0):
        mask = generator.random((13, 7)) < density
        rle = encode_rle(mask)
        assert (decode_rle(rle) == mask).all()
        packed = coco.frPyObjects(rle, 13, 7)
        assert (coco.decode(packed).astype(bool) == mask).all()


def test_written_images_are_balanced_and_counted(root):
    for split, each in (("train", 2), ("val", 1)):
        folder = root / "classification" / split
        assert sorted(path.name for path in folder.iterdir()) == sorted(CLASSES)
        for name in CLASSES:
            assert len(list((folder / name).glob("*.jpg"))) == each
    image = cv2.imread(str(next((root / "classification").glob("train/*/*.jpg"))))
    assert image.shape == (48, 48, 3)


def test_annotations_are_those_of_the_scenes(root):
    for split, count in (("train", 6), ("val", 4)):
        path = root / "detection" / "annotations" / f"instances_{split}.json"
        content = json.loads(path.read_text())
        assert len(content["images"]) == count
        assert [item["name"] for item in content["categories"]] == list(SHAPES)
        ids = [item["id"] for item in content["annotations"]]
        assert ids == list(range(1, len(ids) + 1))
        for index, image in enumerate(content["images"]):
            scene = detection_scene(3, split, index, 96)
            pixels = cv2.imread(str(root / "detection" / split / image["file_name"]))
            assert pixels.shape == scene.image.shape
            assert pixels.shape[:2] == (image["height"], image["width"])
            # JPEG blurs colors, and changes no more than that.
            assert abs(pixels.astype(int) - scene.image).mean() < 12
            found = [
                item
                for item in content["annotations"]
                if item["image_id"] == image["id"]
            ]
            assert len(found) == len(scene.objects) > 0
            for item, truth in zip(found, scene.objects):
                mask = decode_rle(item["segmentation"])
                assert (mask == truth.mask).all()
                ys, xs = np.nonzero(truth.mask)
                left, top = xs.min(), ys.min()
                box = [left, top, xs.max() + 1 - left, ys.max() + 1 - top]
                assert item["bbox"] == box
                assert item["area"] == len(xs)
                assert item["iscrowd"] == 0
                assert SHAPES[item["category_id"] - 1] == truth.shape


def test_detection_images_have_several_shapes_of_image():
    shapes = {detection_scene(0, "train", i, 96).image.shape[:2] for i in range(30)}
    assert {(96, 64), (64, 96), (96, 96)} <= shapes


def test_mmdet_reads_it(root):
    pytest.importorskip("mmdet")
    from mmdet.datasets import CocoDataset
    from mmdet.utils import register_all_modules

    register_all_modules()
    dataset = CocoDataset(
        data_root=str(root / "detection"),
        ann_file="annotations/instances_train.json",
        data_prefix=dict(img="train/"),
        metainfo=dict(classes=SHAPES),
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
        ],
    )
    assert len(dataset) == 6
    for index in range(6):
        sample = dataset[index]
        objects = detection_scene(3, "train", index, 96).objects
        expected = np.stack([item.mask for item in objects])
        assert (sample["gt_masks"].to_ndarray().astype(bool) == expected).all()
        labels = [SHAPES.index(item.shape) for item in objects]
        assert sample["gt_bboxes_labels"].tolist() == labels


def test_mmpretrain_reads_it(root):
    pytest.importorskip("mmpretrain")
    from mmpretrain.datasets import CustomDataset

    dataset = CustomDataset(
        data_root=str(root / "classification"), data_prefix="val", pipeline=[]
    )
    assert list(dataset.CLASSES) == list(CLASSES)
    assert sorted(int(label) for label in dataset.get_gt_labels()) == list(range(12))


def test_written_once(root):
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    lines = []
    assert not write_scenes(root, SMALL, log=lines.append)
    assert lines == []
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_other_parameters_say_so_and_write_anew(tmp_path):
    root = tmp_path / "scenes"
    write_scenes(root, SMALL)
    first = (root / "detection/train/00000.jpg").read_bytes()
    lines = []
    assert write_scenes(root, replace(SMALL, seed=4), log=lines.append)
    assert len(lines) == 1
    assert "other parameters" in lines[0]
    assert (root / "detection/train/00000.jpg").read_bytes() != first
    assert json.loads((root / "manifest.json").read_text())["parameters"]["seed"] == 4
    assert [path.name for path in tmp_path.iterdir()] == ["scenes"]
    write_scenes(root, SMALL)
    assert (root / "detection/train/00000.jpg").read_bytes() == first


def test_an_interrupted_call_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(scenes, "detection_scene", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_scenes(tmp_path / "scenes", SMALL)
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_a_killed_call_go(tmp_path):
    process = multiprocessing.get_context("spawn").Process(target=os.getpid)
    process.start()
    process.join()
    leftover = tmp_path / f".scenes.partial-{process.pid}"
    leftover.mkdir()
    write_scenes(tmp_path / "scenes", SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["scenes"]


def test_refuses_a_folder_of_others(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="root=.*no dataset of scenes"):
        write_scenes(tmp_path, SMALL)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", -1),
        ("train_images", 0),
        ("image_size", 31),
        ("det_image_size", 63.5),
        ("jpeg_quality", 101),
        ("val_images", True),
    ],
)
def test_refuses_bad_parameters(name, value):
    with pytest.raises(ValueError, match=f"{name}={value}"):
        SceneParameters(**{name: value})
