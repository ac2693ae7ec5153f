"""tools/analysis_tools/browse_batches.py on real data sets."""

import json

import cv2
import numpy as np
import pytest
from mmengine.config import Config

from mms_plugin import cli
from mms_plugin.commands import browse_batches as tool

pytest.importorskip("matplotlib")
TOOL = "analysis_tools/browse_batches.py"

DETECTOR = """
_base_ = ['mmdet::_base_/models/retinanet_r50_fpn.py',
          'mmdet::_base_/default_runtime.py']
model = dict(
    data_preprocessor=dict(pad_size_divisor=32, pad_mask=True),
    backbone=dict(depth=18, base_channels=8, stem_channels=8, init_cfg=None),
    neck=dict(in_channels=[8, 16, 32, 64], out_channels=16),
    bbox_head=dict(num_classes=1, in_channels=16, feat_channels=16, stacked_convs=1))
train_dataloader = dict(
    batch_size=2, num_workers=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CocoDataset', data_root='ROOT', ann_file='annotations.json',
        data_prefix=dict(img=''), metainfo=dict(classes=('square', )),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
            dict(type='PackDetInputs')]))
"""


@pytest.fixture(scope="module")
def multi_scale_config(config_file, tmp_path_factory):
    """The tiny ResNet with the batch sampler, on its real pictures."""
    config = Config.fromfile(config_file)
    dataset = config.train_dataloader.dataset
    dataset.pipeline[1] = dict(
        type="MultiScaleTransform", transform=dict(type="RandomResizedCrop")
    )
    config.train_dataloader.dataset = dict(type="MultiScaleDataset", dataset=dataset)
    config.train_dataloader.batch_sampler = dict(
        type="MultiScaleVariableBatchSampler", base_size=32, sizes=[(32, 64), 32, 64]
    )
    path = tmp_path_factory.mktemp("browse") / "tiny_vbs.py"
    config.dump(path)
    return path


