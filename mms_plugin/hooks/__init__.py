"""MMEngine hooks."""

from .clip_grad_range_hook import ClipGradRangeHook
from .resolution_curriculum_hook import ResolutionCurriculumHook

__all__ = ["ClipGradRangeHook", "ResolutionCurriculumHook"]
