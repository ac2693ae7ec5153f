"""MSc-VBS: sizes from 256 to 640, as many crops as give 4 x 512 x 512 pixels.

50,000 iterations show as many crops as 80,000 at one size. The published DeepLabV3 has
one size: ours are half to 5/4 of it, as with `--recipe vbs`.
"""

_base_ = "deeplabv3-r50_fbs_4xb4-80k_ade20k.py"

max_iters = 50000
train_dataset = _base_.train_dataloader.dataset
train_pipeline = train_dataset.pipeline
train_pipeline[2] = dict(
    type="MultiScaleTransform",
    transform=dict(type="RandomResize", ratio_range=(0.5, 2.0), keep_ratio=True),
    size_ratio=[1.0, 4.0],
)
train_pipeline[3] = dict(
    type="MultiScaleTransform", transform=dict(type="RandomCrop", cat_max_ratio=0.75)
)
train_dataloader = dict(
    batch_sampler=dict(
        type="MultiScaleVariableBatchSampler",
        base_size=512,
        sizes=dict(min=256, max=640, num=10, divisor=32),
    ),
    dataset=dict(_delete_=True, type="MultiScaleDataset", dataset=train_dataset),
)
model = dict(
    data_preprocessor=dict(
        _delete_=True,
        type="MultiScaleDataPreprocessor",
        preprocessor=_base_.model.data_preprocessor,
    )
)
# Else cuDNN searches anew with each size.
env_cfg = dict(cudnn_benchmark=False)
custom_hooks = [dict(type="ResolutionCurriculumHook", schedule="constant")]
param_scheduler = _base_.param_scheduler
param_scheduler[0].update(end=max_iters)
train_cfg = dict(max_iters=max_iters, val_interval=5000)
default_hooks = dict(checkpoint=dict(interval=5000))
