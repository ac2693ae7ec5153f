"""Evaluate trained models: calibration, other sizes, corrupted images."""

from .calibration import Bin, assign_bins, make_bins
from .calibration_error import CalibrationError
from .class_subset import ClassSubset
from .common_corruption import CommonCorruption
from .conditions import Condition, plan_conditions
from .corruptions import CORRUPTIONS, corrupted_pipeline
from .imagenet_variant import ImageNetVariant
from .pipeline_size import change_pipelines, pipeline_at_size, pipeline_size

__all__ = [
    "Bin",
    "CORRUPTIONS",
    "CalibrationError",
    "ClassSubset",
    "CommonCorruption",
    "Condition",
    "ImageNetVariant",
    "assign_bins",
    "change_pipelines",
    "corrupted_pipeline",
    "make_bins",
    "pipeline_at_size",
    "pipeline_size",
    "plan_conditions",
]
