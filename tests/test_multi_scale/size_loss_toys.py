"""A dataset whose samples lose objects at a small size."""

import numpy as np
from mmengine.registry import TRANSFORMS

SMALL, LARGE = (64, 64), (128, 128)


@TRANSFORMS.register_module()
class PlaceBoxes:
    """Boxes of a 256 px image: one of 3 px, and in odd samples one of 100 px."""

    def __call__(self, results):
        boxes = [[10, 10, 13, 13]] + [[50, 50, 150, 150]] * (results["i"] % 2)
        results["gt_bboxes"] = np.array(boxes, np.float32)
        results["img_path"] = f"/pictures/{results['i']}.png"
        results["img"] = np.zeros((256, 256, 3), np.float32)
        return results


@TRANSFORMS.register_module()
class ScaleBoxes:
    """As a Resize does."""

    def __init__(self, scale):
        self.scale = scale

    def __call__(self, results):
        width, height = self.scale
        results["gt_bboxes"] = results["gt_bboxes"] * np.float32(width / 256)
        results["img"] = np.zeros((height, width, 3), np.float32)
        return results


def config(keep_empty=False, indices=None, **kwargs):
    return dict(
        type="ToyDataset",
        num=20,
        indices=indices,
        filter_cfg=dict(filter_empty_gt=not keep_empty),
        pipeline=[
            dict(type="PlaceBoxes"),
            dict(type="MultiScaleTransform", transform=dict(type="ScaleBoxes")),
            dict(type="CollectToy"),
        ],
        **kwargs,
    )


LOADER = dict(
    batch_size=4,
    sampler=dict(type="DefaultSampler", shuffle=True),
    batch_sampler=dict(
        type="MultiScaleVariableBatchSampler", base_size=128, sizes=[64, 128]
    ),
    collate_fn=dict(type="default_collate"),
)
