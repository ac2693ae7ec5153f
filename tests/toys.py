"""Small data sets, transforms and models that tests share.

In a module of their own, so that worker processes started afresh can import them.
"""

from __future__ import annotations

import numpy as np
import torch
from mmengine.dataset import BaseDataset
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, METRICS, MODELS, TRANSFORMS


@DATASETS.register_module()
class ToyDataset(BaseDataset):
    """``num`` samples ``dict(i=..., label=...)``."""

    METAINFO = dict(classes=("a", "b", "c"))

    def __init__(self, num=100, **kwargs):
        self.num = num
        super().__init__(**kwargs)

    def load_data_list(self):
        return [dict(i=i, label=i % 3) for i in range(self.num)]

    def get_cat_ids(self, idx):
        return [self.get_data_info(idx)["label"]]


@TRANSFORMS.register_module()
class MakeImage:
    """An image of ones at a scale of ``(width, height)``, as a user's own transform."""

    def __init__(self, scale):
        self.scale = scale

    def __call__(self, results):
        width, height = self.scale
        results["img"] = np.ones((height, width, 3), np.float32)
        return results


@TRANSFORMS.register_module()
class LoseOnce:
    """Gives ``None`` for every odd sample: MMEngine fetches another one."""

    def __call__(self, results):
        return None if results["i"] % 2 else results


@TRANSFORMS.register_module()
class CollectToy:
    """The image as a tensor, the index, the size that the pipeline was told."""

    def __call__(self, results):
        return dict(
            inputs=torch.from_numpy(results["img"]).permute(2, 0, 1),
            i=torch.tensor(results["i"]),
            target_size=torch.tensor(results["target_size"]),
        )


@TRANSFORMS.register_module()
class CollectWithoutSize:
    """The same of a pipeline at a fixed size."""

    def __call__(self, results):
        image = torch.from_numpy(results["img"]).permute(2, 0, 1)
        return dict(inputs=image, i=torch.tensor(results["i"]))


@MODELS.register_module()
class ToyModel(BaseModel):
    """One weight; remembers the shapes, the samples and the rates it has seen."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.shapes, self.samples = [], []

    def forward(self, inputs, i, target_size=None, mode="loss"):
        self.shapes.append(tuple(inputs.shape))
        self.samples.append(i.tolist())
        return dict(loss=((self.weight * inputs.mean() - 1) ** 2).sum())


@MODELS.register_module()
class ToyNormModel(ToyModel):
    """Batch norm of images times their index; lists what it gets in each mode."""

    def __init__(self, momentum=0.1, **kwargs):
        super().__init__(**kwargs)
        self.norm = torch.nn.BatchNorm2d(3, momentum=momentum)
        self.drop = torch.nn.Dropout(0.5)
        self.without_gradients = []

    def forward(self, inputs, i, target_size=None, mode="loss"):
        if mode != "loss":
            return i
        if not torch.is_grad_enabled():
            self.without_gradients.append((tuple(inputs.shape), i.tolist()))
        normed = self.drop(self.norm(inputs * i.reshape(-1, 1, 1, 1)))
        return dict(loss=((self.weight * normed - 1) ** 2).mean())


@MODELS.register_module()
class ToyTester(BaseModel):
    """Gives back what it is given."""

    def forward(self, mode="predict", **inputs):
        return inputs["i"]


@METRICS.register_module()
class CountSamples(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results += list(data_samples)

    def compute_metrics(self, results):
        return dict(count=len(results))


PIPELINE = [
    dict(type="MultiScaleTransform", transform=dict(type="MakeImage")),
    dict(type="CollectToy"),
]


def train_dataloader(num=100, batch_size=4, dataset=None, **kwargs):
    """A config of a multi-scale training dataloader; ``kwargs`` go to the sampler."""
    loader = dict(
        batch_size=batch_size,
        num_workers=kwargs.pop("num_workers", 0),
        persistent_workers=kwargs.pop("persistent_workers", False),
        sampler=kwargs.pop("sampler", dict(type="DefaultSampler", shuffle=True)),
        batch_sampler=dict(
            type="MultiScaleVariableBatchSampler",
            **{"base_size": 8, "sizes": [4, 6, 8, 10, 12], **kwargs},
        ),
        collate_fn=dict(type="default_collate"),
        dataset=dict(
            type="MultiScaleDataset",
            dataset=dataset or dict(type="ToyDataset", num=num, pipeline=PIPELINE),
        ),
    )
    return loader
