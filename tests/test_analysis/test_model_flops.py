"""Counting on meta tensors against the real losses on real tensors, and by hand."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mms_plugin.analysis import UncountedError, model_flops, total_stride

pytest.importorskip("mmdet")
pytest.importorskip("mmpretrain")

from small_detectors import CHANNELS, ROIS, small_detector


def classifier(backbone, in_channels):
    from mmpretrain.models import ImageClassifier

    return ImageClassifier(
        backbone=backbone,
        neck=dict(type="mmpretrain.GlobalAveragePooling"),
        head=dict(
            type="mmpretrain.LinearClsHead", num_classes=5, in_channels=in_channels
        ),
    )


def small_resnet(**changes):
    return classifier(
        dict(type="mmpretrain.ResNet", depth=18, stem_channels=8, base_channels=8,
             **changes),
        64,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "positives", "backbone"),
    [
        ("mask_rcnn", 5, dict(frozen_stages=-1, norm_eval=False)),
        ("mask_rcnn", 0, dict(frozen_stages=4)),
        ("faster_rcnn", 5, {}),
        ("cascade", 5, {}),
        ("retinanet", None, {}),
    ],
)
def test_a_detector_by_parts_is_the_detector(name, positives, backbone):
    model = small_detector(name, **backbone)
    size = (130, 192)  # padded to 160 x 192
    by_parts = model_flops(model, [size], positives)
    whole = model_flops(model, [size], positives, prefer_meta=False)
    assert by_parts.counted_on.startswith("meta tensors")
    assert whole.counted_on == "CPU tensors"
    assert by_parts.per_image == whole.per_image
    assert by_parts.rois == (None if positives is None else (ROIS, positives))


def test_a_classifier_on_meta_tensors():
    model = small_resnet()
    sizes = [(64, 64), (40, 72)]
    on_meta = model_flops(model, sizes)
    assert on_meta.counted_on == "meta tensors"
    assert on_meta.rois is None
    assert on_meta.per_image == model_flops(model, sizes, prefer_meta=False).per_image


def segmentor(decode_head, cascade=False, channels=3):
    pytest.importorskip("mmseg")
    from mmengine.registry import MODELS

    common = dict(num_classes=3, channels=8, norm_cfg=dict(type="BN"))
    fcn = dict(common, type="mmseg.FCNHead", num_convs=1, in_channels=64, in_index=3)
    head = dict(common, **decode_head)
    return MODELS.build(
        dict(
            type="mmseg.CascadeEncoderDecoder" if cascade else "mmseg.EncoderDecoder",
            backbone=dict(
                type="mmseg.ResNetV1c",
                depth=18,
                in_channels=channels,
                stem_channels=8,
                base_channels=8,
            ),
            decode_head=[fcn, head] if cascade else head,
            auxiliary_head=[dict(fcn, in_index=1, in_channels=16)],
            **(dict(num_stages=2) if cascade else {}),
        )
    )


@pytest.mark.parametrize(
    "model",
    [
        dict(decode_head=dict(type="mmseg.PSPHead", in_channels=64, in_index=3)),
        dict(
            decode_head=dict(
                type="mmseg.OCRHead", in_channels=64, in_index=3, ocr_channels=8
            ),
            cascade=True,
        ),
    ],
    ids=["auxiliary head", "cascade"],
)
def test_a_segmentor_without_its_losses(model):
    model = segmentor(**model)
    size = (64, 96)
    on_meta = model_flops(model, [size])
    assert on_meta.counted_on == "meta tensors" and on_meta.rois is None
    assert on_meta.per_image == model_flops(model, [size], prefer_meta=False).per_image


def test_a_segmentor_of_four_channels():
    head = dict(type="mmseg.PSPHead", in_channels=64, in_index=3)
    of_three, of_four = (
        model_flops(segmentor(head, channels=channels), [(64, 64)]).per_image[64, 64]
        for channels in (3, 4)
    )
    # The first convolution, 3 x 3 with a stride of 2 to 4 channels; forward and for
    # its weights.
    assert of_four - of_three == 2 * 2 * 32 * 32 * 9 * 4


def test_attention_is_counted_on_both():
    width, tokens = 24, 17
    model = classifier(
        dict(type="mmpretrain.VisionTransformer", img_size=32, patch_size=8,
             arch=dict(embed_dims=width, num_layers=1, num_heads=2,
                       feedforward_channels=32), out_type="avg_featmap"),
        width,
    )  # fmt: skip
    model.neck = None
    # Forward: patches, q k v, q k^T, weights v, output, two layers, five classes.
    embed = (tokens - 1) * 8 * 8 * 3 * width
    layers = tokens * width * (3 * width + width + 2 * 32)
    attention = 2 * tokens * tokens * width
    head = 5 * width
    # Backward twice as much, but there is no gradient of the image.
    products = 2 * embed + 3 * (layers + attention + head)
    for prefer_meta in (True, False):
        counted = model_flops(model, [(32, 32)], prefer_meta=prefer_meta)
        assert counted.per_image == {(32, 32): 2 * products}


@pytest.mark.parametrize("prefer_meta", [True, False])
def test_progress_is_told_where_counting_takes_long(prefer_meta):
    told = []
    model = classifier(dict(type="mmpretrain.ResNet", depth=18), 512)
    sizes = [(64, 32), (32, 32)]
    counted = model_flops(model, sizes, prefer_meta=prefer_meta, tell=told.append)
    assert set(counted.per_image) == set(sizes)
    lines = ["at 32x32 (1 of 2)", "at 64x32 (2 of 2)"]
    start = "counting FLOPs on the CPU "
    assert told == ([] if prefer_meta else [start + line for line in lines])


def counts_transposed_convolutions():
    """The counter of torch 2.1 takes their gradients for larger than they are."""
    layer, x = nn.ConvTranspose2d(3, 5, 2, stride=2), torch.ones(1, 3, 4, 4)
    with FlopCounterMode(display=False) as counter:
        layer(x.requires_grad_()).sum().backward()
    return counter.get_total_flops() == 3 * 2 * 4 * 4 * 3 * 5 * 2 * 2


@pytest.mark.skipif(
    not counts_transposed_convolutions(),
    reason="this torch miscounts transposed convolutions",
)
def test_roi_heads_by_hand():
    model = small_detector("mask_rcnn")
    flops = [model_flops(model, [(64, 64)], n).per_image[64, 64] for n in (0, 9)]
    # Of a positive RoI: four convolutions on 14 x 14, one that doubles the side, and
    # a mask of 28 x 28 for each of 80 classes; forward and twice backward.
    convs = 4 * 14 * 14 * 9 * CHANNELS**2
    doubling = 14 * 14 * 4 * CHANNELS**2
    masks = 28 * 28 * CHANNELS * 80
    a_mask = 3 * 2 * (convs + doubling + masks)
    assert flops[1] - flops[0] == 9 * a_mask
    # Of any RoI: 7 x 7 features, two layers of 32, 81 scores, 80 boxes.
    a_box = 3 * 2 * (49 * CHANNELS * 32 + 32 * 32 + 32 * (81 + 320))
    model.roi_head.bbox_sampler.num = 2 * ROIS
    more = model_flops(model, [(64, 64)], 0).per_image[64, 64]
    assert more - flops[0] == ROIS * a_box


def two_view_model(kind):
    from mmpretrain.registry import MODELS

    neck = dict(in_channels=64, hid_channels=16, out_channels=8, with_avg_pool=True)
    settings = dict(
        type=kind,
        backbone=dict(type="ResNet", depth=18, base_channels=8, stem_channels=8),
        neck=dict(type="NonLinearNeck", **neck),
        head=dict(type="ContrastiveHead", loss=dict(type="CrossEntropyLoss")),
    )
    if kind == "BYOL":
        predictor = dict(neck, in_channels=8, with_avg_pool=False)
        settings["head"] = dict(
            type="LatentPredictHead",
            loss=dict(type="CosineSimilarityLoss"),
            predictor=dict(type="NonLinearNeck", **predictor),
        )
    with MODELS.switch_scope_and_registry("mmpretrain"):
        return MODELS.build(settings)


@pytest.mark.parametrize("kind", ["SimCLR", "BYOL"])
def test_both_views_of_an_image_count(kind):
    model = two_view_model(kind)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    counted = model_flops(model, [(64, 48)]).per_image[64, 48]
    for name, value in model.state_dict().items():  # BYOL's targets are averages
        assert torch.equal(value, state[name]), name
    with FlopCounterMode(display=False) as counter:
        views = [torch.rand(2, 3, 64, 48) for _ in range(2)]
        model.parse_losses(model.loss(views, [None] * 2))[0].backward()
    assert counted == counter.get_total_flops() / 2
    with FlopCounterMode(display=False) as counter:
        features = model.backbone(torch.rand(1, 3, 64, 48))
        sum(each.sum() for each in features).backward()
    targets = 1 if kind == "BYOL" else 0  # a third of a pass more, without gradients
    assert counted > (2 + 0.6 * targets) * counter.get_total_flops()


def test_a_bare_assertion_is_named_once():
    class Silent(nn.Module):
        def forward(self, images):
            raise AssertionError

    with pytest.raises(UncountedError, match=r"\(Silent\): AssertionError$"):
        model_flops(classifier(Backbone(Silent()), 4), [(8, 8)])


def test_the_model_stays_as_it_was():
    model = small_detector("retinanet").eval()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    model_flops(model, [(64, 64)])
    assert not model.training
    assert all(p.grad is None for p in model.parameters())
    for name, value in model.state_dict().items():
        assert value.device.type == "cpu"
        assert torch.equal(value, state[name]), name


class OwnScale(nn.Module):
    """A weight per output and input channel, by an operator that is not counted."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, 3))
        self.inner = nn.Conv2d(3, 3, 1)

    def forward(self, images):
        images = self.inner(images)
        return (images[:, None] * self.weight[None, :, :, None, None]).sum(2)


