"""mmpretrain's runtime, with the plugin imported."""

_base_ = "mmpretrain::_base_/default_runtime.py"

custom_imports = dict(imports=["mms_plugin"], allow_failed_imports=False)
default_hooks = dict(checkpoint=dict(interval=1, max_keep_ckpts=3, save_best="auto"))
