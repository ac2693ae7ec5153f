"""The dry run tries the largest batch that the images' ratios allow, by default."""

import numpy as np
import pytest
import torch
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, MODELS, TRANSFORMS
from torch import nn
from toys import ToyDataset

from mms_plugin.multi_scale.dry_run_plan import DryRunPoint, worst_batches

WIDE, TALL, SQUARE = (60, 120), (120, 60), (100, 100)
shapes_seen = []


@DATASETS.register_module()
class ImagesOfTwoShapes(ToyDataset):
    """Squares at all places that equal distances meet; one wide, one tall at 5 and 9.

    Image 7 has the most objects.
    """

    def load_data_list(self):
        sides = {5: WIDE, 9: TALL}
        return [
            dict(
                i=i,
                height=sides.get(i, SQUARE)[0],
                width=sides.get(i, SQUARE)[1],
                instances=[{}] * (9 if i == 7 else 1),
            )
            for i in range(self.num)
        ]


@TRANSFORMS.register_module()
class Blank:
    def __call__(self, results):
        shape = (results["height"], results["width"], 3)
        results["img"] = np.zeros(shape, np.float32)
        results["img_shape"] = shape[:2]
        return results


@TRANSFORMS.register_module()
class ToTensor3:
    def __call__(self, results):
        return dict(inputs=torch.from_numpy(results["img"]).permute(2, 0, 1))


@MODELS.register_module()
class PaddingNet(BaseModel):
    """Pads its images to one shape, as detectors do, and remembers the shapes."""

    def __init__(self, **kwargs):
        super().__init__(
            data_preprocessor=dict(type="ImgDataPreprocessor", pad_size_divisor=1)
        )
        self.conv = nn.Conv2d(3, 1, 1)

    def forward(self, inputs, data_samples=None, mode="loss"):
        shapes_seen.append(tuple(inputs.shape))
        return dict(loss=self.conv(inputs).mean())


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("images", [None, "spread"])
def test_the_padded_shape_of_the_first_trial(make_runner, grouped, images):
    pytest.importorskip("mmcv")
    del shapes_seen[:]
    hook = dict(type="DryRunHook", **({} if images is None else dict(images=images)))
    runner = make_runner(
        model=dict(type="PaddingNet"),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        custom_hooks=[hook],
        train_dataloader=dict(
            batch_size=3,
            num_workers=0,
            sampler=dict(type="DefaultSampler", shuffle=False),
            batch_sampler=dict(
                type="MultiScaleVariableBatchSampler",
                base_size=(50, 100),
                sizes=[(50, 100)],
                group_by_aspect_ratio=grouped,
            ),
            collate_fn=dict(type="pseudo_collate"),
            dataset=dict(
                type="MultiScaleDataset",
                dataset=dict(
                    type="ImagesOfTwoShapes",
                    num=12,
                    pipeline=[
                        dict(type="Blank"),
                        dict(
                            type="MultiScaleTransform",
                            transform=dict(type="mmcv.Resize", keep_ratio=True),
                        ),
                        dict(type="ToTensor3"),
                    ],
                ),
            ),
        ),
    )
    runner.train()
    # WIDE becomes 50 x 100, TALL 100 x 50, SQUARE 50 x 50.
    tried = shapes_seen[0][2:]
    assert tried == ((50, 50) if images else (50, 100) if grouped else (100, 100))
    if images is None:
        # What the training gives is never larger.
        later = [height * width for _, _, height, width in shapes_seen[2:]]
        assert max(later) <= tried[0] * tried[1]


SHAPES = np.array([SQUARE, WIDE, SQUARE, TALL, SQUARE, WIDE])
COUNTS = [1, 2, 9, 3, 4, 5]


def test_most_padding_first_then_most_objects():
    point = DryRunPoint((800, 1333), 4)
    # TALL and the WIDE one with more objects, then the images with the most.
    assert worst_batches(point, SHAPES, COUNTS) == [[3, 5, 2, 4]]
    assert worst_batches(point._replace(size=None), SHAPES, COUNTS)[0][:2] == [3, 5]


def test_a_batch_too_small_for_both_runs_twice():
    point = DryRunPoint((800, 1333), 2)
    assert worst_batches(point, SHAPES, COUNTS) == [[3, 5], [2, 5]]
    # One image: the largest within the bounds. A ratio of 2 has 667 x 1333, more than
    # a square's 800 x 800.
    single = worst_batches(point._replace(batch_size=1), SHAPES, COUNTS)
    assert single == [[5], [2]]
    assert worst_batches(point, SHAPES, [0] * 6) == [[3, 5]]


def test_the_pair_is_the_largest_of_all_pairs():
    rng = np.random.default_rng(0)
    for _ in range(20):
        shapes = rng.integers(20, 200, (12, 2))
        size = tuple(sorted(rng.integers(50, 300, 2).tolist()))

        def padded(batch, shapes=shapes, size=size):
            sides = []
            for index in batch:
                height, width = shapes[index].tolist()
                factor = min(
                    max(size) / max(height, width), min(size) / min(height, width)
                )
                sides.append((int(height * factor + 0.5), int(width * factor + 0.5)))
            return max(h for h, _ in sides) * max(w for _, w in sides)

        (batch,) = worst_batches(DryRunPoint(size, 2), shapes, [0] * 12)
        best = max(padded((i, j)) for i in range(12) for j in range(12))
        assert padded(batch) == best


def test_groups_never_mix():
    groups = np.array([False, True, False, False, False, True])
    point = DryRunPoint((800, 1333), 3)
    (batch,) = worst_batches(point, SHAPES, COUNTS, groups)
    assert len({bool(groups[i]) for i in batch}) == 1
    # TALL with SQUARE: 1333 x 800; the wide ones: 667 x 1333.
    assert batch[:2] == [3, 2]
