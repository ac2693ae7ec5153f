"""Pure functions behind the reports: what a training costs and what it gave."""

from .batch_maker import MakeBatch, batch_maker, rois_per_image
from .cost_fit import CostFit, Measurement, fit_cost, relative_errors
from .flops import count_flops, images_of_plan, plan_flops, training_flops_per_image
from .iteration_costs import (
    EpochCost,
    IterationCosts,
    batch_sizes_to_measure,
    epoch_cost,
    fill_batch_sizes,
    level_batch_sizes,
    read_times,
)
from .iteration_timer import Timing, is_out_of_memory, time_iterations
from .training_plan import fixed_size_plan, training_plan

__all__ = [
    "CostFit",
    "EpochCost",
    "IterationCosts",
    "MakeBatch",
    "Measurement",
    "Timing",
    "batch_maker",
    "batch_sizes_to_measure",
    "count_flops",
    "epoch_cost",
    "fill_batch_sizes",
    "fit_cost",
    "fixed_size_plan",
    "images_of_plan",
    "is_out_of_memory",
    "level_batch_sizes",
    "plan_flops",
    "read_times",
    "relative_errors",
    "rois_per_image",
    "time_iterations",
    "training_flops_per_image",
    "training_plan",
]
