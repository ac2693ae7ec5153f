"""Datasets of videos: frames of one sample share the size and the random draws."""

import json

import numpy as np
import pytest
from mmengine.registry import TRANSFORMS, init_default_scope

from mms_plugin.multi_scale import MultiScaleDataset, sized_index_class
from mms_plugin.multi_scale.aspect_groups import landscape_flags

pytest.importorskip("mmdet")

# Height and width of the frames of two videos.
SIDES = [(40, 60), (60, 40)]
RESIZE = dict(type="RandomResize", ratio_range=(0.5, 1.5), keep_ratio=True)


@pytest.fixture(autouse=True)
def scope(_fresh_process):
    init_default_scope("mmdet")


@TRANSFORMS.register_module()
class MakeFrame:
    """A black frame of the height and width in its record."""

    def __call__(self, results):
        shape = (results["height"], results["width"])
        results.update(img=np.zeros((*shape, 3), np.uint8), img_shape=shape)
        return results


def video_dataset(tmp_path, resize, share=True):
    """A dataset of two videos with three frames and one small box in each frame."""
    frames = [(video, frame) for video in range(2) for frame in range(3)]
    images, boxes = [], []
    for number, (video, frame) in enumerate(frames):
        height, width = SIDES[video]
        image = dict(id=number, video_id=video, frame_id=frame, file_name=f"{number}")
        images.append(dict(image, height=height, width=width))
        box = dict(bbox=[4, 4, 6, 6], area=36, iscrowd=0, category_id=1)
        boxes.append(dict(box, id=number + 1, image_id=number, instance_id=1))
    file = tmp_path / "videos.json"
    categories = [dict(id=1, name="a")]
    file.write_text(
        json.dumps(dict(images=images, annotations=boxes, categories=categories))
    )
    transforms = [
        dict(type="MakeFrame"),
        dict(type="LoadTrackAnnotations"),
        dict(type="MultiScaleTransform", transform=resize),
    ]
    return MultiScaleDataset(
        dict(
            type="BaseVideoDataset",
            ann_file=str(file),
            metainfo=dict(classes=("a",)),
            filter_cfg=dict(filter_empty_gt=True, min_size=1),
            pipeline=[
                dict(type="UniformRefFrameSample", num_ref_imgs=1, frame_range=2),
                dict(
                    type="TransformBroadcaster",
                    share_random_params=share,
                    transforms=transforms,
                ),
            ],
        )
    )


@pytest.mark.parametrize("share", [True, False])
def test_frames_share_the_draws_of_a_transform(share, tmp_path):
    dataset = video_dataset(tmp_path, RESIZE, share)
    drawn = []
    for seed in range(5):
        np.random.seed(seed)
        first, second = (
            img.shape for img in dataset[sized_index_class((80, 120))(0)]["img"]
        )
        drawn.append((first, second))
    assert len(set(drawn)) > 1
    assert all(first == second for first, second in drawn) is share


def test_a_frame_without_objects_stays(tmp_path):
    dataset = video_dataset(tmp_path, dict(type="Resize", keep_ratio=True))
    results = dataset[sized_index_class((4, 6))(0)]  # a box of 0.6 pixels
    assert [img.shape[:2] for img in results["img"]] == [(4, 6), (4, 6)]
    assert [len(boxes) for boxes in results["gt_bboxes"]] == [0, 0]
    assert [len(ids) for ids in results["gt_instances_ids"]] == [0, 0]


def test_a_video_has_the_sides_of_its_first_frame(tmp_path):
    dataset = video_dataset(tmp_path, RESIZE)
    assert dataset.image_sizes().tolist() == [[40, 60], [60, 40]]
    assert landscape_flags(dataset).tolist() == [True, False]
    # Built before: the records are read one by one.
    assert landscape_flags(dataset.dataset).tolist() == [True, False]