class Failing(nn.Module):
    def forward(self, images):
        raise RuntimeError("no such\nkernel")


class Backbone(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.stem = nn.Conv2d(3, 3, 3)
        self.layer = layer

    def forward(self, images):
        return (self.layer(self.stem(images)),)


def test_a_layer_that_the_counter_does_not_know_is_named():
    with pytest.raises(
        UncountedError, match=r"backbone\.layer \(OwnScale\): PyTorch's"
    ):
        model_flops(classifier(Backbone(OwnScale()), 4), [(8, 8)])


def test_a_model_of_another_library():
    with pytest.raises(UncountedError, match="but not for Backbone of "):
        model_flops(Backbone(nn.ReLU()), [(8, 8)])


def test_a_layer_that_fails_is_named():
    message = r"in backbone\.layer \(Failing\): RuntimeError: no such kernel"
    with pytest.raises(UncountedError, match=message):
        model_flops(classifier(Backbone(Failing()), 4), [(8, 8)])


def test_a_size_at_which_a_layer_fails():
    class OnlySmall(nn.Module):
        def forward(self, images):
            assert images.shape[-1] < 16, "too large"
            return images

    message = r"in backbone\.layer \(OnlySmall\): AssertionError: too large"
    with pytest.raises(UncountedError, match=message):
        model_flops(classifier(Backbone(OnlySmall()), 3), [(8, 8), (12, 12), (24, 24)])


def test_tables_and_scales_are_no_products():
    class Table(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(7, 3)
            self.scale = nn.Parameter(torch.ones(1, 3, 1, 1))

        def forward(self, images):
            index = torch.zeros(3, dtype=torch.long, device=images.device)
            return images * self.scale + self.table(index).mean()

    flops = model_flops(classifier(Backbone(Table()), 3), [(8, 8)])
    # 6 x 6 outputs of 27 products for 3 channels, no gradient of the image; 5 classes.
    assert flops.per_image == {(8, 8): 2 * (2 * 36 * 27 * 3 + 3 * 15)}


def test_total_stride():
    assert total_stride(small_resnet(), (256, 256)) == 32
    assert total_stride(small_resnet(strides=(1, 2, 2, 1)), (256, 320)) == 16
    assert total_stride(small_detector("retinanet"), (256, 256)) == 32
    assert total_stride(nn.Linear(1, 1), (256, 256)) is None
    assert total_stride(classifier(Backbone(Failing()), 4), (64, 64)) is None


@pytest.mark.parametrize(
    ("name", "by_parts"), [("rtmdet_tiny", True), ("rtmdet-ins_tiny", False)]
)
def test_rtmdet_runs_with_its_real_loss(name, by_parts):
    """Its assigner takes any masks for a tensor; the loss of Ins runs convolutions."""
    from mmengine.hub import get_config
    from mmengine.registry import MODELS, DefaultScope

    config = get_config(f"mmdet::rtmdet/{name}_8xb32-300e_coco.py").model
    config.backbone.init_cfg = None
    with DefaultScope.overwrite_default_scope("mmdet"):
        model = MODELS.build(config)
    count = model_flops(model, [(64, 96)])
    whole = model_flops(model, [(64, 96)], prefer_meta=False)
    assert count.counted_on.startswith("meta tensors") == by_parts
    assert count.per_image == whole.per_image
