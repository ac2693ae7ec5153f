"""Multi-scale variable-batch training for MMEngine's libraries.

Importing the package registers its components in MMEngine's root registries;
in a config: ``custom_imports = dict(imports=['mms_plugin'],
allow_failed_imports=False)``.
"""

# Before anything else: an unsupported host must fail with one clear line, not
# somewhere inside the imports below.
from .host_versions import check_host_versions

check_host_versions()

from .checkpoint import allow_mmengine_checkpoints  # noqa: E402

allow_mmengine_checkpoints()

from .datasets import (  # noqa: E402
    CommonCorruption,
    ImageNetVariant,
    MultiScaleDataset,
    MultiScaleTransform,
)
from .evaluation import CalibrationError, ClassSubset  # noqa: E402
from .hooks import (  # noqa: E402
    AtomicCheckpointHook,
    ClipGradRangeHook,
    DryRunHook,
    ResolutionCurriculumHook,
)
from .optim import (  # noqa: E402
    AGVMOptimWrapper,
    AGVMOptimWrapperConstructor,
    AmpAGVMOptimWrapper,
    BFloat16AGVMOptimWrapper,
    BFloat16OptimWrapper,
)
from .sampling import (  # noqa: E402
    KeyedPermutationSampler,
    MultiScaleVariableBatchSampler,
)
from .version import __version__  # noqa: E402

__all__ = [
    "AGVMOptimWrapper",
    "AGVMOptimWrapperConstructor",
    "AmpAGVMOptimWrapper",
    "AtomicCheckpointHook",
    "BFloat16AGVMOptimWrapper",
    "BFloat16OptimWrapper",
    "CalibrationError",
    "ClassSubset",
    "ClipGradRangeHook",
    "CommonCorruption",
    "DryRunHook",
    "ImageNetVariant",
    "KeyedPermutationSampler",
    "MultiScaleDataset",
    "MultiScaleTransform",
    "MultiScaleVariableBatchSampler",
    "ResolutionCurriculumHook",
    "__version__",
]
