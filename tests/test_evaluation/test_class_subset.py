import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.registry import METRICS, DefaultScope

from mms_plugin.evaluation.class_subset import ClassSubset, restrict_sample


def test_scores_are_the_softmax_of_the_chosen_logits():
    logits = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    chosen = [3, 7, 500, 999]
    sample = dict(
        pred_score=logits.softmax(0), gt_label=torch.tensor([500]), img_path="x"
    )
    found = restrict_sample(sample, chosen)
    torch.testing.assert_close(found["pred_score"], logits[chosen].softmax(0))
    assert found["gt_label"].tolist() == [2] and found["img_path"] == "x"
    assert found["pred_label"].tolist() == [int(logits[chosen].argmax())]
    assert len(sample["pred_score"]) == 1000


def test_scores_that_are_all_zero():
    sample = dict(pred_score=torch.tensor([1.0, 0, 0]), gt_label=torch.tensor([1]))
    assert restrict_sample(sample, [1, 2])["pred_score"].tolist() == [0.5, 0.5]


@pytest.mark.parametrize(
    "sample, text",
    [
        (dict(gt_label=torch.tensor([1])), "pred_score"),
        (dict(pred_score=torch.ones(3) / 3), "gt_label"),
        (dict(pred_score=torch.ones(3) / 3, gt_label=torch.tensor([0])), "gt_label 0"),
        (dict(pred_score=torch.ones(2) / 2, gt_label=torch.tensor([1])), "more than 2"),
    ],
)
def test_bad_samples(sample, text):
    with pytest.raises(ValueError, match=text):
        restrict_sample(sample, [1, 2])


def test_accuracy_among_the_classes_of_the_data_set():
    """The best score is that of a class that does not occur: no mistake here."""
    pytest.importorskip("mmpretrain")
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        import mmpretrain.evaluation  # noqa: F401

        metric = METRICS.build(
            dict(type="ClassSubset", metric=dict(type="Accuracy", topk=(1,)))
        )
        calibration = METRICS.build(
            dict(type="ClassSubset", metric=dict(type="CalibrationError"))
        )
    samples = [
        dict(pred_score=torch.tensor([0.6, 0.3, 0.1]), gt_label=torch.tensor([1])),
        dict(pred_score=torch.tensor([0.6, 0.1, 0.3]), gt_label=torch.tensor([1])),
    ]
    evaluator = Evaluator([metric, calibration])
    evaluator.dataset_meta = dict(class_indices=(1, 2))
    for _ in range(2):  # nothing is left over from the first
        evaluator.process(samples)
        found = evaluator.evaluate(2)
        assert found["accuracy/top1"] == 50
        # Confidence 0.75 twice, half of them right.
        assert found["calibration/ece"] == pytest.approx(25)


def test_without_class_indices():
    metric = ClassSubset(dict(type="CalibrationError"))
    with pytest.raises(ValueError, match="class_indices"):
        metric.process(None, [])
