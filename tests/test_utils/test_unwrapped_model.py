from torch import nn

from mms_plugin.utils.unwrapped_model import unwrapped


def test_a_wrapper_gives_its_model():
    model = nn.Conv2d(1, 1, 1)
    assert unwrapped(nn.DataParallel(model)) is model
    assert unwrapped(model) is model


def test_a_part_named_module_is_no_wrapped_model():
    model = nn.Sequential()
    model.module = nn.Conv2d(1, 1, 1)
    assert unwrapped(model) is model
