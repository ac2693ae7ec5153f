"""ImageNet-C's corruptions in evaluations: names, pipelines, summary.

Hendrycks and Dietterich, *Benchmarking Neural Network Robustness to Common
Corruptions and Perturbations*, ICLR 2019; for detection Michaelis et al.,
*Benchmarking Robustness in Object Detection*, 2019.
"""

from __future__ import annotations

import copy
from typing import Any, Dict, List, Mapping, Optional, Sequence, Set, Tuple

from ..utils.config_types import kind_of
from .pipeline_size import Pipeline, transform_size

__all__ = [
    "CORRUPTIONS",
    "CORRUPTION_GROUPS",
    "SEVERITIES",
    "choose_corruptions",
    "corrupted_pipeline",
    "summarize_corruptions",
]

#: The fifteen, in the benchmark's own groups and order.
CORRUPTION_GROUPS: Dict[str, Tuple[str, ...]] = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    "weather": ("snow", "frost", "fog", "brightness"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
}
CORRUPTIONS: Tuple[str, ...] = sum(CORRUPTION_GROUPS.values(), ())
SEVERITIES = (1, 2, 3, 4, 5)


def choose_corruptions(names: Sequence[str]) -> List[str]:
    """Return the corruptions meant by ``names``, each once, in the benchmark's order.

    Args:
        names: Corruptions or groups of them (``'noise'``, ``'blur'``, ``'weather'``,
            ``'digital'``); ``'all'``, or none at all: all fifteen.

    Raises:
        ValueError: A name is none of these.
    """
    if not names:
        return list(CORRUPTIONS)
    chosen: Set[str] = set()
    for name in names:
        if name == "all":
            chosen.update(CORRUPTIONS)
        elif name in CORRUPTION_GROUPS:
            chosen.update(CORRUPTION_GROUPS[name])
        elif name in CORRUPTIONS:
            chosen.add(name)
        else:
            raise ValueError(
                f"corruption {name!r} is not one of {', '.join(CORRUPTIONS)}, nor a "
                f"group of them: all, {', '.join(CORRUPTION_GROUPS)}"
            )
    return [name for name in CORRUPTIONS if name in chosen]


def corrupted_pipeline(
    pipeline: Pipeline, corruption: str, severity: int
) -> List[Dict[str, Any]]:
    """Return a test pipeline with ``CommonCorruption`` after the loading.

    The corruption comes where the benchmarks have it: for classification (a pipeline
    that ends with ``PackInputs`` or ``PackMultiTaskInputs``) after the last transform
    that sets the size, as ImageNet-C's images are corrupted at the size that the
    network sees; for everything else right after the image is loaded, at its full size.
    A classifier's pipeline that loads nothing gets RGB images from its dataset, as
    CIFAR's does.

    Args:
        pipeline: Configs of transforms; not changed.
        corruption: One of :data:`CORRUPTIONS`.
        severity: 1 to 5.

    Raises:
        ValueError: The pipeline loads no image, or leaves a classifier's as a PIL
            image.
    """
    kinds = [kind_of(item).name for item in pipeline]
    loads = [number for number, kind in enumerate(kinds) if kind.startswith("Load")]
    images = [number for number in loads if "Annotation" not in kinds[number]]
    classifies = "PackInputs" in kinds or "PackMultiTaskInputs" in kinds
    given = classifies and not loads  # by the dataset
    if not images and not given:
        raise ValueError(
            f"the test pipeline [{', '.join(kinds)}] loads no image that could be "
            "corrupted: no transform named Load..."
        )
    place = images[-1] if images else -1
    if classifies:
        sized = [
            n for n, item in enumerate(pipeline) if transform_size(item) is not None
        ]
        place = max([place, *sized])
        # torchvision's transforms take and give PIL images, which no corruption does.
        turned = [k for k in kinds[: place + 1] if k in ("NumpyToPIL", "PILToNumpy")]
        if turned[-1:] == ["NumpyToPIL"]:
            if "PILToNumpy" not in kinds[place + 1 :]:
                raise ValueError(
                    f"the test pipeline [{', '.join(kinds)}] must turn its images back "
                    "into arrays (PILToNumpy) to corrupt them at the network's size"
                )
            place = kinds.index("PILToNumpy", place + 1)
    result: List[Any] = [copy.copy(item) for item in pipeline]
    added = dict(type="CommonCorruption", corruption=corruption, severity=severity)
    if given:
        added["channel_order"] = "rgb"
    return [*result[: place + 1], added, *result[place + 1 :]]


def summarize_corruptions(
    clean: Optional[float], values: Mapping[Tuple[str, int], float]
) -> Dict[str, Any]:
    """Return the mean metric under corruption, and what it loses against clean images.

    Args:
        clean: The metric on clean images; None: unknown.
        values: The metric by ``(corruption, severity)``.

    Returns:
        ``by_corruption``, the mean over severities of each; ``mean``, the mean of
        these; ``relative_drop``, ``100 * (clean - mean) / clean`` in percent, None
        where ``clean`` is unknown or 0.
    """
    names = list(dict.fromkeys(name for name, _ in values))
    by_corruption = {}
    for name in names:
        own = [value for (other, _), value in values.items() if other == name]
        by_corruption[name] = sum(own) / len(own)
    mean = sum(by_corruption.values()) / len(by_corruption)
    drop = None if not clean else 100 * (clean - mean) / clean
    return dict(clean=clean, mean=mean, relative_drop=drop, by_corruption=by_corruption)
