"""The names of the optimizer wrappers, against the registered classes."""

import pytest
from mmengine.registry import OPTIM_WRAPPERS

from mms_plugin.agvm import AGVMOptimWrapper
from mms_plugin.agvm.wrapper_names import PLAIN, WITH_AGVM


@pytest.mark.parametrize("plain, with_agvm", zip(PLAIN, WITH_AGVM))
def test_each_has_its_counterpart_with_agvm(plain, with_agvm):
    kinds = OPTIM_WRAPPERS.get(plain), OPTIM_WRAPPERS.get(with_agvm)
    assert issubclass(kinds[1], kinds[0]) and issubclass(kinds[1], AGVMOptimWrapper)
    assert not issubclass(kinds[0], AGVMOptimWrapper)
