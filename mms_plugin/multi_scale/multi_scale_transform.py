"""Run any library's transform at the size of the batch."""

from __future__ import annotations

import copy
import importlib
import importlib.util
import inspect
import math
from contextlib import suppress
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Union

from mmengine.registry import TRANSFORMS

from ..registry import library_scope
from ..utils.host_versions import HOSTS, install_command
from ..utils.random_state import kept_random_states, mixed_seed, set_seeds
from ..utils.setting_error import SettingError
from ..utils.validation import is_number
from .multi_scale_dataset import size_in_use
from .size_argument import (
    check_size_arg,
    is_known,
    parse_size_arg,
    parse_size_ratio,
    scaled_size,
    set_size,
    size_arg_of,
    size_ratio_of,
)
from .size_losses import loading_sample
from .sizes import TARGET_SIZE, Size, size_text
from .visible_instances import keep_instances, visible_instances

ORDERS = ("wh", "hw", "short", "long")


@TRANSFORMS.register_module()
class MultiScaleTransform:
    """Run a transform of any library at the size of the batch.

    The size is ``results['target_size']``, which :class:`MultiScaleDataset` writes. One
    transform is built for each size, on first use, in the scope that this one was built
    in.

    Instances that are not visible afterwards are removed from the sample, with their
    boxes, labels, masks, ignore flags and ids. For a sample that loses all of them,
    the ``filter_cfg`` of the dataset decides: with ``filter_empty_gt=True`` MMEngine
    loads another image at the same size, otherwise the image stays without objects.

    Args:
        transform: Config of the transform. A size in it is replaced.
        size_arg: Argument of the transform that takes the size; a dotted path reaches
            into nested configs (``'transforms.0.size'``), and a pair names one
            argument for each of the two sides. Defaults to the argument of the
            transforms of mmcv, mmdet, mmpretrain and mmseg, and to ``'scale'`` for
            others.
        order: ``'wh'`` or ``'hw'``, the order of the two sides; ``'short'`` or
            ``'long'`` gives only that side, as an ``int``. Defaults to the order of the
            transforms of these libraries, and to ``'wh'`` for others.
        size_ratio: The transform's size relative to the batch's, a number or
            ``(height, width)``; rounded to whole pixels. With ``8 / 7`` a batch of
            size 224 is resized to 256 before it is cropped. Defaults to -0.5 for
            mmdet's ``RandomAffine``, whose ``border`` after a ``Mosaic`` cuts the
            canvas down to the size, and to 1 for others.
        min_box_side: Smallest width and height of a box after the transform, in pixels.
            Smaller instances, and those whose mask has no pixel, are removed; 0 keeps
            all. Defaults to 1, as mmdet's ``CocoDataset`` has it at the original size.

    Raises:
        ValueError: An argument is not valid, a sample has no size, or an image has a
            side of zero pixels at the size.
    """

    def __init__(
        self,
        transform: Mapping,
        size_arg: Union[None, str, Sequence[str]] = None,
        order: Optional[str] = None,
        size_ratio: Union[None, float, Sequence[float]] = None,
        min_box_side: float = 1.0,
    ) -> None:
        if not isinstance(transform, Mapping) or "type" not in transform:
            raise ValueError(
                "transform must be a config such as dict(type='Resize', "
                f"keep_ratio=True), but got {transform!r}"
            )
        if order is not None and order not in ORDERS:
            raise ValueError(f"order must be one of {list(ORDERS)}, but got {order!r}")
        if not is_number(min_box_side) or not 0 <= min_box_side < math.inf:
            raise ValueError(
                "min_box_side must be a number of pixels of at least 0, "
                f"but got {min_box_side!r}"
            )
        self._scope = library_scope()
        self._config = copy.deepcopy(dict(transform))
        # Resolved here, since a spawned worker may not have imported the user's module.
        self._class = _resolve(self._config["type"])
        self._modules = _nested_modules(self._config)
        default_arg, default_order = size_arg_of(self._class)
        self.size_arg = parse_size_arg(default_arg if size_arg is None else size_arg)
        self.order = order or default_order
        self.min_box_side = min_box_side
        if len(self.size_arg) == 2 and self.order not in ("wh", "hw"):
            raise ValueError(
                "order must be 'wh' or 'hw' where size_arg names two arguments, "
                f"but got {self.order!r}"
            )
        for path in self.size_arg:
            self._check_argument(path, size_arg)
        if size_ratio is None:
            size_ratio = size_ratio_of(self._class)
        self.size_ratio = parse_size_ratio(size_ratio)
        self._built: Dict[Size, Any] = {}

    def __call__(self, results: Dict) -> Any:
        """Pass a sample through the transform at its size."""
        # A sample from a user's cache has the size that it was loaded at first.
        size = size_in_use() or results.get(TARGET_SIZE)
        if size is None:
            raise SettingError(
                f"results['{TARGET_SIZE}'] must be set for {self!r}: {_no_size()}"
            )
        shape = _image_shape(results)
        try:
            results = self.at(size)(results)
        except Exception as error:
            if shape is not None and self._shortest_side(shape, size) < 1:
                raise self._no_side_left(shape, size) from error
            raise
        if results is None:
            return None
        if shape is not None and 0 in (_image_shape(results) or ()):
            raise self._no_side_left(shape, size)
        # A crop that leaves no objects decides itself whether the image stays.
        boxes = results.get("gt_bboxes") if isinstance(results, dict) else None
        if self.min_box_side == 0 or boxes is None or len(boxes) == 0:
            return results
        # ProposalBroadcaster passes the proposals, too, as if they were objects.
        if results.get("proposals") is boxes:
            return results
        return self._keep_visible(results)

    transform = __call__

    def __iter__(self) -> Iterator[Any]:
        """Yield the transform at the size of the sample that is being loaded.

        mmcv's ``TransformBroadcaster(share_random_params=True)`` iterates over its
        transforms to let all images of a sample share their random draws.
        """
        size = size_in_use()
        if size is not None:
            yield self.at(size)

    def _keep_visible(self, results: Dict) -> Optional[Dict]:
        """Remove instances that are too small; ``None`` drops the image."""
        keep = visible_instances(results, self.min_box_side)
        loaded = loading_sample()
        if loaded is not None:
            loaded.note_boxes(len(keep), int(keep.sum()), self.min_box_side)
            if loaded.drops_empty and not keep.any():
                if results.get("proposals") is None:
                    return None
                loaded.drop = True  # ProposalBroadcaster does not take None
        if not keep.all():
            keep_instances(results, keep)
        return results

    def at(self, size: Size) -> Any:
        """Return the transform at ``(height, width)`` in pixels, built once."""
        size = (int(size[0]), int(size[1]))
        if size not in self._built:
            config = self.config_at(size)
            config["type"] = self._class
            # What it draws when it is built does not depend on the first sample.
            with (
                kept_random_states(),
                TRANSFORMS.switch_scope_and_registry(self._scope) as registry,
            ):
                set_seeds(mixed_seed(*size), all_devices=False)
                try:
                    self._built[size] = registry.build(config)
                except AssertionError as error:  # may have no message
                    raise ValueError(
                        f"transform {self._config} cannot be built with "
                        f"{'.'.join(self.size_arg)} of {size_text(size)} (height x "
                        f"width): {str(error) or 'it does not accept that size'}"
                    ) from error
        return self._built[size]

    def config_at(self, size: Size) -> Dict:
        """Return the config of the transform at ``(height, width)`` in pixels."""
        config = copy.deepcopy(self._config)
        size = scaled_size(size, self.size_ratio)
        sides = (size[1], size[0]) if self.order == "wh" else (size[0], size[1])
        if len(self.size_arg) == 2:
            for path, side in zip(self.size_arg, sides):
                set_size(config, path, side)
        elif self.order in ("short", "long"):
            set_size(
                config, self.size_arg[0], (min if self.order == "short" else max)(size)
            )
        else:
            set_size(config, self.size_arg[0], sides)
        # "absolute_range" draws each side of the crop between the two numbers; two
        # different ratios ask for that, a single size that is not square does not.
        one_size = size[0] != size[1] and self.size_ratio[0] == self.size_ratio[1]
        if config.get("crop_type") == "absolute_range" and one_size:
            config["crop_type"] = "absolute"
        return config

    def __getattr__(self, name: str) -> Any:
        # MultiImageMixDataset asks mixing transforms for the images to mix in.
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
        for module in state.get("_modules", ()):  # a spawned worker may not know them
            with suppress(ImportError):
                importlib.import_module(module)
        self.__dict__.update(state)

    def __repr__(self) -> str:
        size_arg = self.size_arg[0] if len(self.size_arg) == 1 else self.size_arg
        ratio = ""
        if self.size_ratio != (1.0, 1.0):
            ratio = f", size_ratio={self.size_ratio}"
        return (
            f"{type(self).__name__}(transform={self._config}, "
            f"size_arg={size_arg!r}, order={self.order!r}{ratio}, "
            f"min_box_side={self.min_box_side!r})"
        )

    def _shortest_side(self, shape: Size, size: Size) -> float:
        """Return the shortest side that an image may have when it fits into a size."""
        ratios = self._config.get("ratio_range") or (1.0,)
        return float(min(shape) * max(size) / max(max(shape), 1) * min(ratios))

    def _no_side_left(self, shape: Size, size: Size) -> SettingError:
        return SettingError(
            f"sizes must leave at least one pixel of each side of an image, but at "
            f"(height, width) = {size} {self._config['type']} makes a side of zero of "
            f"an image of {shape}; leave out the smallest sizes, set keep_ratio=False, "
            "or leave out the image, as filter_cfg=dict(min_size=...) does"
        )

    def _check_argument(self, path: str, size_arg: Any) -> None:
        # For a class that is not known a default is a guess, which **kwargs would hide.
        named = size_arg is not None or is_known(self._class)
        check_size_arg(path, self._config, self._class, kwargs_count=named)


