"""SGD at a total batch of 1,024, cosine over 600 epochs, EMA.

From CVNets' resnet_adv.yaml: rate 0.4 to 2e-4 by epoch, 7,500 iterations of warm-up
from 0.05, momentum 0.9, weight decay 4e-5 on neither biases nor norms, EMA with
momentum 5e-4. The rate does not follow the batch. Our own choice: the EMA takes in
the batch norms' statistics. CVNets trains in mixed precision: add --amp for that.
"""

max_epochs = 600

optim_wrapper = dict(
    optimizer=dict(type="SGD", lr=0.4, momentum=0.9, weight_decay=4e-5),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.125, by_epoch=False, begin=0, end=7500),
    dict(
        type="CosineAnnealingLR",
        T_max=max_epochs,
        eta_min=2e-4,
        by_epoch=True,
        begin=0,
        end=max_epochs,
    ),
]
train_cfg = dict(by_epoch=True, max_epochs=max_epochs, val_interval=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=1024)

ema_hook = dict(type="EMAHook", momentum=5e-4, update_buffers=True)
custom_hooks = [ema_hook]
