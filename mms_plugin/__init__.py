"""Multi-scale variable-batch training for MMEngine's libraries.

Importing the package registers its components in MMEngine's root registries;
in a config: ``custom_imports = dict(imports=['mms_plugin'],
allow_failed_imports=False)``.
"""

# Before anything else: an unsupported host must fail with one clear line, not
# somewhere inside the imports below.
from .utils.host_versions import check_host_versions

check_host_versions()

from .checkpoints.safe_globals import allow_mmengine_checkpoints  # noqa: E402

allow_mmengine_checkpoints()

from .registry import register_scope  # noqa: E402

register_scope()

from .agvm import (  # noqa: E402
    AGVMOptimWrapper,
    AGVMOptimWrapperConstructor,
    AmpAGVMOptimWrapper,
    BFloat16AGVMOptimWrapper,
    BFloat16OptimWrapper,
)
from .evaluation import (  # noqa: E402
    CalibrationError,
    ClassSubset,
    CommonCorruption,
    ImageNetVariant,
)
from .hooks import (  # noqa: E402
    AtomicCheckpointHook,
    BaseSizeBatchNormHook,
    ClipGradRangeHook,
    DryRunHook,
    MultiScaleSamplerHook,
    ResolutionCurriculumHook,
)
from .multi_scale import (  # noqa: E402
    KeyedPermutationSampler,
    MultiScaleDataPreprocessor,
    MultiScaleDataset,
    MultiScaleTransform,
    MultiScaleVariableBatchSampler,
)
from .version import __version__  # noqa: E402

__all__ = [
    "AGVMOptimWrapper",
    "AGVMOptimWrapperConstructor",
    "AmpAGVMOptimWrapper",
    "AtomicCheckpointHook",
    "BaseSizeBatchNormHook",
    "BFloat16AGVMOptimWrapper",
    "BFloat16OptimWrapper",
    "CalibrationError",
    "ClassSubset",
    "ClipGradRangeHook",
    "CommonCorruption",
    "DryRunHook",
    "ImageNetVariant",
    "KeyedPermutationSampler",
    "MultiScaleDataPreprocessor",
    "MultiScaleDataset",
    "MultiScaleSamplerHook",
    "MultiScaleTransform",
    "MultiScaleVariableBatchSampler",
    "ResolutionCurriculumHook",
    "__version__",
]
