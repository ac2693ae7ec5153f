"""Pure functions behind the reports: what a training costs and what it gave."""

from .flops import count_flops, images_of_plan, plan_flops, training_flops_per_image
from .training_plan import fixed_size_plan, training_plan

__all__ = [
    "count_flops",
    "fixed_size_plan",
    "images_of_plan",
    "plan_flops",
    "training_flops_per_image",
    "training_plan",
]
