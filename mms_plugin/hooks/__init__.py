"""MMEngine hooks, one in a file."""

from ..checkpoints.not_saved_error import CheckpointNotSavedError
from .atomic_checkpoint_hook import AtomicCheckpointHook
from .base_size_batch_norm_hook import BaseSizeBatchNormHook
from .clip_grad_range_hook import ClipGradRangeHook
from .dry_run_hook import DryRunHook
from .first_batch_hook import FirstBatchHook
from .multi_scale_sampler_hook import MultiScaleSamplerHook
from .resolution_curriculum_hook import ResolutionCurriculumHook

__all__ = [
    "AtomicCheckpointHook",
    "BaseSizeBatchNormHook",
    "CheckpointNotSavedError",
    "ClipGradRangeHook",
    "DryRunHook",
    "FirstBatchHook",
    "MultiScaleSamplerHook",
    "ResolutionCurriculumHook",
]
