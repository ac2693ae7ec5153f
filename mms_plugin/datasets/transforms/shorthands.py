"""Short names for the multi-scale twins that most configs need."""

from __future__ import annotations

from typing import Any, Optional

from mmengine.registry import TRANSFORMS

from .multi_scale_transform import MultiScaleTransform


class _Shorthand(MultiScaleTransform):
    kind: str

    def __init__(
        self, size_arg: Any = None, order: Optional[str] = None, **kwargs: Any
    ) -> None:
        super().__init__(dict(type=self.kind, **kwargs), size_arg, order)


@TRANSFORMS.register_module()
class MultiScaleResize(_Shorthand):
    """``MultiScaleTransform(transform=dict(type='Resize', **kwargs))``."""

    kind = "Resize"


@TRANSFORMS.register_module()
class MultiScaleRandomCrop(_Shorthand):
    """``MultiScaleTransform(transform=dict(type='RandomCrop', **kwargs))``."""

    kind = "RandomCrop"


@TRANSFORMS.register_module()
class MultiScaleRandomResizedCrop(_Shorthand):
    """``MultiScaleTransform(transform=dict(type='RandomResizedCrop', **kwargs))``."""

    kind = "RandomResizedCrop"


@TRANSFORMS.register_module()
class MultiScalePad(_Shorthand):
    """``MultiScaleTransform(transform=dict(type='Pad', **kwargs))``."""

    kind = "Pad"


@TRANSFORMS.register_module()
class MultiScaleMosaic(_Shorthand):
    """``MultiScaleTransform(transform=dict(type='Mosaic', **kwargs))``.

    Under a name of its own, so that ``skip_type_keys`` of mmdet's
    ``MultiImageMixDataset`` and ``YOLOXModeSwitchHook`` can name it.
    """

    kind = "Mosaic"


@TRANSFORMS.register_module()
class MultiScaleMixUp(_Shorthand):
    """``MultiScaleTransform(transform=dict(type='MixUp', **kwargs))``."""

    kind = "MixUp"
