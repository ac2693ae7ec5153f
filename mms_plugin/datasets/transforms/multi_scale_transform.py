"""Any library's transform, at the size of the batch."""

from __future__ import annotations

import copy
import functools
import importlib.util
import inspect
import math
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

from mmengine.registry import TRANSFORMS, DefaultScope

from ...host_versions import HOSTS
from ...sampling.sizes import Size
from ..multi_scale_dataset import TARGET_SIZE, size_in_use

ORDERS = ("wh", "hw", "short", "long")

# Where the size goes in the transforms that the libraries ship, and in what order.
# (library, class) -> (size_arg, order); a subclass is found by its base.
_DEFAULTS: Dict[Tuple[str, str], Tuple[Union[str, Tuple[str, str]], str]] = {
    ("mmcv", "Resize"): ("scale", "wh"),
    ("mmcv", "RandomResize"): ("scale", "wh"),
    ("mmcv", "Pad"): ("size", "wh"),
    ("mmcv", "CenterCrop"): ("crop_size", "wh"),
    ("mmdet", "FixShapeResize"): (("width", "height"), "wh"),
    ("mmdet", "ResizeShortestEdge"): ("scale", "short"),
    ("mmdet", "RandomCrop"): ("crop_size", "wh"),
    ("mmdet", "RandomCenterCropPad"): ("crop_size", "wh"),
    ("mmdet", "Mosaic"): ("img_scale", "wh"),
    ("mmdet", "CachedMosaic"): ("img_scale", "wh"),
    ("mmdet", "MixUp"): ("img_scale", "wh"),
    ("mmdet", "CachedMixUp"): ("img_scale", "wh"),
    ("mmdet", "RandomAffine"): ("border", "wh"),
    ("mmpretrain", "RandomResizedCrop"): ("scale", "hw"),
    ("mmpretrain", "RandomCrop"): ("crop_size", "hw"),
    ("mmpretrain", "CenterCrop"): ("crop_size", "wh"),
    ("mmpretrain", "ResizeEdge"): ("scale", "short"),
    ("mmpretrain", "EfficientNetRandomCrop"): ("scale", "short"),
    ("mmpretrain", "EfficientNetCenterCrop"): ("crop_size", "short"),
    ("mmpretrain", "MAERandomResizedCrop"): ("size", "hw"),
    ("mmpretrain", "RandomTranslatePad"): ("size", "hw"),
    ("mmpretrain", "RandomResizedCropAndInterpolationWithTwoPic"): ("size", "hw"),
}


def default_size_arg(
    library: str, name: str
) -> Optional[Tuple[Union[str, Tuple[str, str]], str]]:
    """``(size_arg, order)`` of a transform that a library ships, ``None`` of others.

    Args:
        library: The package that defines it, such as ``'mmcv'``.
        name: Name of its class.
    """
    return _DEFAULTS.get((library, name))


