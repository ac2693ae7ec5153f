"""SGD at a total batch of 32, steps at 60 % and 84 % of 100 epochs, EMA.

From CVNets' mask_rcnn_coco/resnet_fpn.yaml: rate 0.1, a tenth of it for the backbone,
500 iterations of warm-up from 0.001, momentum 0.9, weight decay 4e-5 on neither biases
nor norms, EMA with momentum 5e-4. The rate does not follow the batch. Our own choice:
the EMA takes in the batch norms' statistics. CVNets trains in mixed precision: add
--amp for that.
"""

max_epochs = 100

# A parameter that one of the custom_keys names is exempt from the other settings, so
# that the norms and biases of the backbones are named too. The longest key counts.
backbone_norms = (
    *(".bn1", ".bn2", ".bn3", ".downsample.1"),  # ResNet
    *("backbone.conv1.bn", "backbone.conv2.bn", "backbone.layers.0.bn"),
    *(".expand_conv.bn", ".depthwise_conv.bn", ".linear_conv.bn"),
)
backbone_biases = (".se.conv1.conv.bias", ".se.conv2.conv.bias")  # EfficientNet
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="SGD", lr=0.1, momentum=0.9, weight_decay=4e-5),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        custom_keys={
            "backbone": dict(lr_mult=0.1),
            **{
                name: dict(lr_mult=0.1, decay_mult=0.0)
                for name in (
                    *[f"{norm}.weight" for norm in backbone_norms],
                    *[f"{norm}.bias" for norm in backbone_norms],
                    *backbone_biases,
                )
            },
        },
    ),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=500),
    dict(
        type="MultiStepLR",
        by_epoch=True,
        begin=0,
        end=max_epochs,
        milestones=[60, 84],
        gamma=0.1,
    ),
]
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=max_epochs, val_interval=1)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
auto_scale_lr = dict(enable=False, base_batch_size=32)

ema_hook = dict(type="EMAHook", momentum=5e-4, update_buffers=True)
custom_hooks = [ema_hook]
