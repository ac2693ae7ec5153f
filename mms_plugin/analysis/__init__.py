"""Pure functions behind the reports: what a training costs and what it gave."""

from .batch_maker import MakeBatch, batch_maker, rois_per_image
from .config_plan import (
    ConfigPlan,
    EpochCount,
    SampleCount,
    config_plan,
    count_samples,
    is_multi_scale,
)
from .flops import count_flops, images_of_plan, plan_flops, training_flops_per_image
from .iteration_costs import IterationCosts, read_times
from .model_flops import ModelFlops, UncountedError, model_flops, total_stride
from .training_cost import TrainingCost, cost_ratios, training_cost
from .training_plan import fixed_size_plan, training_plan

__all__ = [
    "ConfigPlan",
    "EpochCount",
    "IterationCosts",
    "MakeBatch",
    "ModelFlops",
    "SampleCount",
    "TrainingCost",
    "UncountedError",
    "batch_maker",
    "config_plan",
    "cost_ratios",
    "count_flops",
    "count_samples",
    "fixed_size_plan",
    "images_of_plan",
    "is_multi_scale",
    "model_flops",
    "plan_flops",
    "read_times",
    "rois_per_image",
    "total_stride",
    "training_cost",
    "training_flops_per_image",
    "training_plan",
]
