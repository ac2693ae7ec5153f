"""What a trained model is worth: calibration, other sizes, corrupted images."""

from .calibration import Bin, assign_bins, make_bins
from .calibration_error import CalibrationError
from .class_subset import ClassSubset
from .conditions import Condition, plan_conditions
from .corruptions import CORRUPTIONS, corrupted_pipeline
from .pipeline_size import change_pipelines, pipeline_at_size, pipeline_size

__all__ = [
    "CORRUPTIONS",
    "Bin",
    "CalibrationError",
    "ClassSubset",
    "Condition",
    "assign_bins",
    "change_pipelines",
    "corrupted_pipeline",
    "make_bins",
    "pipeline_at_size",
    "pipeline_size",
    "plan_conditions",
]
