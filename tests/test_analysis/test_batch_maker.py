"""Made-up batches: what a real model gets, with as many positive RoIs as asked for."""

import pytest
import torch
from torch import nn

from mms_plugin.analysis import batch_maker, rois_per_image

pytest.importorskip("mmdet")
pytest.importorskip("mmpretrain")

from small_detectors import ROIS, small_detector


def classifier(**changes):
    from mmpretrain.models import ImageClassifier

    return ImageClassifier(
        backbone=dict(type="mmpretrain.ResNet", depth=18, stem_channels=8,
                      base_channels=8),
        neck=dict(type="mmpretrain.GlobalAveragePooling"),
        head=dict(type="mmpretrain.LinearClsHead", num_classes=5, in_channels=64),
        **changes,
    )  # fmt: skip


@pytest.fixture(scope="module")
def mask_rcnn():
    return small_detector("mask_rcnn").train()


def sampled(model, batch):
    """(positives, negatives) of each image that the model's sampler takes."""
    counts = []
    own = model.roi_head.bbox_sampler.sample

    def sample(*args, **kwargs):
        result = own(*args, **kwargs)
        counts.append((len(result.pos_inds), len(result.neg_inds)))
        return result

    model.roi_head.bbox_sampler.sample = sample
    try:
        model(**batch, mode="loss")
    finally:
        del model.roi_head.bbox_sampler.sample
    return counts


@pytest.mark.parametrize("positives", [0, 1, 7, None])
@pytest.mark.parametrize("size", [(96, 160), (256, 192)])
def test_positive_rois_are_as_many_as_asked_for(mask_rcnn, positives, size):
    batch = batch_maker(mask_rcnn, positives)(2, *size)
    expected = ROIS // 4 if positives is None else positives
    assert sampled(mask_rcnn, batch) == 2 * [(expected, ROIS - expected)]


def test_a_detectors_batch_is_padded(mask_rcnn):
    batch = batch_maker(mask_rcnn)(1, 100, 130)
    assert batch["inputs"].shape == (1, 3, 128, 160)
    (sample,) = batch["data_samples"]
    assert sample.img_shape == (100, 130)
    assert sample.batch_input_shape == (128, 160)
    boxes = sample.gt_instances.bboxes
    assert len(torch.unique(boxes, dim=0)) == ROIS // 4
    assert (boxes >= 0).all()
    assert (boxes[:, 2] <= 130).all() and (boxes[:, 3] <= 100).all()
    assert len(sample.gt_instances.masks) == len(boxes)


def test_a_panoptic_detector_gets_a_segment_map(mask_rcnn):
    (without,) = batch_maker(mask_rcnn)(1, 100, 130)["data_samples"]
    assert "gt_sem_seg" not in without
    mask_rcnn.with_semantic_head = True
    try:
        (sample,) = batch_maker(mask_rcnn)(1, 100, 130)["data_samples"]
    finally:
        del mask_rcnn.with_semantic_head
    assert sample.gt_sem_seg.sem_seg.shape == (1, 128, 160)


def test_batches_are_the_same_each_time(mask_rcnn):
    state = torch.get_rng_state()
    first, second = (batch_maker(mask_rcnn)(1, 64, 64) for _ in range(2))
    assert torch.equal(first["inputs"], second["inputs"])
    assert torch.equal(torch.get_rng_state(), state)


def test_rois_of_an_image(mask_rcnn):
    assert rois_per_image(mask_rcnn) == (64, 16)
    assert rois_per_image(mask_rcnn, 3) == (64, 3)
    assert rois_per_image(small_detector("retinanet")) is None


def test_a_classifiers_batch():
    batch = batch_maker(classifier())(3, 40, 24)
    assert batch["inputs"].shape == (3, 3, 40, 24)
    assert [s.gt_label.tolist() for s in batch["data_samples"]] == [[0]] * 3
    assert "gt_score" not in batch["data_samples"][0]


def test_mixed_labels_are_scores():
    model = classifier(
        data_preprocessor=dict(num_classes=5),
        train_cfg=dict(augments=dict(type="mmpretrain.Mixup", alpha=0.2)),
    )
    batch = batch_maker(model, device="meta")(2, 8, 8)
    assert batch["data_samples"][0].gt_score.shape == (5,)
    assert batch["inputs"].device.type == "meta"


@pytest.mark.parametrize(
    ("positives", "message"),
    [
        (17, "between 0 and 16"),
        (-1, "between 0 and 16"),
        (True, "must be an int"),
        (2.0, "must be an int"),
    ],
)
def test_positives_that_cannot_be(mask_rcnn, positives, message):
    with pytest.raises(ValueError, match=message):
        batch_maker(mask_rcnn, positives)


def test_positives_without_roi_heads():
    with pytest.raises(ValueError, match="RetinaNet with no RoI head"):
        batch_maker(small_detector("retinanet"), 3)
    with pytest.raises(ValueError, match="needs a detector"):
        batch_maker(classifier(), 3)


def test_positives_need_the_ground_truth_among_the_proposals(mask_rcnn):
    sampler = mask_rcnn.roi_head.bbox_sampler
    sampler.add_gt_as_proposals = False
    try:
        assert rois_per_image(mask_rcnn) == (64, 0)
        with pytest.raises(ValueError, match="add_gt_as_proposals"):
            batch_maker(mask_rcnn, 3)
    finally:
        sampler.add_gt_as_proposals = True


def test_models_of_other_libraries():
    with pytest.raises(ValueError, match="write make_batch"):
        batch_maker(nn.Linear(1, 1))
