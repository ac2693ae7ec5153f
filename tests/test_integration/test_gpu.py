"""Float16 AMP, NCCL, memory by input size: what only a GPU shows."""

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.model import BaseModel
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS
from torch import nn
from toys import train_dataloader

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

ROOT = Path(__file__).resolve().parents[2]
CURRICULUM = dict(type="ResolutionCurriculumHook", start_sizes=[4, 6])
MODULES = ["backbone", "neck", "head"]
AGVM = dict(modules=MODULES, interval=1, start_iter=0, momentum=0.5)


@MODELS.register_module()
class GpuToyNet(BaseModel):
    """A small convolutional net in three modules."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.backbone = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Tanh())
        self.neck = nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(8, 3)

    def forward(self, inputs, i=None, target_size=None, mode="loss"):
        pooled = self.neck(self.backbone(inputs)).tanh().mean((2, 3))
        target = inputs.float().mean((2, 3))
        return dict(loss=(self.head(pooled).float() - target).pow(2).mean())


@MODELS.register_module()
class HungryModel(GpuToyNet):
    """Asks for more memory than any GPU has where images are larger than 10 px."""

    def forward(self, inputs, **kwargs):
        if inputs.shape[-1] > 10:
            torch.empty(1 << 44, device=inputs.device)
        return super().forward(inputs, **kwargs)


def make_net():
    torch.manual_seed(0)
    return GpuToyNet().cuda()


def batches(number):
    generator = torch.Generator().manual_seed(0)
    return [
        (torch.randn(8, 3, 12, 12, generator=generator) + 0.3).cuda()
        for _ in range(number)
    ]


def train(model, images, **wrapper):
    wrapper = build_optim_wrapper(
        model,
        dict(
            constructor="AGVMOptimWrapperConstructor",
            optimizer=dict(type="SGD", lr=0.1, momentum=0.9),
            agvm=AGVM,
            **wrapper,
        ),
    )
    wrapper.initialize_count_status(model, 0, len(images))
    for batch in images:
        with wrapper.optim_context(model):
            losses = model(batch)
        wrapper.update_params(model.parse_losses(losses)[0])
    return wrapper


def test_float16_measures_what_float32_does():
    """The loss scale, 2**16 at first, drops out of the variances."""
    images = batches(8)
    plain = train(make_net(), images, type="AGVMOptimWrapper")
    half = train(make_net(), images, type="AmpAGVMOptimWrapper")
    assert half.loss_scaler.get_scale() > 1
    assert half.agvm.num_measured == plain.agvm.num_measured >= 7
    assert half.agvm.variances == pytest.approx(plain.agvm.variances, rel=0.1)
    assert half.agvm.multipliers == pytest.approx(plain.agvm.multipliers, rel=0.05)


def test_an_overflow_drops_the_iteration_and_its_measurement():
    """A scale that float16 cannot hold is halved until it can."""
    model = make_net()
    before = [p.detach().clone() for p in model.parameters()]
    images = batches(1)
    wrapper = train(
        model, images, type="AmpAGVMOptimWrapper", loss_scale=dict(init_scale=2.0**60)
    )
    assert wrapper.loss_scaler.get_scale() == 2.0**59
    assert wrapper.agvm.num_measured == 0
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters()))


def test_mixed_precision_resumes_exactly(make_runner, tmp_path):
    options = dict(
        model=dict(type="GpuToyNet"),
        custom_hooks=[CURRICULUM],
        randomness=dict(seed=3, deterministic=True),
        optim_wrapper=dict(
            type="AmpAGVMOptimWrapper",
            constructor="AGVMOptimWrapperConstructor",
            optimizer=dict(type="AdamW", lr=0.01),
            agvm=AGVM,
        ),
        default_hooks=dict(checkpoint=dict(type="CheckpointHook", interval=1)),
    )
    whole = make_runner(**options)
    whole.train()
    resumed = make_runner(
        **options,
        work_dir=str(tmp_path / "resumed"),
        load_from=f"{whole.work_dir}/epoch_2.pth",
        resume=True,
    )
    resumed.train()
    assert resumed.iter == whole.iter and next(resumed.model.parameters()).is_cuda
    ours, theirs = (r.model.state_dict() for r in (resumed, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    agvm = whole.optim_wrapper.agvm
    assert resumed.optim_wrapper.agvm.multipliers == agvm.multipliers
    assert agvm.num_measured > 10
    assert (
        resumed.optim_wrapper.loss_scaler.state_dict()
        == whole.optim_wrapper.loss_scaler.state_dict()
    )


def test_the_dry_run_meets_the_real_end_of_the_memory(make_runner):
    runner = make_runner(
        model=dict(type="HungryModel"), custom_hooks=[dict(type="DryRunHook")]
    )
    with pytest.raises(ValueError) as caught:
        runner.train()
    text = str(caught.value)
    assert "1 image of 12x12 does not fit into the memory of cuda:0" in text
    assert "lower train_dataloader.batch_size=4" in text


def test_the_pixel_rule_levels_memory():
    """One budget of pixels: the peak of every size is near that of the base size."""
    pytest.importorskip("mmpretrain")
    from mmengine.optim import OptimWrapper
    from mmpretrain.models import ResNet

    torch.manual_seed(0)
    model = ResNet(depth=18, norm_cfg=dict(type="BN")).cuda()
    model.train()
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    peaks = {}
    for side in (128, 160, 192, 224, 256, 288, 320):
        images = 64 * 224 * 224 // (side * side)
        for _ in range(2):
            torch.cuda.reset_peak_memory_stats()
            inputs = torch.randn(images, 3, side, side, device="cuda")
            wrapper.update_params(model(inputs)[-1].float().pow(2).mean())
        peaks[side] = torch.cuda.max_memory_allocated()
    ratios = np.array(list(peaks.values())) / peaks[224]
    assert ratios.max() < 1.1 and ratios.min() > 0.85, peaks


def test_one_rank_over_nccl(tmp_path):
    """``tools/dist_train.sh`` with both recipes in float16, from one file."""
    config = tmp_path / "toy.py"
    config.write_text(
        f"""
