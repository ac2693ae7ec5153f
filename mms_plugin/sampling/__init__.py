"""Which resolution and how many images in each iteration."""

from .curriculum import ResolutionCurriculum, grown_sizes
from .keyed_permutation import KeyedPermutation
from .keyed_permutation_sampler import KeyedPermutationSampler
from .multi_scale_variable_batch_sampler import MultiScaleVariableBatchSampler
from .plan import Plan, count_iterations, epoch_generator, plan_epoch, plan_stream
from .size_schedule import SizeSchedule
from .sized_index import SizedIndex, sized_index_class
from .sizes import (
    CostModel,
    Size,
    SizeDistribution,
    cost_model_batch_size,
    parse_cost_model,
    parse_size,
    parse_sizes,
    pixel_budget_batch_size,
)

__all__ = [
    "CostModel",
    "KeyedPermutation",
    "KeyedPermutationSampler",
    "MultiScaleVariableBatchSampler",
    "Plan",
    "ResolutionCurriculum",
    "Size",
    "SizeDistribution",
    "SizeSchedule",
    "SizedIndex",
    "cost_model_batch_size",
    "count_iterations",
    "epoch_generator",
    "grown_sizes",
    "parse_cost_model",
    "parse_size",
    "parse_sizes",
    "pixel_budget_batch_size",
    "plan_epoch",
    "plan_stream",
    "sized_index_class",
]
