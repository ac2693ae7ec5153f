"""Pure functions behind the reports: what a training costs and what it gave."""

from .batch_maker import MakeBatch, batch_maker, rois_per_image
from .flops import count_flops, images_of_plan, plan_flops, training_flops_per_image
from .training_plan import fixed_size_plan, training_plan

__all__ = [
    "MakeBatch",
    "batch_maker",
    "count_flops",
    "fixed_size_plan",
    "images_of_plan",
    "plan_flops",
    "rois_per_image",
    "training_flops_per_image",
    "training_plan",
]
