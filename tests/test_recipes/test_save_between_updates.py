"""Checkpoints between updates of the weights."""

from large_batch_toys import released, told_by, toy
from mmengine.hooks import CheckpointHook


def test_checkpoints_fall_between_updates():
    lines = []
    path = "mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco.py"
    config = released(path, lines, batch_size=256, world_size=8)
    assert config.default_hooks.checkpoint.interval == 5008 == 16 * 313
    assert config.train_cfg.val_interval == 5008
    assert not any("epochs end within" in line for line in lines)
    # 100 samples are 50 iterations, 12 updates and two iterations more.
    for samples, told in ((100, True), (96, False)):
        options = dict(batch_size=8, num_samples=samples)
        text = "\n".join(told_by(toy(), **options))
        assert ("epochs end within the 4 iterations" in text) is told


def test_a_built_checkpoint_hook_is_left_as_it_is():
    config = toy()
    config.default_hooks = dict(checkpoint=CheckpointHook(interval=3))
    lines = told_by(config, batch_size=8, num_samples=96)
    assert not any("default_hooks" in line for line in lines)
