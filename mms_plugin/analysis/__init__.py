"""Pure functions behind the reports: what a training costs and what it gave."""

from .flops import count_flops, images_of_plan, plan_flops, training_flops_per_image

__all__ = [
    "count_flops",
    "images_of_plan",
    "plan_flops",
    "training_flops_per_image",
]
