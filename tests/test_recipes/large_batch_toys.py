"""Configs for the large-batch recipe, and what it prints."""

import pytest
from mmengine.config import Config
from mmengine.hub import get_config

from mms_plugin.recipes import apply_recipes

FASTER_RCNN = "mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py"


def released(path=FASTER_RCNN, lines=None, **options):
    pytest.importorskip(path.split("::")[0])
    config = get_config(path)
    text = config.pretty_text

    def note(name, line):
        if lines is not None:
            lines.append(line)

    after = apply_recipes(config, "agvm", options, note)
    assert config.pretty_text == text
    return after


def toy():
    return Config(
        dict(
            train_cfg=dict(by_epoch=True, max_epochs=3),
            train_dataloader=dict(
                batch_size=2,
                sampler=dict(type="DefaultSampler"),
                dataset=dict(type="X"),
            ),
            optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1)),
            auto_scale_lr=dict(base_batch_size=2),
        )
    )


def told_by(config, **options):
    """The lines that the recipe prints."""
    lines = []
    apply_recipes(config, "agvm", options, lambda name, line: lines.append(line))
    return lines
