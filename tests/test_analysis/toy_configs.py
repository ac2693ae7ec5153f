"""Configs of toy trainings, of several sizes and of one."""

import toys
from mmengine.config import ConfigDict


def training(num=101, hook=None, train_cfg=None, loader=None, **sampler):
    """A training of toy samples; ``sampler`` goes to the batch sampler."""
    # Serialized samples cost a garbage collection each time.
    dataset = dict(
        type="ToyDataset", num=num, pipeline=toys.PIPELINE, serialize_data=False
    )
    train_dataloader = toys.train_dataloader(dataset=dataset, **sampler)
    train_dataloader.update(loader or {})
    return ConfigDict(
        train_dataloader=train_dataloader,
        train_cfg=train_cfg or dict(by_epoch=True, max_epochs=5),
        custom_hooks=[hook] if hook else [],
        randomness=dict(seed=7),
    )


def plain(batch_size=4, pipeline=(), train_cfg=None, drop_last=False, **more):
    """A training of one size."""
    return ConfigDict(
        train_dataloader=dict(
            batch_size=batch_size,
            drop_last=drop_last,
            sampler=dict(type="DefaultSampler", shuffle=True),
            dataset=dict(type="ToyDataset", pipeline=list(pipeline)),
        ),
        train_cfg=train_cfg or dict(by_epoch=True, max_epochs=2),
        **more,
    )
