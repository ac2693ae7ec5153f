import pytest
from mmengine.hub import get_config
from single_scale_configs import classification

from mms_plugin.recipes import RecipeError, vbs_recipe
from mms_plugin.recipes.models import checked_model, fixed_input

VIG = dict(type="PyramidVig", arch="tiny", k=9)
FORMER = dict(type="EfficientFormer", arch="l1", out_indices=[3])
VIT = dict(type="VisionTransformer", arch="deit-tiny", img_size=64, patch_size=16)


def backbone(config):
    pytest.importorskip("mmpretrain")
    from mmengine.registry import MODELS, DefaultScope

    with DefaultScope.overwrite_default_scope("mmpretrain"):
        model = MODELS.build(dict(config))
    model.eval()
    return model


@pytest.mark.parametrize("config", [VIG, FORMER], ids=lambda c: c["type"])
def test_models_of_the_table_refuse_other_sizes(config):
    import torch

    place, reason = fixed_input(dict(backbone=config))
    assert place == "model.backbone" and reason.startswith(config["type"])
    model = backbone(config)
    with torch.no_grad():
        model(torch.zeros(1, 3, 224, 224))
        with pytest.raises(RuntimeError):
            model(torch.zeros(1, 3, 160, 160))


def test_a_vision_transformer_is_refused_but_takes_other_sizes():
    """What check_model=False is for."""
    import torch

    found = fixed_input(dict(backbone=VIT))
    assert found == (
        "model.backbone.img_size",
        "VisionTransformer is built for 64 pixels",
    )
    model = backbone(VIT)
    with torch.no_grad():
        assert model(torch.zeros(1, 3, 96, 32))[0].shape == (1, 192)


@pytest.mark.parametrize(
    "model",
    [
        None,
        dict(type="MaskRCNN", backbone=dict(type="ResNet", depth=50)),
        dict(backbone=dict(type="VGG", depth=11)),
        dict(backbone=dict(type="DaViT", pad_small_map=True)),
        dict(backbone=dict(type="SwinTransformer", pretrain_img_size=224)),
        dict(head=dict(type="AnchorGenerator", strides=[4, 8.0, 16])),
        dict(head=dict(type="AnchorGenerator", strides=8)),
    ],
)
def test_models_that_take_any_size(model):
    assert fixed_input(model) is None


def test_inside_lists_and_given_as_a_pair():
    model = dict(experts=[dict(type="A"), dict(type="B", img_size=(64, 32))])
    place, reason = fixed_input(model)
    assert place == "model.experts[1].img_size" and "B is built for (64, 32)" in reason


def test_every_size_is_run():
    """A U-Net of four halvings takes multiples of 16 only."""
    pytest.importorskip("mmseg")
    config = get_config("mmseg::unet/unet-s5-d16_fcn_4xb4-40k_drive-64x64.py")
    sizes = [(side, side) for side in range(32, 81, 8)]
    checked = checked_model(config, (64, 64), sizes)
    assert checked.sizes == ((32, 32), (48, 48), (64, 64), (80, 80))
    assert checked.lines == [
        "model: does not run at 40x40, 56x56, 72x72, so these sizes are left out",
        "model: runs from 32x32 to 80x80 (all of it was run)",
    ]
    with pytest.raises(RecipeError, match="at 40x40 it fails.*divisible"):
        checked_model(config, (64, 64), sizes, sizes_given=True)


def test_sizes_below_the_stride_do_not_run():
    """A plain ResNet-18 has a stride of 32."""
    pytest.importorskip("mmpretrain")
    config = get_config("mmpretrain::resnet/resnet18_8xb32_in1k.py")
    checked = checked_model(config, (64, 64), [(24, 24), (48, 48), (64, 64), (80, 80)])
    assert checked.sizes == ((48, 48), (64, 64), (80, 80))
    assert checked.lines == [
        "model: does not run at 24x24, so these sizes are left out",
        "model: runs from 48x48 to 80x80 (all of it was run)",
    ]
    above = [(24, 24), (32, 32), (40, 40)]
    with pytest.raises(
        RecipeError, match="of at least 32 pixels, more than a side of 24x24, so no"
    ):
        checked_model(config, (32, 32), above)
    with pytest.raises(RecipeError, match="no size below the base size, 64x64, is"):
        checked_model(config, (64, 64), [(8, 8), (24, 24)])  # all below the stride
    with pytest.raises(RecipeError, match="at least 32 pixels.*but got 24x24"):
        checked_model(config, (32, 32), above, sizes_given=True)


