"""The metric of calibration for MMEngine's evaluators."""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Union

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS

from ..utils.validation import parse_int
from .calibration import BINNINGS, NORMS, Bin, calibration_error, make_bins

__all__ = ["CalibrationError"]

#: What the error under each norm is called in the literature.
NAMES = {"l1": "ece", "l2": "rmsce", "max": "mce"}
#: Other spellings of a binning, after hyphens became underscores.
ALIASES = {"adaptive": "equal_mass"}
#: Smallest normal float32; lower probabilities count as this.
SMALLEST = float(np.finfo(np.float32).tiny)
#: How far from 1 the sum of probabilities may be: float16 and bfloat16 are coarse.
SUM_TOLERANCE = 0.02


class Scored(NamedTuple):
    """The numbers of a sample that the metrics need."""

    confidence: float
    correct: bool
    nll: float
    brier: float


def score_sample(sample: Dict[str, Any]) -> Scored:
    """Return score and correctness of one sample of a classifier.

    Args:
        sample: ``pred_score``, ``(num_classes,)`` probabilities, and ``gt_label``,
            one class, as mmpretrain gives them.

    Raises:
        ValueError: One of the two is missing; the scores are no probabilities, or
            the sample has not exactly one class.
    """
    scores, label = sample.get("pred_score"), sample.get("gt_label")
    if scores is None:
        raise ValueError(
            "CalibrationError needs pred_score, the probabilities of all classes, but "
            f"a data sample has only {sorted(sample.keys())}"
        )
    if label is None:
        raise ValueError(
            "CalibrationError needs gt_label, the class of the sample, but a data "
            f"sample has only {sorted(sample.keys())}; multi-label samples have no "
            "calibration error of this kind"
        )
    # Half precision would lose digits in the sums.
    probabilities = torch.as_tensor(scores).detach().cpu().double().numpy()
    labels = torch.as_tensor(label).detach().cpu().reshape(-1).tolist()
    if len(labels) != 1:
        raise ValueError(
            "CalibrationError is defined for one class a sample, but gt_label is "
            f"{labels}: multi-label classification"
        )
    if probabilities.ndim != 1 or not len(probabilities):
        raise ValueError(
            "CalibrationError needs pred_score of the shape (num_classes,), but it has "
            f"{probabilities.shape}"
        )
    total = probabilities.sum()
    if not np.isfinite(total):
        raise ValueError(
            f"CalibrationError needs a finite pred_score, but it sums to {total}"
        )
    least, most = probabilities.min(), probabilities.max()
    if (
        least < -1e-6
        or most > 1 + SUM_TOLERANCE
        or abs(total - 1) > SUM_TOLERANCE  # sigmoids and logits
    ):
        raise ValueError(
            "CalibrationError needs probabilities that sum to 1, but pred_score lies "
            f"between {least:.4g} and {most:.4g} and sums to {total:.4g}: calibration "
            "is defined for a softmax over classes, not for logits or sigmoids"
        )
    target = int(labels[0])
    if not 0 <= target < len(probabilities):
        raise ValueError(
            "CalibrationError needs gt_label to be a class from 0 to "
            f"{len(probabilities) - 1}, but it is {target}"
        )
    wanted = probabilities[target]
    return Scored(
        confidence=float(np.clip(most, 0, 1)),
        correct=bool(probabilities.argmax() == target),
        nll=float(-np.log(max(wanted, SMALLEST))),
        brier=float((probabilities**2).sum() - wanted**2 + (1 - wanted) ** 2),
    )


@METRICS.register_module()
class CalibrationError(BaseMetric):
    """Calibration error, negative log-likelihood and Brier score of a classifier.

    Reads ``pred_score`` and ``gt_label`` of mmpretrain's data samples, and gives

    - ``calibration/ece`` (``norm='l1'``), ``calibration/rmsce`` (``'l2'``) or
      ``calibration/mce`` (``'max'``), in percent;
    - ``calibration/brier``: ``100 * mean(sum over classes of (p - y)^2)``, in
      percent, 0 to 200;
    - ``calibration/nll``: ``mean(-ln p)`` of the right class, in nats; a probability
      below 1.2e-38 counts as that much (87.3 nats).

    Args:
        num_bins: Number of bins of confidence. Defaults to 15.
        norm: ``'l1'``, ``'l2'`` or ``'max'``, or several of them. Defaults to ``'l1'``.
        binning: ``'equal_width'``, or ``'equal_mass'``, also written
            ``'adaptive'``, for bins of equally many samples. Defaults to
            ``'equal_width'``.
        collect_device: See :class:`mmengine.evaluator.BaseMetric`. Defaults to 'cpu'.
        prefix: Before the names. Defaults to ``'calibration'``.
        collect_dir: See :class:`mmengine.evaluator.BaseMetric`. Defaults to None.

    Attributes:
        bins: After an evaluation, the contents of the bins, for a reliability
            diagram; on the main process only, None on others.

    Raises:
        ValueError: An argument out of its range; samples without scores, with more
            than one class, or with scores that are no probabilities.

    Sources: Guo et al., ICML 2017 (ECE, MCE); Kumar et al., NeurIPS 2019 (RMSCE);
    Nguyen and O'Connor, EMNLP 2015 (adaptive bins); Brier, 1950.
    """

    default_prefix = "calibration"

    def __init__(
        self,
        num_bins: int = 15,
        norm: Union[str, Sequence[str]] = "l1",
        binning: str = "equal_width",
        collect_device: str = "cpu",
        prefix: Optional[str] = None,
        collect_dir: Optional[str] = None,
    ) -> None:
        super().__init__(collect_device, prefix, collect_dir)
        num_bins = parse_int(num_bins, "num_bins")
        norms = tuple(norm) if isinstance(norm, (list, tuple)) else (norm,)
        if not norms or any(item not in NORMS for item in norms):
            raise ValueError(
                f"norm must be one or several of {list(NORMS)}, but got {norm!r}"
            )
        spelled = str(binning).replace("-", "_")
        spelled = ALIASES.get(spelled, spelled)
        if spelled not in BINNINGS:
            raise ValueError(
                f"binning must be one of {[*BINNINGS, *ALIASES]}, but got {binning!r}"
            )
        self.num_bins = num_bins
        self.norms = norms
        self.binning = spelled
        self.bins: Optional[List[Bin]] = None

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep four numbers of each sample."""
        self.results.extend(score_sample(sample) for sample in data_samples)

    def compute_metrics(self, results: List[Scored]) -> Dict[str, float]:
        """Return the metrics over the samples of all ranks; fills :attr:`bins`."""
        if not results:
            raise ValueError("CalibrationError was given no samples")
        confidences, correct, nlls, briers = zip(*results)
        self.bins = make_bins(confidences, correct, self.num_bins, self.binning)
        metrics = {
            NAMES[norm]: 100 * calibration_error(self.bins, norm) for norm in self.norms
        }
        metrics["brier"] = 100 * float(np.mean(briers))
        metrics["nll"] = float(np.mean(nlls))
        return metrics
