"""SGD at a total batch of 1,024, cosine over 600 epochs, EMA: CoreNet's values.

From projects/range_augment/classification/resnet_50.yaml: rate 0.5 to 2e-4 by epoch,
5,000 iterations of warm-up from 0.05. The other values are those of CVNets.
"""

_base_ = "imagenet_sgd_coslr_600e.py"

optim_wrapper = dict(optimizer=dict(lr=0.5))
param_scheduler = _base_.param_scheduler
param_scheduler[0].update(start_factor=0.1, end=5000)