def test_a_sheet_for_each_size(multi_scale_config, run_tool, tmp_path):
    done = run_tool(
        TOOL, multi_scale_config, "--out", tmp_path / "out", "--max-images", 3, "--json"
    )
    assert done.returncode == 0, done.stderr[-3000:]
    document = json.loads(done.stdout)
    fields = ("height", "width", "batch_size", "shape", "padding", "images_drawn")
    assert [tuple(batch[key] for key in fields) for batch in document["batches"]] == [
        (32, 32, 4, [32, 32], 0.0, 3),
        (32, 64, 2, [32, 64], 0.0, 2),
        (64, 64, 1, [64, 64], 0.0, 1),
    ]
    names = {"batch_32x32.png", "batch_32x64.png", "batch_64x64.png", "batches.png"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    for name in names:
        assert cv2.imread(str(tmp_path / "out" / name)).shape[0] > 50


def test_chosen_sizes(multi_scale_config, tmp_path, capsys):
    arguments = [str(multi_scale_config), "--out", str(tmp_path)]
    tool.main([*arguments, "--sizes", "32x64"])
    assert "32 × 64 px (height × width), 2 images" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["batch_32x64.png"]
    with pytest.raises(
        cli.UserError, match="--sizes 48x48 is not .* 32x32, 32x64, 64x64"
    ):
        tool.main([*arguments, "--sizes", "48"])


def test_a_plain_config(config_file, tmp_path, capsys):
    tool.main([str(config_file), "--out", str(tmp_path)])
    assert "32 × 32 px, 4 images, 0.0%" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["batch.png"]
    with pytest.raises(cli.UserError, match="no MultiScaleVariableBatchSampler"):
        tool.main([str(config_file), "--sizes", "32"])


def test_the_config_that_a_recipe_makes(config_file, tmp_path, capsys):
    options = ["--recipe", "vbs", "--recipe-options", "sizes=[48,64,80]"]
    tool.main([str(config_file), "--out", str(tmp_path), *options])
    assert "batch_sampler: none -> MultiScaleVariable" in capsys.readouterr().err
    names = {path.name for path in tmp_path.glob("batch_*.png")}
    assert names == {"batch_48x48.png", "batch_64x64.png", "batch_80x80.png"}


def test_mixed_images_have_both_names(config_file, tmp_path):
    mixup = [
        "model.train_cfg.augments.type=Mixup",
        "model.train_cfg.augments.alpha=20.0",
    ]
    args = tool.parse_args([str(config_file), "--cfg-options", *mixup])
    config, seed = tool.prepare(args)
    (view,) = tool.load_views(config, args, seed)
    mixed = [image.caption for image in view.images if " + " in image.caption]
    for caption in mixed:
        shares = [float(part.split()[0]) for part in caption.split(" + ")]
        assert sum(shares) == pytest.approx(1, abs=0.011)
        assert {part.split()[1] for part in caption.split(" + ")} == {"bright", "dark"}
    assert len(view.images) == 4
    assert mixed


def test_a_detector(tmp_path, capsys):
    """48 x 64 and 64 x 48 in one batch of 64 x 64: a quarter is padding."""
    pytest.importorskip("mmdet")
    images, annotations = [], []
    for index, (height, width) in enumerate([(48, 64), (64, 48)]):
        cv2.imwrite(
            str(tmp_path / f"{index}.png"), np.full((height, width, 3), 200, np.uint8)
        )
        name = f"{index}.png"
        images.append(dict(id=index, file_name=name, height=height, width=width))
        outline = [10, 10, 30, 10, 30, 30, 10, 30]
        annotations.append(
            dict(id=index + 1, image_id=index, category_id=1, iscrowd=0, area=400,
                 bbox=[10, 10, 20, 20], segmentation=[outline])
        )  # fmt: skip
    document = dict(
        images=images,
        annotations=annotations,
        categories=[dict(id=1, name="square")],
    )
    (tmp_path / "annotations.json").write_text(json.dumps(document))
    path = tmp_path / "tiny_retinanet.py"
    path.write_text(DETECTOR.replace("ROOT", str(tmp_path)))
    args = tool.parse_args([str(path)])
    config, seed = tool.prepare(args)
    (view,) = tool.load_views(config, args, seed)
    assert view.shape == (64, 64)
    assert view.padding == pytest.approx(0.25)
    (drawn,) = view.images[1].objects
    assert (drawn.label, drawn.box) == ("square", (10.0, 10.0, 30.0, 30.0))
    assert drawn.mask.shape == (64, 64)
    assert drawn.mask.sum() == pytest.approx(400, rel=0.15)
    tool.main([str(path), "--out", str(tmp_path / "out")])
    assert "64 × 64 px, 2 images, 25.0% of the pixels" in capsys.readouterr().out
    # YOLOX's asks which iteration it is.
    augment = "dict(type='BatchSyncRandomResize', random_size_range=(64, 96))"
    with open(path, "a") as stream:
        stream.write(f"model['data_preprocessor']['batch_augments'] = [{augment}]\n")
    tool.main([str(path), "--out", str(tmp_path / "out")])
    assert "64 × 64 px, 2 images, 25.0% of the pixels" in capsys.readouterr().out


@pytest.mark.parametrize(
    "options, says",
    [
        (["train_dataloader.dataset.data_root=/nowhere"], "training data gives no"),
        (["train_dataloader=None"], "has no train_dataloader"),
        (["model=None"], "has no model"),
        (["model.backbone.depth=17"], "the model cannot be built"),
    ],
)
def test_bad_configs(config_file, options, says):
    with pytest.raises(cli.UserError, match=says):
        tool.main([str(config_file), "--cfg-options", *options])


@pytest.mark.parametrize(
    "options, says",
    [
        (["--sizes", "big"], "a size is a side in pixels or HEIGHTxWIDTH"),
        (["--max-images", "0"], "at least 1"),
    ],
)
def test_bad_arguments_are_one_line(config_file, options, says, capsys):
    with pytest.raises(SystemExit) as leaving:
        tool.main([str(config_file), *options])
    assert leaving.value.code == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
