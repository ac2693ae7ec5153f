"""One of ImageNet-C's corruptions, in any library's pipeline."""

from __future__ import annotations

import functools
import inspect
import zlib
from typing import Any, Callable, Dict

import numpy as np
from mmengine.registry import TRANSFORMS

from ..utils.setting_error import SettingError
from .corruptions import CORRUPTIONS, SEVERITIES

__all__ = ["CommonCorruption", "load_corrupt"]

_PIP_COMMAND = 'pip install "imagecorruptions-imaug>=1.1.5"'
# These draw from generators of their own and take a seed for them.
_SEEDED = ("impulse_noise", "glass_blur")
_LEAST_SIDE = 32


@functools.cache
def load_corrupt() -> Callable[..., np.ndarray]:
    """Return ``imagecorruptions.corrupt``, of the release that takes seeds.

    Raises:
        ImportError: It is not installed, or is the old package of the same name,
            which does not run on NumPy 2.
    """
    try:
        from imagecorruptions import corrupt
    except ImportError as error:
        raise ImportError(
            "corruptions need the package imagecorruptions-imaug, which cannot be "
            f"imported ({error}); run: {_PIP_COMMAND}"
        ) from error
    parameters = inspect.signature(corrupt).parameters.values()
    if not any(item.kind is item.VAR_KEYWORD for item in parameters):
        raise ImportError(
            "the package imagecorruptions is installed, whose corruptions cannot be "
            "repeated and do not run on NumPy 2; run: pip uninstall imagecorruptions "
            f"&& {_PIP_COMMAND}"
        )
    return corrupt


@functools.cache
def _compile_glass_blur() -> None:
    image = np.zeros((_LEAST_SIDE, _LEAST_SIDE, 3), np.uint8)
    load_corrupt()(image, corruption_name="glass_blur", severity=1, seed=0)


@TRANSFORMS.register_module()
class CommonCorruption:
    """Corrupt ``results['img']`` as ImageNet-C does.

    The random numbers depend only on the pixels of the image, the corruption and its
    severity: not on the order of the images or on the workers. NumPy's global generator
    is left as it was.

    Needs ``imagecorruptions-imaug`` (``pip install "imagecorruptions-imaug>=1.1.5"``),
    imported with the first instance.

    Args:
        corruption: One of :data:`~mms_plugin.evaluation.corruptions.CORRUPTIONS`.
        severity: 1 to 5. Defaults to 1.
        channel_order: Of the images: ``'bgr'``, as MMEngine's libraries load them, or
            ``'rgb'``, as mmpretrain's CIFAR has them. Defaults to ``'bgr'``.

    Raises:
        ValueError: Unknown corruption, severity or order; no image, or one that is not
            uint8, or has a side below 32 pixels.
        ImportError: The package is not installed.
    """

    def __init__(
        self, corruption: str, severity: int = 1, channel_order: str = "bgr"
    ) -> None:
        if corruption not in CORRUPTIONS:
            raise ValueError(
                f"corruption must be one of {', '.join(CORRUPTIONS)}, but got "
                f"{corruption!r}"
            )
        if severity not in SEVERITIES or isinstance(severity, bool):
            raise ValueError(f"severity must be from 1 to 5, but got {severity!r}")
        if channel_order not in ("bgr", "rgb"):
            raise ValueError(
                f"channel_order must be 'bgr' or 'rgb', but got {channel_order!r}"
            )
        self.channel_order = channel_order
        self.corruption = corruption
        self.severity = severity
        # A missing package is not first noticed by a worker, and what Numba compiles
        # is compiled before the workers are forked, not by each of them.
        load_corrupt()
        if corruption == "glass_blur":
            _compile_glass_blur()

    def __call__(self, results: Dict[str, Any]) -> Dict[str, Any]:
        """Replace ``results['img']``, ``(height, width, 3)`` uint8."""
        if "img" not in results:
            raise SettingError(
                "there is no image to corrupt: CommonCorruption comes after the "
                "transform that loads it"
            )
        results["img"] = self.apply(results["img"])
        return results

    transform = __call__

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Return the corrupted image, of the same shape.

        Args:
            image: ``(height, width, 3)`` uint8, or ``(height, width)``; not changed.
        """
        channels = 1 if image.ndim == 2 else image.shape[2]
        if image.dtype != np.uint8 or channels not in (1, 3):
            raise SettingError(
                f"an image to corrupt must be uint8, but is {image.dtype} of "
                f"{channels} channels: CommonCorruption({self.corruption!r}) needs one "
                "or three channels of 8 bits. It comes before what normalizes, with "
                "LoadImageFromFile(to_float32=False); leave corruptions out for other "
                "data"
            )
        if min(image.shape[:2]) < _LEAST_SIDE:
            raise SettingError(
                f"an image of {image.shape[0]} x {image.shape[1]} pixels is too small "
                f"to corrupt: both sides must have at least {_LEAST_SIDE}"
            )
        color = image.ndim == 3 and image.shape[2] == 3
        # The package takes RGB; snow, frost and JPEG are not alike in both orders.
        turned = color and self.channel_order == "bgr"
        ordered = np.ascontiguousarray(image[..., ::-1] if turned else image)
        seed = zlib.crc32(
            np.ascontiguousarray(image).tobytes(),
            zlib.crc32(f"{self.corruption}/{self.severity}".encode()),
        )
        extra = dict(seed=seed) if self.corruption in _SEEDED else {}
        before = np.random.get_state()
        np.random.seed(seed)
        try:
            corrupted = load_corrupt()(
                ordered,
                corruption_name=self.corruption,
                severity=self.severity,
                **extra,
            )
        finally:
            np.random.set_state(before)
        if color:
            return np.ascontiguousarray(corrupted[..., ::-1] if turned else corrupted)
        return np.ascontiguousarray(corrupted[..., 0].reshape(image.shape))

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(corruption={self.corruption!r}, "
            f"severity={self.severity}, channel_order={self.channel_order!r})"
        )
