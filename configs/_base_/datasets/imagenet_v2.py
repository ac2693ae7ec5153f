"""ImageNet-V2: a second test set of ImageNet-1k, 10 images a class.

The matched-frequency variant, unpacked as it is published: the folders are the labels
0 to 999, which a sort by name would put into another order.
Recht et al., *Do ImageNet Classifiers Generalize to ImageNet?*, ICML 2019.
"""

_base_ = "imagenet_variant.py"

test_dataloader = dict(
    dataset=dict(
        data_root="data/imagenetv2-matched-frequency-format-val", num_classes=1000
    )
)
