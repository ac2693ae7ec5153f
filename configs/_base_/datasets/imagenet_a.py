"""ImageNet-A: photographs of 200 of ImageNet-1k's classes that a ResNet-50 gets wrong.

Unpacked as it is published: a folder for each WordNet id. As in the paper, the model is
evaluated among these 200 classes' logits; which they are, the folders tell.
Hendrycks et al., *Natural Adversarial Examples*, CVPR 2021.
"""

_base_ = "imagenet_variant.py"

test_dataloader = dict(dataset=dict(data_root="data/imagenet-a", num_classes=200))
test_evaluator = dict(
    _delete_=True,
    type="ClassSubset",
    metric=dict(type="Accuracy", topk=(1, 5)),
)
