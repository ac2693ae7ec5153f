"""SSc-FBS: mmdet's 1x config with 4 images a GPU, within 1333 x 800. The baseline.

Neither paper has a recipe. mmdet's rate is for 16 images, doubled here for 32 by its
linear rule.
"""

_base_ = [
    "mmdet::retinanet/retinanet_r50_fpn_1x_coco.py",
    "../_base_/default_runtime_det.py",
]

train_dataloader = dict(batch_size=4, num_workers=4)
optim_wrapper = dict(optimizer=dict(lr=0.02))
auto_scale_lr = dict(enable=False, base_batch_size=32)
