"""Plans of epochs."""

from mmengine.dataset import DefaultSampler

from mms_plugin.analysis import fixed_size_plan, multi_scale_plans
from mms_plugin.multi_scale import MultiScaleVariableBatchSampler, ResolutionCurriculum


def batch_sampler():
    inner = DefaultSampler(range(50), shuffle=True, seed=1)
    return MultiScaleVariableBatchSampler(
        inner, batch_size=4, base_size=8, sizes=[4, 8]
    )


def test_fixed_size_by_hand():
    assert fixed_size_plan(10, 4, (6, 5)) == [(6, 5, 4), (6, 5, 4), (6, 5, 2)]
    assert fixed_size_plan(10, 4, (6, 5), drop_last=True) == [(6, 5, 4), (6, 5, 4)]
    assert fixed_size_plan(8, 4, (6, 5)) == [(6, 5, 4), (6, 5, 4)]


def test_equals_what_is_iterated():
    plan = list(multi_scale_plans(batch_sampler(), 3))
    sampler = batch_sampler()
    for epoch in range(3):
        sampler.set_epoch(epoch)
        batches = list(sampler)
        assert plan[epoch] == [(*batch[0].size, len(batch)) for batch in batches]
        assert sum(size for _, _, size in plan[epoch]) == 50


def test_the_curriculum_starts_small():
    curriculum = ResolutionCurriculum("linear", start_sizes=[4], end=0.5)
    plan = list(multi_scale_plans(batch_sampler(), 4, curriculum))
    assert {item[:2] for item in plan[0]} == {(4, 4)}
    assert {item[:2] for item in plan[3]} == {(4, 4), (8, 8)}
    assert len(plan[0]) == 4  # 50 images, 16 a batch
