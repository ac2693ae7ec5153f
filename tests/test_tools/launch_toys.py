"""What the launchers' tests train; imported by the config."""

import faulthandler
import json
from pathlib import Path

import torch
import toys  # noqa: F401
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import HOOKS, MODELS

# A rank that hangs says where, before its test gives up.
faulthandler.dump_traceback_later(200, exit=True)


@MODELS.register_module()
class IndexNet(BaseModel):
    """One weight, whose gradient depends on every sample and size."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.weight = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
        self.seen = []

    def forward(self, inputs, i, target_size=None, mode="loss"):
        self.seen.append([*inputs.shape[2:], i.tolist()])
        return dict(loss=((self.weight * inputs.shape[2] - i) ** 2).mean() / 1e4)


@HOOKS.register_module()
class RecordRank(Hook):
    def after_train(self, runner):
        model = runner.model.module
        record = dict(seen=model.seen, weight=model.weight.item())
        path = Path(runner.work_dir, f"rank{get_rank()}.json")
        path.write_text(json.dumps(record))