import sys
sys.path.insert(0, {str(ROOT / "tests")!r})
custom_imports = dict(imports=['mms_plugin', 'toys', 'test_integration.test_gpu'])
default_scope = 'mmengine'
model = dict(type='GpuToyNet')
train_dataloader = {train_dataloader(40)!r}
train_cfg = dict(by_epoch=True, max_epochs=2)
optim_wrapper = dict(
    type='AGVMOptimWrapper', constructor='AGVMOptimWrapperConstructor',
    optimizer=dict(type='SGD', lr=0.01), agvm={AGVM!r})
custom_hooks = [{CURRICULUM!r}, dict(type='DryRunHook')]
env_cfg = dict(dist_cfg=dict(backend='nccl'))
randomness = dict(seed=0)
"""
    )
    done = subprocess.run(
        [
            "bash",
            str(ROOT / "tools" / "dist_train.sh"),
            str(config),
            "1",
            "--amp",
            "--work-dir",
            str(tmp_path / "w"),
        ],
        capture_output=True,
        text=True,
        timeout=240,
        env={
            **os.environ,
            "PYTHON": sys.executable,
            "PYTHONPATH": os.pathsep.join(
                [str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]
            ),
        },
    )
    assert done.returncode == 0, done.stderr[-3000:]
    log = "".join(p.read_text() for p in (tmp_path / "w").glob("*/*.log"))
    assert "Distributed launcher: pytorch" in log and "Dry run 1/" in log
    saved = torch.load(tmp_path / "w" / "epoch_2.pth", weights_only=True)
    agvm = saved["optimizer"]["agvm"]
    assert agvm["num_measured"] > 3
    assert all(math.isfinite(value) for value in agvm["multipliers"].values())
