import pytest

from mms_plugin.recipes import default_sizes


def squares(*sides):
    return tuple((side, side) for side in sides)


@pytest.mark.parametrize(
    "base, dense, expected",
    [
        # The published recipes (arXiv 2309.04502).
        (224, False, squares(128, 160, 192, 224, 256, 288, 320)),
        (1024, True, squares(512, 608, 672, 768, 864, 928, 1024, 1120, 1184, 1280)),
        # 91.4 to 228.6: multiples of 32 from 96 to 224, each once.
        (160, False, squares(96, 128, 160, 192, 224)),
        # 18.3 to 45.7, in multiples of 8.
        (32, False, squares(24, 32, 40)),
        # 171.4 to 428.6; 300 stands for the nearest multiple, 288.
        (300, False, squares(192, 224, 256, 300, 352, 384, 416)),
        (192, True, squares(96, 128, 160, 192, 224)),
    ],
)
def test_around_a_base(base, dense, expected):
    assert default_sizes((base, base), dense) == expected


def test_keep_the_proportions_of_a_bound():
    sizes = default_sizes((800, 1333), dense=True)
    assert [size[0] for size in sizes] == [
        416, 480, 544, 608, 672, 736, 800, 864, 928, 992,
    ]  # fmt: skip
    assert (800, 1333) in sizes
    # Whole pixels nearest to 1.66625 times the short side.
    assert sizes[0] == (416, 693) and sizes[-1] == (992, 1653)
    portrait = default_sizes((1333, 800), dense=True)
    assert portrait == tuple((width, height) for height, width in sizes)


def test_both_sides_stay_multiples_where_they_are():
    sizes = default_sizes((256, 128), dense=False)
    assert (256, 128) in sizes
    assert all(side % 32 == 0 for size in sizes for side in size)


@pytest.mark.parametrize("divisor, unit", [(1, 32), (64, 64), (128, 128), (20, 160)])
def test_multiples_of_what_the_preprocessor_pads_to(divisor, unit):
    sizes = default_sizes((1280, 1280), True, divisor)
    assert all(height % unit == 0 for height, _ in sizes) and len(sizes) > 3
    assert (1280, 1280) in sizes


def test_no_other_multiple():
    assert default_sizes((8, 8)) == ((8, 8),)
