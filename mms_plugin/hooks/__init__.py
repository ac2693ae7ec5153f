"""MMEngine hooks."""

from .resolution_curriculum_hook import ResolutionCurriculumHook

__all__ = ["ResolutionCurriculumHook"]
