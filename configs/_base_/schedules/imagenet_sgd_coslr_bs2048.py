"""Nesterov SGD at a total batch of 2,048, cosine over 400 epochs, EMA: CoreNet's values.

From projects/range_augment/classification/efficientnet_b0.yaml: rate 0.8 to 4e-4 by
epoch, 3,000 iterations of warm-up from 0.1. The other values are those of CVNets.
"""

_base_ = "imagenet_sgd_coslr_600e.py"

max_epochs = 400
optim_wrapper = dict(optimizer=dict(lr=0.8, nesterov=True))
param_scheduler = _base_.param_scheduler
param_scheduler[0].update(start_factor=0.125, end=3000)
param_scheduler[1].update(T_max=max_epochs, end=max_epochs, eta_min=4e-4)
train_cfg = dict(max_epochs=max_epochs)
auto_scale_lr = dict(base_batch_size=2048)