@TRANSFORMS.register_module()
class MultiScaleTransform:
    """A transform at the size of the batch, whichever library it comes from.

    It reads ``results['target_size']``, which :class:`MultiScaleDataset` writes, and
    passes the sample through the transform built for that size: one instance for each
    size, built on first use in the scope that this one was built in.

    Args:
        transform: Config of the transform, without its size. A size that is there is
            replaced.
        size_arg: The transform's argument that takes the size; a dotted path reaches
            into nested configs (``'transforms.0.size'``), and a pair names one
            argument for each of the two sides. Defaults to what the transforms of
            mmcv, mmdet and mmpretrain take, ``'scale'`` for others.
        order: ``'wh'`` or ``'hw'``, the order of the two sides; ``'short'`` or
            ``'long'`` gives that side alone, as an ``int``. Defaults likewise,
            ``'wh'`` for others.
        size_ratio: The transform's size relative to the batch's, a number or
            ``(height, width)``; rounded to whole pixels. ``8 / 7`` resizes to 256 what
            is cropped to 224, ``-0.5`` is the border that mmdet's ``RandomAffine``
            cuts off a mosaic. Defaults to 1.

    Raises:
        ValueError: ``transform`` is no config, or has no such argument; ``order`` is
            unknown; a sample comes without a size.
    """

    def __init__(
        self,
        transform: Mapping,
        size_arg: Union[None, str, Sequence[str]] = None,
        order: Optional[str] = None,
        size_ratio: Union[float, Sequence[float]] = 1.0,
    ) -> None:
        if not isinstance(transform, Mapping) or "type" not in transform:
            raise ValueError(
                "transform must be a config such as dict(type='Resize', "
                f"keep_ratio=True), but got {transform!r}"
            )
        if order is not None and order not in ORDERS:
            raise ValueError(f"order must be one of {list(ORDERS)}, but got {order!r}")
        scope = DefaultScope.get_current_instance()
        self._scope = None if scope is None else scope.scope_name
        self._config = copy.deepcopy(dict(transform))
        # Resolved here: a worker started afresh may not have the user's module.
        self._class = _resolve(self._config["type"])
        default_arg, default_order = _defaults_of(self._class)
        self.size_arg = _parse_size_arg(default_arg if size_arg is None else size_arg)
        self.order = order or default_order
        if len(self.size_arg) == 2 and self.order not in ("wh", "hw"):
            raise ValueError(
                "order must be 'wh' or 'hw' where size_arg names two arguments, "
                f"but got {self.order!r}"
            )
        for path in self.size_arg:
            self._check_argument(path, size_arg)
        self.size_ratio = _parse_size_ratio(size_ratio)
        self._built: Dict[Size, Any] = {}

    def __call__(self, results: Dict) -> Any:
        """Pass a sample through the transform at its size."""
        size = results.get(TARGET_SIZE) or size_in_use()
        if size is None:
            raise ValueError(
                f"results['{TARGET_SIZE}'] must be set for {self!r}: wrap the data "
                "set, train_dataloader.dataset=dict(type='MultiScaleDataset', "
                "dataset=dict(...)), and draw its batches with train_dataloader."
                "batch_sampler=dict(type='MultiScaleVariableBatchSampler', ...)"
            )
        return self.at(size)(results)

    transform = __call__

    def at(self, size: Size) -> Any:
        """The transform at ``(height, width)`` in pixels; the same object each time."""
        size = (int(size[0]), int(size[1]))
        if size not in self._built:
            config = self.config_at(size)
            config["type"] = self._class
            with TRANSFORMS.switch_scope_and_registry(self._scope) as registry:
                self._built[size] = registry.build(config)
        return self._built[size]

    def config_at(self, size: Size) -> Dict:
        """The config of the transform at ``(height, width)`` in pixels."""
        config = copy.deepcopy(self._config)
        # Half a pixel rounds up at every size; round() would go to the even one.
        size = (
            math.floor(size[0] * self.size_ratio[0] + 0.5),
            math.floor(size[1] * self.size_ratio[1] + 0.5),
        )
        sides = (size[1], size[0]) if self.order == "wh" else (size[0], size[1])
        if len(self.size_arg) == 2:
            for path, side in zip(self.size_arg, sides):
                _set(config, path, side)
        elif self.order in ("short", "long"):
            _set(
                config, self.size_arg[0], (min if self.order == "short" else max)(size)
            )
        else:
            _set(config, self.size_arg[0], sides)
        return config

    def __getattr__(self, name: str) -> Any:
        # Mixing transforms are asked which images they want, whatever the size.
        if name in ("get_indexes", "get_indices") and _defines(self._class, name):
            size = size_in_use()
            built: List[Any] = list(self._built.values())
            chosen = self.at(size) if size else built[0] if built else None
            if chosen is not None:
                return getattr(chosen, name)
        raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")

    def __getstate__(self) -> Dict:
        return {**self.__dict__, "_built": {}}

    def __setstate__(self, state: Dict) -> None:
        self.__dict__.update(state)

    def __repr__(self) -> str:
        size_arg = self.size_arg[0] if len(self.size_arg) == 1 else self.size_arg
        ratio = ""
        if self.size_ratio != (1.0, 1.0):
            ratio = f", size_ratio={self.size_ratio}"
        return (
            f"{type(self).__name__}(transform={self._config}, "
            f"size_arg={size_arg!r}, order={self.order!r}{ratio})"
        )

    def _check_argument(self, path: str, size_arg: Any) -> None:
        name, _, rest = path.partition(".")
        parameters, takes_any = _parameters(self._class)
        # A default is a guess for what it does not name: not to be lost in **kwargs.
        if name not in parameters and not (takes_any and size_arg is not None):
            raise ValueError(
                f"size_arg must be an argument of {self._config['type']!r}, one of "
                f"{sorted(parameters)}, but got {path!r}"
            )
        if rest:
            # A path into nested configs must lead somewhere.
            try:
                _set(copy.deepcopy(self._config), path, 0)
            except (KeyError, IndexError, TypeError, ValueError):
                raise ValueError(
                    f"size_arg must lead to a nested config of the transform, but got "
                    f"{path!r} for {self._config!r}"
                ) from None


