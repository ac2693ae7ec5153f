"""FLOPs against values worked out by hand."""

import pytest
import torch
from torch import nn

from mms_plugin.analysis import (
    count_flops,
    training_flops_per_image,
)


def test_matrix_product_by_hand():
    # 3 x 4 by 4 x 5: 60 multiplications and 60 additions.
    assert count_flops(lambda: torch.ones(3, 4) @ torch.ones(4, 5)) == 120


class TwoConvs(nn.Module):
    """3 -> 8 -> 4 channels, 3 x 3, same size; trained on the mean."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.drop = nn.Dropout(0.5)
        self.second = nn.Conv2d(8, 4, 3, padding=1, bias=False)

    def forward(self, images, mode):
        assert mode == "loss"
        out = self.second(self.drop(self.norm(self.first(images))))
        return dict(loss=out.mean(), accuracy=out.max())


def make_batch(batch_size, height, width):
    return dict(images=torch.rand(batch_size, 3, height, width))


def by_hand(height, width):
    # 2 FLOPs a product; the first layer needs no gradient of the image, so it runs
    # forward and for its weights, the second for its input too.
    first = 2 * height * width * 3 * 8 * 9
    second = 2 * height * width * 8 * 4 * 9
    return 2 * first + 3 * second


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_training_of_two_convolutions_by_hand(batch_size):
    flops = training_flops_per_image(
        TwoConvs(), make_batch, [(10, 6), (7, 7), (10, 6)], batch_size
    )
    assert flops == {(10, 6): by_hand(10, 6), (7, 7): by_hand(7, 7)}


@pytest.mark.parametrize("groups", [1, 8, 64])
@pytest.mark.parametrize("transposed", [False, True])
def test_grouped_convolutions_by_hand(groups, transposed):
    kind = nn.ConvTranspose2d if transposed else nn.Conv2d
    conv = kind(64, 64, 3, padding=1, groups=groups, bias=False)
    images = torch.rand(2, 64, 10, 6, requires_grad=True)

    def step():
        conv(images).sum().backward()

    # Each channel sees those of its group: forward, for the image, for the weights.
    assert count_flops(step) == 3 * 2 * 2 * 10 * 6 * 64 * (64 // groups) * 9


def test_frozen_layers_cost_less():
    model = TwoConvs()
    model.first.requires_grad_(False)
    model.norm.requires_grad_(False)
    flops = training_flops_per_image(model, make_batch, [(8, 8)])
    first, second = 2 * 64 * 3 * 8 * 9, 2 * 64 * 8 * 4 * 9
    assert flops == {(8, 8): first + 2 * second}


def test_the_model_and_the_generator_stay_as_they_were():
    torch.manual_seed(0)
    model = TwoConvs().eval()
    model.norm.train()
    gradient = torch.ones_like(model.first.weight)
    model.first.weight.grad = gradient
    state = {name: value.clone() for name, value in model.state_dict().items()}
    random_state = torch.get_rng_state()
    training_flops_per_image(model, make_batch, [(8, 8), (9, 9)])
    assert not model.training
    assert model.norm.training
    assert model.first.weight.grad is gradient
    assert (gradient == 1).all()
    assert model.second.weight.grad is None
    assert torch.equal(torch.get_rng_state(), random_state)
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_own_loss_function():
    layer = nn.Linear(4, 5, bias=False)
    flops = training_flops_per_image(
        layer,
        lambda batch_size, height, width: torch.rand(batch_size, 4),
        [(1, 1)],
        batch_size=3,
        loss=lambda model, batch: model(batch).sum(),
    )
    assert flops == {(1, 1): 2 * (2 * 4 * 5)}


def test_a_real_classifier_by_hand():
    pytest.importorskip("mmpretrain")
    from mmengine.registry import MODELS, init_default_scope
    from mmpretrain.structures import DataSample

    init_default_scope("mmpretrain")
    model = MODELS.build(
        dict(
            type="ImageClassifier",
            backbone=dict(type="ResNet", depth=18, stem_channels=8, base_channels=8),
            neck=dict(type="GlobalAveragePooling"),
            head=dict(
                type="LinearClsHead",
                num_classes=5,
                in_channels=64,
                loss=dict(type="CrossEntropyLoss"),
            ),
        )
    )

    def batch(batch_size, height, width):
        samples = [DataSample().set_gt_label(0) for _ in range(batch_size)]
        return dict(
            inputs=torch.rand(batch_size, 3, height, width), data_samples=samples
        )

    flops = training_flops_per_image(model, batch, [(64, 64)])
    # The stem: 32 x 32 outputs, 7 x 7, 3 -> 8; no gradient of the image.
    products = 2 * 32 * 32 * 7 * 7 * 3 * 8
    for stage, side in enumerate((16, 8, 4, 2)):
        wide = 8 * 2**stage
        narrow = wide if stage == 0 else wide // 2
        convs = 9 * narrow * wide + 3 * 9 * wide * wide
        convs += 0 if stage == 0 else narrow * wide  # the shortcut
        products += 3 * side * side * convs
    products += 3 * 64 * 5
    assert flops[64, 64] == 2 * products


def test_bad_arguments():
    with pytest.raises(ValueError, match="batch_size must .*got 0"):
        training_flops_per_image(TwoConvs(), make_batch, [(8, 8)], batch_size=0)
    with pytest.raises(ValueError, match="trains no parameter"):
        training_flops_per_image(TwoConvs().requires_grad_(False), make_batch, [(8, 8)])
