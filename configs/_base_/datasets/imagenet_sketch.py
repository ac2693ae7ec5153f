"""ImageNet-Sketch: drawings of ImageNet-1k's 1,000 classes.

Unpacked as it is published: a folder for each WordNet id.
Wang et al., *Learning Robust Global Representations by Penalizing Local Predictive
Power*, NeurIPS 2019.
"""

_base_ = "imagenet_variant.py"

test_dataloader = dict(dataset=dict(data_root="data/imagenet-sketch", num_classes=1000))
