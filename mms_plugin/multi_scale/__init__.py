"""The multi-scale method: sizes, curriculum, sampler, dataset and transform."""

from .curriculum import ResolutionCurriculum, grown_sizes
from .growing_sizes import GrowingSizes
from .keyed_permutation import KeyedPermutation
from .keyed_permutation_sampler import KeyedPermutationSampler
from .multi_scale_data_preprocessor import MultiScaleDataPreprocessor
from .multi_scale_dataset import MultiScaleDataset, size_in_use
from .multi_scale_transform import MultiScaleTransform
from .multi_scale_variable_batch_sampler import MultiScaleVariableBatchSampler
from .plan import Plan, count_iterations, epoch_generator, plan_epoch, plan_stream
from .shorthands import (
    MultiScaleMixUp,
    MultiScaleMosaic,
    MultiScalePad,
    MultiScaleRandomAffine,
    MultiScaleRandomCrop,
    MultiScaleRandomResizedCrop,
    MultiScaleResize,
)
from .sized_index import SizedIndex, sized_index_class
from .sizes import (
    CostModel,
    Size,
    SizeDistribution,
    cost_model_batch_size,
    parse_cost_model,
    parse_size,
    parse_sizes,
    pixel_budget_batch_size,
)

__all__ = [
    "MultiScaleResize",
    "MultiScaleRandomCrop",
    "MultiScaleRandomResizedCrop",
    "MultiScalePad",
    "MultiScaleMosaic",
    "MultiScaleMixUp",
    "MultiScaleRandomAffine",
    "CostModel",
    "GrowingSizes",
    "KeyedPermutation",
    "KeyedPermutationSampler",
    "MultiScaleDataPreprocessor",
    "MultiScaleDataset",
    "MultiScaleTransform",
    "MultiScaleVariableBatchSampler",
    "Plan",
    "ResolutionCurriculum",
    "Size",
    "SizeDistribution",
    "SizedIndex",
    "cost_model_batch_size",
    "count_iterations",
    "epoch_generator",
    "grown_sizes",
    "parse_cost_model",
    "parse_size",
    "parse_sizes",
    "pixel_budget_batch_size",
    "plan_epoch",
    "plan_stream",
    "size_in_use",
    "sized_index_class",
]
