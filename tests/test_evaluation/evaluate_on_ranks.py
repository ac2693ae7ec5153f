"""Run by torchrun: evaluates given scores and writes what this rank has got."""

import json
import sys
from pathlib import Path

import torch
import toys  # noqa: F401
from mmengine.config import Config
from mmengine.dist import get_rank
from mmengine.model import BaseModel
from mmengine.registry import MODELS, TRANSFORMS
from mmengine.runner import Runner

import mms_plugin  # noqa: F401
from mms_plugin.cli import leave_process_group


@TRANSFORMS.register_module()
class Score:
    """Scores that differ from sample to sample, of three classes."""

    def __call__(self, results):
        index = results["i"]
        logits = torch.tensor([index % 5, index % 7, index % 3], dtype=torch.float32)
        return dict(pred_score=logits.softmax(0), gt_label=torch.tensor([index % 3]))


@MODELS.register_module()
class GiveScores(BaseModel):
    """Hands on the scores of the data, as a classifier's data samples."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, pred_score, gt_label, mode="predict"):
        return [
            dict(pred_score=score, gt_label=label)
            for score, label in zip(pred_score, gt_label)
        ]


def config(work_dir, **changes):
    return dict(
        model=dict(type="GiveScores"),
        work_dir=work_dir,
        test_dataloader=dict(
            batch_size=4,
            num_workers=0,
            sampler=dict(type="DefaultSampler", shuffle=False),
            collate_fn=dict(type="default_collate"),
            dataset=dict(type="ToyDataset", num=23, pipeline=[dict(type="Score")]),
        ),
        test_evaluator=dict(
            type="CalibrationError",
            num_bins=5,
            norm=["l1", "l2", "max"],
            binning="equal_mass",
        ),
        test_cfg=dict(),
        default_scope="mmengine",
        experiment_name=Path(work_dir).name + "-calibration",
        log_level="WARNING",
        **changes,
    )


def main(out):
    # Before the runner: MMEngine would ask for a GPU.
    torch.distributed.init_process_group("gloo")
    wrapper = dict(type="MMDistributedDataParallel", device_ids=None)
    runner = Runner.from_cfg(
        Config(config(out, model_wrapper_cfg=wrapper, launcher="pytorch"))
    )
    metrics = runner.test()
    (metric,) = runner.test_evaluator.metrics
    bins = metric.bins and [item.to_dict() for item in metric.bins]
    Path(out, f"rank{get_rank()}.json").write_text(
        json.dumps(dict(metrics=metrics, bins=bins))
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
    leave_process_group()
