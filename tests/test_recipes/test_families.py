"""Each family of models, converted: trained at several sizes, its pixels compared."""

import copy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import DATASETS, DefaultScope
from mmengine.utils import is_installed

from mms_plugin.multi_scale import sized_index_class
from mms_plugin.recipes import vbs_recipe

sys.path.insert(0, str(Path(__file__).parent))
import families
import made_data

pytestmark = pytest.mark.timeout(300)

# Named where a config has no sizes of its own, none above the base: batch norm needs
# two images.
SIZES = {"ViT": [32, 56], "Swin": [128, 224], "ConvNeXt": [64, 112]}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    pytest.importorskip("cv2")
    return made_data.write_images(tmp_path_factory.mktemp("made") / "data")


def small(family, root):
    library = families.FAMILIES[family][0].partition("::")[0]
    name = {"mmseg": "mmsegmentation"}.get(library, library)
    if not is_installed(name):
        pytest.skip(f"{name} is not installed")
    return families.small_config(family, root)


def converted(family, config, report=None):
    sizes = SIZES.get(family)
    if sizes is None and "RandomChoiceResize" not in repr(config.train_dataloader):
        once = vbs_recipe(config, check_model=False)
        height, width = two_sides(once.train_dataloader.batch_sampler.base_size)
        sizes = [(height // 2, width // 2), (height, width)]
    return vbs_recipe(config, sizes=sizes, report=report)


def two_sides(size):
    return (size, size) if isinstance(size, int) else tuple(size)


@pytest.mark.parametrize("family", families.FAMILIES)
def test_trains_at_several_sizes(family, root, tmp_path):
    lines = []
    after = converted(family, small(family, root), lines.append)
    assert any(line.startswith("model: ") and " runs from " in line for line in lines)
    runner, watch = families.trained(after, tmp_path)
    sampler = runner.train_dataloader.batch_sampler
    plan = sampler.plan_iterations(0, 10)
    assert runner.iter == 10 and np.isfinite(watch.losses).all()
    assert [images for _, images in watch.shapes] == [images for *_, images in plan]
    assert len({batch[:2] for batch in plan}) > 1
    assert len({shape for shape, _ in watch.shapes}) > 1
    for shape, (height, width, _) in zip((s for s, _ in watch.shapes), plan):
        # Padded to what the networks divide by, never beyond the size of the batch.
        longest = -(-max(height, width) // 32) * 32
        assert max(shape) <= longest


def at_base(dataset, base):
    """Let a dataset's transforms that draw among sizes give the base size."""
    if isinstance(dataset, dict):
        kind = str(dataset.get("type"))
        if kind == "RandomChoiceResize":
            dataset["scales"] = [base[::-1]]
        if kind == "RandomFlip":
            # What was drawn before differs by the draw of the size.
            dataset["prob"] = 1.0
        for value in dataset.values():
            at_base(value, base)
    elif isinstance(dataset, (list, tuple)):
        for value in dataset:
            at_base(value, base)


def choose(dataset, branch):
    """Let a dataset's random choices always take one of two branches."""
    if isinstance(dataset, dict):
        if dataset.get("type") == "RandomChoice":
            dataset["prob"] = [float(branch == 0), float(branch == 1)]
        for value in dataset.values():
            choose(value, branch)
    elif isinstance(dataset, (list, tuple)):
        for value in dataset:
            choose(value, branch)


def seeded(dataset, index):
    import random

    random.seed(3)
    np.random.seed(3)
    torch.manual_seed(3)
    return dataset[index]


@pytest.mark.parametrize("family", families.FAMILIES)
def test_the_same_pixels_and_boxes_at_the_base_size(family, root):
    config = small(family, root)
    after = converted(family, config)
    base = two_sides(after.train_dataloader.batch_sampler.base_size)
    original = copy.deepcopy(config.train_dataloader.dataset)
    new = copy.deepcopy(after.train_dataloader.dataset)
    at_base(original, base)
    at_base(new, base)
    branches = 2 if "RandomChoice'" in repr(original) else 1
    index = sized_index_class(base)
    for branch in range(branches):
        if branches > 1:
            choose(original, branch)
            choose(new, branch)
        with DefaultScope.overwrite_default_scope(config.default_scope):
            one = DATASETS.build(copy.deepcopy(original))
            other = DATASETS.build(copy.deepcopy(new))
        for number in range(2):
            expected = seeded(one, number)
            got = seeded(other, index(number))
            assert torch.equal(got["inputs"], expected["inputs"])
            assert got["inputs"].float().std() > 0
            compare(got["data_samples"], expected["data_samples"])


def boxes_of(instances):
    return getattr(instances.bboxes, "tensor", instances.bboxes)


def compare(got, expected):
    if "video_data_samples" in expected:
        assert len(got) == len(expected) == 2
        for frame, same in zip(got, expected):
            compare(frame, same)
        return
    instances = expected.get("gt_instances")
    if instances is not None:
        assert len(instances) > 0
        one, other = (boxes_of(s.gt_instances) for s in (got, expected))
        assert torch.equal(one, other)
        assert torch.equal(got.gt_instances.labels, instances.labels)
    if "gt_sem_seg" in expected:
        maps = "sem_seg" if "sem_seg" in expected.gt_sem_seg else "data"
        one, other = (getattr(s.gt_sem_seg, maps) for s in (got, expected))
        assert torch.equal(one, other) and len(one.unique()) > 1
    if "gt_label" in expected:
        assert torch.equal(got.gt_label, expected.gt_label)
