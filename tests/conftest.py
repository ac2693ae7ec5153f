import pytest
import toys

import mms_plugin.datasets
import mms_plugin.hooks
import mms_plugin.sampling  # noqa: F401


@pytest.fixture
def make_runner(tmp_path):
    """Build a real runner around the toy model; each gets a name of its own."""
    from mmengine.config import Config
    from mmengine.runner import Runner

    count = [0]

    def make(from_cfg=True, **changes):
        count[0] += 1
        cfg = dict(
            model=dict(type="ToyModel"),
            work_dir=str(tmp_path / "run"),
            train_dataloader=toys.train_dataloader(),
            train_cfg=dict(by_epoch=True, max_epochs=5),
            optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1)),
            default_scope="mmengine",
            experiment_name=f"{tmp_path.name}-{count[0]}",
            randomness=dict(seed=3),
            log_level="WARNING",
        )
        cfg.update(changes)
        return Runner.from_cfg(Config(cfg)) if from_cfg else Runner(**cfg)

    return make
