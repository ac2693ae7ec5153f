"""SSc-FBS: every image at 128 x 128, 4 a batch. AGVM measures, and changes nothing."""

_base_ = "_base_/mask-rcnn_r18_scenes.py"

optim_wrapper = dict(
    type="AGVMOptimWrapper",
    constructor="AGVMOptimWrapperConstructor",
    agvm=dict(interval=10, start_iter=100, modulate=False),
)
