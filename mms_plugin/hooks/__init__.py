"""MMEngine hooks."""

from .clip_grad_range_hook import ClipGradRangeHook
from .dry_run_hook import DryRunHook
from .resolution_curriculum_hook import ResolutionCurriculumHook

__all__ = ["ClipGradRangeHook", "DryRunHook", "ResolutionCurriculumHook"]