def test_models_that_read_their_config_as_attributes():
    """MaskFormer's pixel decoder is built from a ConfigDict, not from a dict."""
    pytest.importorskip("mmdet")
    config = get_config("mmdet::maskformer/maskformer_r50_ms-16xb1-75e_coco.py")
    checked = checked_model(config, (64, 64), [(64, 64), (96, 96)])
    assert checked.lines == ["model: runs from 64x64 to 96x96 (all of it was run)"]


@pytest.mark.parametrize("value", ["yes", 1, 0, None])
def test_ways_to_check_a_model(value):
    config = dict(model=dict(type="ResNet"))
    with pytest.raises(ValueError, match="check_model must be one of"):
        vbs_recipe(classification(), check_model=value)
    with pytest.raises(ValueError, match="check_model must be one of"):
        checked_model(config, (224, 224), [(224, 224)], value)


@pytest.mark.parametrize("norm", ["BN", "SyncBN"])
def test_a_model_that_does_not_train_on_one_image(norm):
    """PSPNet normalizes a map of one pixel: with one image there is one value."""
    pytest.importorskip("mmseg")
    config = get_config("mmseg::pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py")
    for part in ("backbone", "decode_head", "auxiliary_head"):
        config.model[part].norm_cfg = dict(type=norm, requires_grad=True)
    sizes = [(48, 48), (64, 64), (80, 80), (96, 96)]
    ran = ["model: runs from 48x48 to 96x96 (all of it was run)"]
    images = dict(zip(sizes, (3, 2, 1, 1)))
    checked = checked_model(config, (64, 64), sizes, images=images)
    assert checked.lines[:1] == ran
    if norm == "BN":
        assert checked.sizes == ((48, 48), (64, 64))
        assert checked.lines[1].endswith("batches are left out: 80x80, 96x96")
        with pytest.raises(RecipeError, match="at 80x80, 96x96 a batch has one image"):
            checked_model(config, (64, 64), sizes, sizes_given=True, images=images)
    else:
        assert checked.sizes == tuple(sizes)
        assert checked.lines[1].startswith("warning: at 80x80, 96x96 a batch has one")
        assert "with SyncBN on several ranks it does" in checked.lines[1]
    # With more images; and where the base batch has one, as in the config itself.
    for enough in (dict.fromkeys(sizes, 2), dict.fromkeys(sizes, 1)):
        checked = checked_model(config, (64, 64), sizes, images=enough)
        assert (checked.sizes, checked.lines) == (tuple(sizes), ran)


def test_cudnn_does_not_search_anew_with_each_size():
    config = classification()
    lines = []
    assert "env_cfg" not in vbs_recipe(config, report=lines.append)
    config["env_cfg"] = dict(cudnn_benchmark=True, mp_cfg=dict(opencv_num_threads=0))
    assert vbs_recipe(config, report=lines.append)["env_cfg"] == dict(
        cudnn_benchmark=False, mp_cfg=dict(opencv_num_threads=0)
    )
    assert config["env_cfg"]["cudnn_benchmark"] is True
    assert lines.count("env_cfg.cudnn_benchmark: True -> False") == 1


def test_the_recipe_counts_the_images_of_a_batch():
    pytest.importorskip("mmseg")
    config = get_config("mmseg::pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py")
    for part in ("backbone", "decode_head", "auxiliary_head"):
        config.model[part].norm_cfg = dict(type="BN", requires_grad=True)
    for batch_size, largest in ((2, (512, 1024)), (4, (640, 1280))):
        config.train_dataloader.batch_size = batch_size
        converted = vbs_recipe(config)
        assert converted.train_dataloader.batch_sampler.sizes[-1] == largest
    converted = vbs_recipe(config, variable_batch=False)
    assert converted.train_dataloader.batch_sampler.sizes[-1] == (640, 1280)
