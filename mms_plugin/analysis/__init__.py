"""Pure functions behind the reports: what a training costs and what it gave."""

from .agvm_curves import agvm_curves, running_mean, summarize_agvm
from .batch_maker import MakeBatch, batch_maker, rois_per_image
from .build_model import build_model
from .config_plan import (
    ConfigPlan,
    EpochCount,
    config_plan,
    curriculum_of,
    is_multi_scale,
)
from .cost_fit import CostFit, Measurement, fit_cost, relative_errors
from .epoch_plan import fixed_size_plan, multi_scale_plans
from .flops import count_flops, training_flops_per_image
from .iteration_costs import (
    EpochTime,
    IterationCosts,
    batch_sizes_to_measure,
    epoch_time,
    exceeds_memory,
    fill_batch_sizes,
    fitting_batch_sizes,
    level_batch_sizes,
    load_times,
    read_times,
)
from .iteration_timer import Timing, is_out_of_memory, time_iterations
from .model_flops import ModelFlops, UncountedError, model_flops, total_stride
from .run_cost import RunCost, RunSizes, run_cost, run_sizes
from .run_log import RunLog, Validation, read_run
from .sample_count import SampleCount, count_samples
from .training_cost import TrainingCost, cost_ratios, training_cost
from .training_size import counted_size, fixed_size

__all__ = [
    "ConfigPlan",
    "CostFit",
    "EpochTime",
    "EpochCount",
    "IterationCosts",
    "MakeBatch",
    "Measurement",
    "ModelFlops",
    "RunCost",
    "RunLog",
    "RunSizes",
    "SampleCount",
    "Timing",
    "TrainingCost",
    "UncountedError",
    "Validation",
    "agvm_curves",
    "batch_maker",
    "batch_sizes_to_measure",
    "build_model",
    "config_plan",
    "cost_ratios",
    "count_flops",
    "count_samples",
    "counted_size",
    "curriculum_of",
    "epoch_time",
    "exceeds_memory",
    "fill_batch_sizes",
    "fitting_batch_sizes",
    "fit_cost",
    "fixed_size",
    "fixed_size_plan",
    "is_multi_scale",
    "is_out_of_memory",
    "level_batch_sizes",
    "load_times",
    "model_flops",
    "multi_scale_plans",
    "read_run",
    "read_times",
    "relative_errors",
    "rois_per_image",
    "run_cost",
    "run_sizes",
    "running_mean",
    "summarize_agvm",
    "time_iterations",
    "total_stride",
    "training_cost",
    "training_flops_per_image",
]
