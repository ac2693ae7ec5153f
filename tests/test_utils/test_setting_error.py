"""Errors of settings are not blamed on the files, from workers neither."""

import pytest
from mmengine.registry import TRANSFORMS
from mmengine.runner import Runner

from mms_plugin.cli.explain_fault import explain_fault
from mms_plugin.utils.setting_error import SettingError


@TRANSFORMS.register_module()
class RefuseImages:
    def __call__(self, results):
        results["img_path"] = "/pictures/fine.png"
        raise SettingError("depth must be 8, but is 16")


@pytest.mark.parametrize("workers", [0, 1])
def test_the_fault_names_the_setting(workers):
    loader = Runner.build_dataloader(
        dict(
            batch_size=2,
            num_workers=workers,
            sampler=dict(type="DefaultSampler", shuffle=False),
            dataset=dict(
                type="MultiScaleDataset",
                dataset=dict(
                    type="ToyDataset", num=4, pipeline=[dict(type="RefuseImages")]
                ),
            ),
        ),
        seed=0,
    )
    with pytest.raises(SettingError) as caught:
        next(iter(loader))
    fault = explain_fault(caught.value)
    assert fault.outside
    assert fault.text == (
        "the settings give no sample: depth must be 8, but is 16 (met at "
        "/pictures/fine.png)"
    )
