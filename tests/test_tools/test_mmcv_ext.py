"""tools/mmcv_ext.py gives what mmcv's compiled operators give, to the bit."""

import importlib.util
from pathlib import Path

import pytest
import torch

pytest.importorskip("torchvision")
compiled = pytest.importorskip("mmcv._ext")

FILE = Path(__file__).resolve().parents[2] / "tools" / "mmcv_ext.py"


@pytest.fixture(scope="module")
def ours():
    spec = importlib.util.spec_from_file_location("mmcv_ext", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


needs_compiled = pytest.mark.skipif(
    compiled.__file__.endswith(".py"), reason="mmcv has no compiled operators here"
)


def boxes(generator, count):
    corner = torch.rand(count, 2, generator=generator) * 40
    return torch.cat(
        [corner, corner + torch.rand(count, 2, generator=generator) * 20], 1
    )


@needs_compiled
@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
def test_nms(ours, threshold):
    generator = torch.Generator().manual_seed(0)
    for count in (0, 1, 200):
        found = boxes(generator, count)
        scores = torch.rand(count, generator=generator)
        theirs = compiled.nms(found, scores, iou_threshold=threshold, offset=0)
        mine = ours.nms(found, scores, iou_threshold=threshold, offset=0)
        assert torch.equal(mine, theirs)
    # Whole pixels, in which the sums with an offset are exact.
    pixels, scores = boxes(generator, 200).round(), torch.rand(200, generator=generator)
    theirs = compiled.nms(pixels, scores, iou_threshold=threshold, offset=1)
    assert torch.equal(
        ours.nms(pixels, scores, iou_threshold=threshold, offset=1), theirs
    )


@needs_compiled
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("sampling_ratio", [0, 2])
def test_roi_align(ours, aligned, sampling_ratio):
    generator = torch.Generator().manual_seed(1)
    features = torch.rand(2, 5, 24, 20, generator=generator)
    batch = torch.randint(2, (30, 1), generator=generator).float()
    rois = torch.cat([batch, boxes(generator, 30)], 1)
    gradient = torch.rand(30, 5, 7, 6, generator=generator)
    options = dict(
        aligned_height=7, aligned_width=6, spatial_scale=0.5,
        sampling_ratio=sampling_ratio, pool_mode=1, aligned=aligned,
    )  # fmt: skip
    given = []
    for module in (ours, compiled):
        output, back = torch.zeros(30, 5, 7, 6), torch.zeros(2, 5, 24, 20)
        unused = torch.zeros(0)
        module.roi_align_forward(features, rois, output, unused, unused, **options)
        module.roi_align_backward(gradient, rois, unused, unused, back, **options)
        given.append((output, back))
    assert given[0][0].abs().sum() > 0 and given[0][1].abs().sum() > 0
    assert torch.equal(given[0][0], given[1][0])
    assert torch.equal(given[0][1], given[1][1])


def test_others_are_there_by_name_and_say_what_they_need(ours):
    assert hasattr(ours, "deform_conv_forward") and not hasattr(ours, "__path__")
    with pytest.raises(NotImplementedError, match="deform_conv_forward needs mmcv"):
        ours.deform_conv_forward(1)
    with pytest.raises(NotImplementedError, match="pool_mode='max'"):
        ours.roi_align_forward(*[None] * 5, 1, 1, 1.0, 0, 0, True)
