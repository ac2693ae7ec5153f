"""MSc-VBS: sizes from 320 to 800, as many images as give 32 x 640 x 640 pixels.

Every transform of mmdet's two pipelines that has a size follows the batch's, as with
`--recipe vbs`.
"""

_base_ = [
    "rtmdet-s_fbs_8xb32-300e_coco.py",
    "../_base_/datasets/coco_rtmdet_multi-scale.py",
]

train_dataset = _base_.train_dataloader.dataset
train_pipeline = _base_.multi_scale_pipeline
train_pipeline_stage2 = _base_.multi_scale_pipeline_stage2
train_dataset.pipeline = train_pipeline
train_dataloader = dict(
    batch_sampler=dict(
        _delete_=True,
        type="MultiScaleVariableBatchSampler",
        base_size=640,
        sizes=dict(min=320, max=800, num=10, divisor=32),
    ),
    dataset=dict(_delete_=True, type="MultiScaleDataset", dataset=train_dataset),
)
custom_hooks = _base_.custom_hooks
custom_hooks[1].update(switch_pipeline=train_pipeline_stage2)
custom_hooks.append(dict(type="ResolutionCurriculumHook", schedule="constant"))
