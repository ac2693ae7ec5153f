"""Short names for :class:`MultiScaleTransform` with common transforms."""

from __future__ import annotations

from typing import Any, Optional

from mmengine.registry import TRANSFORMS

from .multi_scale_transform import MultiScaleTransform


class _Shorthand(MultiScaleTransform):
    """A :class:`MultiScaleTransform` of one type, whose arguments it takes directly."""

    kind: str

    def __init__(
        self,
        size_arg: Any = None,
        order: Optional[str] = None,
        size_ratio: Any = None,
        min_box_side: float = 1.0,
        **kwargs: Any,
    ) -> None:
        transform = dict(type=self.kind, **kwargs)
        super().__init__(transform, size_arg, order, size_ratio, min_box_side)


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

    ``skip_type_keys`` of mmdet's ``MultiImageMixDataset`` and ``YOLOXModeSwitchHook``
    can name it by its own type.
    """

    kind = "Mosaic"


@TRANSFORMS.register_module()
class MultiScaleMixUp(_Shorthand):
    """``MultiScaleTransform(transform=dict(type='MixUp', **kwargs))``."""

    kind = "MixUp"


@TRANSFORMS.register_module()
class MultiScaleRandomAffine(_Shorthand):
    """``MultiScaleTransform(transform=dict(type='RandomAffine', **kwargs))``.

    After a mosaic, whose canvas has twice the sides, its border cuts the canvas down to
    the size. Like :class:`MultiScaleMosaic` it can be named by its own type.
    """

    kind = "RandomAffine"


SHORTHANDS = {kind.kind: kind.__name__ for kind in _Shorthand.__subclasses__()}
"""Name of the shorthand of each transform that has one."""
