"""DeiT-S, a ViT-S, SSc-FBS: mmpretrain's own config, batch and rate. The baseline.

Neither paper trains a ViT-S on ImageNet-1k.
"""

_base_ = ["mmpretrain::deit/deit-small_4xb256_in1k.py"]

custom_imports = dict(imports=["mms_plugin"], allow_failed_imports=False)
train_dataloader = dict(collate_fn=dict(type="default_collate"))
