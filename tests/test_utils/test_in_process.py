"""A data loader's config without worker processes."""

from mmengine.config import ConfigDict
from mmengine.registry import DATASETS
from mmengine.runner import Runner

from mms_plugin.utils.in_process import in_process


@DATASETS.register_module()
class InProcessToy:
    """Four numbers."""

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return index


def test_settings_of_workers_are_left_out():
    loader = ConfigDict(
        batch_size=2,
        num_workers=2,
        persistent_workers=True,
        pin_memory=True,
        prefetch_factor=4,
        multiprocessing_context="fork",
        timeout=30,
        drop_last=True,
        sampler=dict(type="DefaultSampler", shuffle=False),
        dataset=dict(type="InProcessToy"),
    )
    before = loader.to_dict()
    made = Runner.build_dataloader(in_process(loader))
    assert made.num_workers == 0 and made.multiprocessing_context is None
    assert made.drop_last and [list(batch) for batch in made] == [[0, 1], [2, 3]]
    assert loader.to_dict() == before