def _no_size() -> str:
    """Return why a sample has no size, and what to do."""
    draw = (
        "draw its batches with train_dataloader.batch_sampler="
        "dict(type='MultiScaleVariableBatchSampler', ...)"
    )
    if loading_sample() is not None:
        return (
            f"MultiScaleDataset was given a plain index, which has no size. {draw}. To "
            "look at them, run `mms browse` in place of a loop over the dataset"
        )
    return (
        "wrap the dataset, train_dataloader.dataset=dict(type='MultiScaleDataset', "
        f"dataset=dict(...)), and {draw}. A pipeline for validation or test has the "
        "plain transform in its place"
    )


def _resolve(kind: Any) -> Any:
    """Return the class of a transform's type, or what else is registered for it."""
    if not isinstance(kind, str):
        return kind
    with TRANSFORMS.switch_scope_and_registry(None) as registry:
        found = registry.get(kind)
        scope = registry.scope
    if found is not None:
        return found
    library = kind.partition(".")[0] if "." in kind else ""
    missing = [
        install_command(host.name)
        for host in HOSTS
        # A name without a library is searched in the scope's library and in mmcv.
        if host.name in ({library} if library else {scope, "mmcv"})
        and importlib.util.find_spec(host.name) is None
    ]
    remedy = f"run: {' and '.join(missing)}" if missing else "name its module there"
    raise ValueError(
        f"transform's type must be registered, but {kind!r} is neither in the registry "
        f"of transforms nor imported by custom_imports; {remedy}"
    )


def _nested_modules(config: Any) -> List[str]:
    """Return the modules of the transforms inside a transform's config."""
    found: List[str] = []
    values = config.values() if isinstance(config, Mapping) else config
    for value in values:
        if isinstance(value, Mapping) and isinstance(value.get("type"), str):
            with TRANSFORMS.switch_scope_and_registry(None) as registry:
                kind = registry.get(value["type"])
            found += [kind.__module__] if inspect.isclass(kind) else []
        if isinstance(value, (Mapping, list, tuple)):
            found += _nested_modules(value)
    return found


def _image_shape(results: Any) -> Optional[Size]:
    image = results.get("img") if isinstance(results, dict) else None
    shape = getattr(image, "shape", None)
    return None if shape is None or len(shape) < 2 else (int(shape[0]), int(shape[1]))


def _defines(kind: Any, name: str) -> bool:
    # Not getattr: mmcv's descriptors need an instance.
    return any(name in vars(base) for base in getattr(kind, "__mro__", ()))
