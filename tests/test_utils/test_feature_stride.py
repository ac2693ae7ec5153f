import pytest
import torch

from mms_plugin.utils.feature_stride import feature_stride


def maps(*shapes):
    return [torch.empty(1, 2, *shape) for shape in shapes]


@pytest.mark.parametrize(
    ("features", "size", "stride"),
    [
        (maps((16, 16))[0], (512, 512), 32),
        (maps((64, 64), (16, 16)), (512, 512), 32),
        (tuple(maps((16, 16), (64, 64))), (512, 512), 32),
        (dict(a=maps((32, 20)), b=None), (512, 320), 16),
        # Patches of 14 pixels; the border is left out.
        (maps((36, 36)), (512, 512), 14),
        ([torch.empty(1, 8)], (512, 512), None),
        (None, (512, 512), None),
    ],
)
def test_the_coarsest_map_counts(features, size, stride):
    assert feature_stride(features, size) == stride