def _resolve(kind: Any) -> Any:
    if not isinstance(kind, str):
        return kind
    with TRANSFORMS.switch_scope_and_registry(None) as registry:
        found = registry.get(kind)
        scope = registry.scope
    if found is not None:
        return found
    library = kind.partition(".")[0] if "." in kind else ""
    missing = [
        host.pip_command
        for host in HOSTS
        # Without a library in its name it is looked for in the scope's and in mmcv.
        if host.name in ({library} if library else {scope, "mmcv"})
        and importlib.util.find_spec(host.name) is None
    ]
    remedy = f"run: {' and '.join(missing)}" if missing else "name its module there"
    raise ValueError(
        f"transform's type must be registered, but {kind!r} is neither in the registry "
        f"of transforms nor imported by custom_imports; {remedy}"
    )


def _wrapped_class(kind: Any) -> Any:
    """The class that takes the arguments: mmpretrain registers torchvision's so."""
    if isinstance(kind, functools.partial):
        return kind.keywords.get("transform", kind)
    return kind


def _defaults_of(kind: Any) -> Tuple[Union[str, Tuple[str, str]], str]:
    wrapped = _wrapped_class(kind)
    if wrapped is not kind:
        return "size", "hw"
    for base in inspect.getmro(kind) if inspect.isclass(kind) else ():
        key = (base.__module__.partition(".")[0], base.__name__)
        if key in _DEFAULTS:
            return _DEFAULTS[key]
    return "scale", "wh"


def _defines(kind: Any, name: str) -> bool:
    # Looked up without its descriptor: mmcv's work on instances alone.
    return any(name in vars(base) for base in getattr(kind, "__mro__", ()))


def _parse_size_arg(value: Any) -> Tuple[str, ...]:
    paths = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    if not 1 <= len(paths) <= 2 or not all(isinstance(p, str) and p for p in paths):
        raise ValueError(
            f"size_arg must be the name of an argument, or a pair of names, "
            f"but got {value!r}"
        )
    return paths


def _parse_size_ratio(value: Any) -> Tuple[float, float]:
    pair = tuple(value) if isinstance(value, (list, tuple)) else (value, value)
    if len(pair) != 2 or not all(
        isinstance(r, (int, float)) and not isinstance(r, bool) and math.isfinite(r)
        for r in pair
    ):
        raise ValueError(
            "size_ratio must be a number or a pair of numbers (height, width), "
            f"but got {value!r}"
        )
    return float(pair[0]), float(pair[1])


def _parameters(kind: Any) -> Tuple[List[str], bool]:
    """Names of the arguments that ``kind`` takes, and whether it takes any other."""
    parameters = inspect.signature(_wrapped_class(kind)).parameters.values()
    named = [
        p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    ]
    return named, any(p.kind is p.VAR_KEYWORD for p in parameters)


def _set(config: Any, path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for key in parents:
        config = config[int(key)] if isinstance(config, list) else config[key]
    if isinstance(config, list):
        config[int(last)] = value
    else:
        config[last] = value
