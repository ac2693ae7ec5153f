"""The metric in MMEngine's evaluator, alone and over real ranks."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.registry import METRICS, DefaultScope
from mmengine.runner import Runner

from mms_plugin.evaluation import CalibrationError


def sample(scores, label, dtype=torch.float32):
    return dict(
        pred_score=torch.tensor(scores, dtype=dtype), gt_label=torch.tensor([label])
    )


def evaluate(samples, **kwargs):
    metric = CalibrationError(**kwargs)
    evaluator = Evaluator(metric)
    evaluator.process(samples[:2])
    if samples[2:]:
        evaluator.process(samples[2:])
    return evaluator.evaluate(len(samples)), metric


def test_by_hand():
    samples = [
        sample([0.7, 0.2, 0.1], 0),
        sample([0.1, 0.8, 0.1], 2),
        sample([0.25, 0.25, 0.5], 2),
    ]
    found, metric = evaluate(samples, num_bins=10, norm=["l1", "l2", "max"])
    assert found == {
        "calibration/ece": pytest.approx(100 * (0.3 + 0.8 + 0.5) / 3),
        "calibration/rmsce": pytest.approx(
            100 * math.sqrt((0.09 + 0.64 + 0.25) / 3), rel=1e-6
        ),
        "calibration/mce": pytest.approx(80),
        # (0.09 + 0.04 + 0.01), (0.01 + 0.64 + 0.81), (0.0625 * 2 + 0.25)
        "calibration/brier": pytest.approx(100 * (0.14 + 1.46 + 0.375) / 3),
        "calibration/nll": pytest.approx(
            -(math.log(0.7) + math.log(0.1) + math.log(0.5)) / 3
        ),
    }
    assert [item.count for item in metric.bins if item.count] == [1, 1, 1]


@pytest.mark.parametrize("norm, name", [("l1", "ece"), ("l2", "rmsce"), ("max", "mce")])
def test_the_norm_gives_the_name(norm, name):
    found, _ = evaluate([sample([0.75, 0.25], 1)], norm=norm)
    assert found[f"calibration/{name}"] == pytest.approx(75)
    assert set(found) == {f"calibration/{name}", "calibration/brier", "calibration/nll"}


def test_nll_and_brier_are_torchs():
    scores = torch.randn(200, 7, generator=torch.Generator().manual_seed(0)).softmax(1)
    labels = torch.arange(200) % 7
    found, _ = evaluate([sample(s.tolist(), int(y)) for s, y in zip(scores, labels)])
    nll = torch.nn.functional.nll_loss(scores.log(), labels).item()
    assert found["calibration/nll"] == pytest.approx(nll, rel=1e-5)
    onehot = torch.nn.functional.one_hot(labels, 7)
    brier = torch.nn.functional.mse_loss(scores, onehot.float()).item() * 7
    assert found["calibration/brier"] == pytest.approx(100 * brier, rel=1e-5)


def test_scores_of_zero_and_one():
    found, _ = evaluate([sample([1.0, 0.0], 1), sample([1.0, 0.0], 0)])
    assert found["calibration/ece"] == pytest.approx(50)
    assert found["calibration/brier"] == pytest.approx(100)
    # The smallest normal float32 stands in for 0.
    assert found["calibration/nll"] == pytest.approx(-math.log(2.0**-126) / 2)


def test_one_class():
    found, _ = evaluate([sample([1.0], 0)] * 3)
    assert set(found.values()) == {0.0}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    generator = torch.Generator().manual_seed(1)
    scores = (3 * torch.randn(64, 1000, generator=generator)).softmax(1)
    coarse = scores.to(dtype)
    half, _ = evaluate([sample(s.tolist(), i, dtype) for i, s in enumerate(coarse)])
    # The same values in float32: nothing more is lost on the way.
    same, _ = evaluate([sample(s.tolist(), i) for i, s in enumerate(coarse)])
    assert half == same
    full, _ = evaluate([sample(s.tolist(), i) for i, s in enumerate(scores)])
    assert half["calibration/brier"] == pytest.approx(
        full["calibration/brier"], rel=0.01
    )


def test_arrays_and_mmpretrains_samples():
    structures = pytest.importorskip("mmpretrain.structures")
    item = structures.DataSample().set_gt_label(1).set_pred_score([0.4, 0.6])
    found, _ = evaluate([item, dict(pred_score=np.array([0.4, 0.6]), gt_label=1)])
    assert found["calibration/ece"] == pytest.approx(40)


@pytest.mark.parametrize(
    "item, text",
    [
        (dict(pred_label=torch.tensor([1]), gt_label=torch.tensor([1])), "pred_score"),
        (dict(pred_score=torch.tensor([0.5, 0.5])), "gt_label"),
        (
            dict(pred_score=torch.tensor([0.5, 0.5]), gt_label=torch.tensor([0, 1])),
            "multi-label",
        ),
        (sample([0.9, 0.8], 0), "sums to 1.7"),  # sigmoids
        (sample([0.3], 0), "sums to 0.3"),
        (sample([-2.0, 3.0], 0), "between -2 and 3"),  # logits
        (sample([float("nan"), 0.5], 0), "finite"),
        (sample([0.5, 0.5], 2), "from 0 to 1"),
        (sample([0.5, 0.5], -1), "from 0 to 1"),
        (sample([[0.5, 0.5]], 0), r"\(1, 2\)"),
        (dict(pred_instances=dict()), "pred_score"),  # a detector's
    ],
)
def test_bad_samples(item, text):
    with pytest.raises(ValueError, match=f"CalibrationError.*{text}"):
        CalibrationError().process(None, [item])


def test_bad_samples_of_mmpretrain():
    structures = pytest.importorskip("mmpretrain.structures")
    item = structures.DataSample().set_gt_label(1)
    with pytest.raises(ValueError, match=r"pred_score.*only \['gt_label'\]"):
        CalibrationError().process(None, [item])


@pytest.mark.parametrize("binning", ["adaptive", "equal-mass", "equal_mass"])
def test_spellings_of_adaptive_bins(binning):
    # One equal-width bin would hold all three.
    right = [sample([0.8, 0.2], 0), sample([0.81, 0.19], 0)]
    samples = [*right, sample([0.84, 0.16], 1)]
    found, metric = evaluate(samples, num_bins=np.int64(3), norm="max", binning=binning)
    assert [item.count for item in metric.bins] == [1, 1, 1]
    assert found["calibration/mce"] == pytest.approx(84)


@pytest.mark.parametrize(
    "arguments, text",
    [
        (dict(num_bins=0), "num_bins must .*got 0"),
        (dict(num_bins=True), "num_bins must .*got True"),
        (dict(num_bins=1.5), "num_bins must .*got 1.5"),
        (dict(norm="l3"), "norm must .*got 'l3'"),
        (dict(norm=[]), "norm must .*got "),
        (dict(norm=None), "norm must .*got None"),
        (dict(binning="width"), "binning must .*got 'width'"),
        (dict(binning=None), "binning must .*got None"),
    ],
)
def test_bad_arguments(arguments, text):
    with pytest.raises(ValueError, match=text):
        CalibrationError(**arguments)


def test_no_samples():
    with pytest.raises(ValueError, match="no samples"):
        CalibrationError().compute_metrics([])


def test_is_found_from_a_librarys_scope():
    pytest.importorskip("mmpretrain")
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        metric = METRICS.build(dict(type="CalibrationError", num_bins=3))
    assert type(metric) is CalibrationError


@pytest.mark.distributed
def test_two_ranks_give_what_one_gives(tmp_path):
    """23 samples: the sampler pads, and the padding is dropped again."""
    import evaluate_on_ranks

    here = Path(__file__).parent
    paths = [str(here.parents[1]), str(here.parent), str(here)]
    environment = dict(os.environ, OMP_NUM_THREADS="1")
    environment["PYTHONPATH"] = os.pathsep.join(
        [*paths, environment.get("PYTHONPATH", "")]
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node=2", str(here / "evaluate_on_ranks.py")]
    # MMEngine gathers the results in a folder of the current one.
    subprocess.run(
        [*command, str(tmp_path)],
        check=True,
        cwd=tmp_path,
        env=environment,
        timeout=240,
    )
    ranks = [json.loads((tmp_path / f"rank{r}.json").read_text()) for r in (0, 1)]
    assert ranks[0]["metrics"] == ranks[1]["metrics"]
    assert sum(item["count"] for item in ranks[0]["bins"]) == 23
    assert ranks[1]["bins"] is None
    runner = Runner.from_cfg(Config(evaluate_on_ranks.config(str(tmp_path / "one"))))
    assert runner.test() == pytest.approx(ranks[0]["metrics"])
