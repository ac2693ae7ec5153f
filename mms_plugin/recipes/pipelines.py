"""Convert training pipelines so that their images have the size of the batch.

First, all pipelines that an image passes are read to decide what to do with each
transform. Then, the pipelines are rewritten. Nothing of the libraries is imported.
"""

from __future__ import annotations

import copy
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

from ..multi_scale.shorthands import SHORTHANDS
from ..utils.config_types import kind_of
from ..utils.nested_transforms import APPLY, CHOICE
from .config_edits import RecipeError, Report, assign, nested_components, short
from .pipeline_paths import (
    Path,
    Pipeline,
    branches,
    is_transparent,
    joined,
    paths_through,
    walk,
)
from .size_transforms import (
    ALBUMENTATIONS,
    BORDER,
    CUT,
    RESIZE,
    Sides,
    SizeUse,
    read_size,
    resize_config,
)

# Sizes that stand for a range.
_SPREAD = 7

# What happens to a transform, see _Step.
_FOLLOW, _REPLACE, _CHOOSE, _PUT_BEHIND = "follow", "replace", "choose", "put behind"


class _Step(NamedTuple):
    """A transform to convert.

    Attributes:
        place: Its path in the config.
        transform: Its config.
        use: How it uses a size.
        action: ``_FOLLOW``: Scale its size with the size of the batch. ``_REPLACE``: It
            draws from several sizes, or enlarges an image above its size with no crop
            behind it; replace it by a resize to the size of the batch.
            ``_CHOOSE``: It draws from several sizes before a crop; let it draw from the
            same sizes relative to that of the batch. ``_PUT_BEHIND``: Keep it, and put
            a resize behind it.
        reference: Size of its pipeline, to which its own size keeps its ratio;
            ``None``: that of all pipelines.
    """

    place: str
    transform: Mapping
    use: SizeUse
    action: str = _FOLLOW
    reference: Optional[Sides] = None


class DrawnSizes(NamedTuple):
    """Sizes that a transform draws from before the conversion.

    Attributes:
        sizes: ``(height, width)`` in pixels, or the two ends of a range.
        is_range: ``sizes`` are the ends of a range.
        keep_ratio: ``sizes`` are upper bounds ``(short side, long side)``.
    """

    sizes: Tuple[Sides, ...]
    is_range: bool
    keep_ratio: bool


class Steps:
    """Converter of all pipelines of a config.

    Call :meth:`read` for every chain of pipelines first, then :meth:`rewrite`.

    Args:
        scope: Scope of the config, such as ``'mmdet'``.
        skipped: Names of transforms that a dataset or a hook may skip.
        base_size: Size that the batch size is meant for, used if the transforms draw
            from several sizes; ``None`` if unknown.
        sized_later: The data preprocessor resizes the batch, so that pipelines need no
            resize. Defaults to False.

    Attributes:
        size: Output size ``(height, width)`` of all pipelines; ``None`` if they draw
            it.
        drawn: Sizes that the transforms draw from, without duplicates.
        dense: Whether annotations are loaded, as in detection and segmentation.
    """

    def __init__(
        self,
        scope: str,
        skipped: Set[str],
        base_size: Optional[Sides],
        sized_later: bool = False,
    ) -> None:
        self.sized_later = sized_later
        self.scope = scope
        self.skipped = skipped
        self.base_size = base_size
        self.size: Optional[Sides] = None
        self.drawn: List[DrawnSizes] = []
        self.dense = False
        self._size_place = ""
        self._switched: List[Sides] = []
        self._keeps_ratio = False
        self._steps: Dict[str, _Step] = {}
        self._kept: Set[str] = set()
        self._new_names: Dict[str, str] = {}

    def read(
        self, chain: Sequence[Pipeline], place: str, switched_to: bool = False
    ) -> None:
        """Decide what to do with the pipelines that an image passes.

        Args:
            chain: The pipelines, in the order in which an image passes them.
            place: Path of the dataset or the hook in the config, for errors.
            switched_to: A hook switches to it during the training, so that it may have
                another size than those before. All of them are then sizes that the
                training draws from. Defaults to False.

        Raises:
            RecipeError: If a transform or the combination of them cannot be converted.
        """
        before = self.size
        if switched_to and self.base_size is not None:
            self.size = None
        self._read_chain(chain, place)
        if before is None or self.size in (None, before):
            self.size = self.size or before
            return
        assert self.size is not None
        self._switched = list(dict.fromkeys([*self._switched, before, self.size]))

    def settle(self) -> None:
        """Take sizes between which hooks switch as drawn, when all has been read."""
        if self._switched:
            drawn = DrawnSizes(tuple(self._switched), False, self._keeps_ratio)
            self.drawn.append(drawn)
            self.size = None

    def _read_chain(self, chain: Sequence[Pipeline], place: str) -> None:
        paths: List[Path] = [[]]
        for pipeline in chain:
            found = paths_through(pipeline.transforms, pipeline.place, self.scope)
            paths = joined(paths, found, pipeline.place)
        read = [self._sizing(path) for path in paths]
        resized = [step for path in read for step in path if step.use.role == RESIZE]
        for path, uses in zip(paths, read):
            if any(step.use.role == RESIZE for step in uses):
                self._read_path(uses)
                continue
            if resized:
                raise RecipeError(
                    resized[0].place,
                    f"{kind_of(resized[0].transform).name} sets a size inside "
                    f"{CHOICE} or {APPLY}, so that not every image passes through it",
                )
            names = [kind_of(transform, self.scope).name for _, transform in path]
            cuts = [step for step in uses if step.use.role == CUT]
            self._read_without_resize(cuts, names, place)

    def _sizing(self, path: Path) -> List[_Step]:
        """Return the transforms of a path that use a size."""
        found: List[_Step] = []
        for place, transform in path:
            name = kind_of(transform, self.scope).name
            self.dense |= "Annotations" in name or name == "PackDetInputs"
            use = self._use(place, transform)
            if use is not None:
                found.append(_Step(place, transform, use))
        return found

    def _read_path(self, uses: Sequence[_Step]) -> None:
        last = max(i for i, step in enumerate(uses) if step.use.role == RESIZE)
        cut = any(step.use.role in (CUT, BORDER) for step in uses[last + 1 :])
        size, size_place = None, ""
        follows = False
        for index, step in enumerate(uses):
            if step.use.role == RESIZE:
                # A resize that draws its size before another resize selects a part of
                # the image, with the crops between the two. It stays as it is.
                follows = step.use.size is not None or index == last
            if not follows:
                self._keep(step)
                continue
            if step.use.role in (RESIZE, CUT) and step.use.size is not None:
                size, size_place = step.use.size, step.place
            if step.use.role == RESIZE and step.use.size is None:
                size = None  # the batch's, unless a crop follows
        for step in uses:
            if step.place in self._kept:
                continue
            if step.use.size is None and step.use.role == RESIZE:
                step = step._replace(action=_REPLACE if size is None else _CHOOSE)
                self._check_drawing(step, size)
            elif step is uses[last] and not cut and _enlarges(step.transform):
                step = step._replace(action=_REPLACE)
            self._add(step._replace(reference=size))
        if size is not None:
            self._keeps_ratio |= uses[last].use.keep_ratio
            self._set_size(size, size_place)

    def _read_without_resize(
        self, cuts: Sequence[_Step], names: Sequence[str], place: str
    ) -> None:
        if not cuts and self.sized_later:
            return
        if not cuts:
            raise RecipeError(
                place,
                "no transform sets a size that could follow the batch's; it has "
                f"{', '.join(names) or 'none at all'}",
            )
        step = cuts[-1]
        assert step.use.size is not None
        if self.dense:
            raise RecipeError(
                step.place,
                f"{kind_of(step.transform).name} crops or pads to a fixed size with no "
                "resize before it; add a Resize after it",
            )
        # It selects a part of the image, as for CIFAR. A resize behind it scales it.
        self._add(step._replace(action=_PUT_BEHIND, reference=step.use.size))
        self._set_size(step.use.size, step.place)

    def _check_drawing(self, step: _Step, size: Optional[Sides]) -> None:
        """Record the sizes that a transform draws from."""
        name = kind_of(step.transform).name
        if size is not None:
            if not step.use.drawn:
                raise RecipeError(step.place, f"{name} must list its sizes as pixels")
            return
        if self.base_size is None:
            raise RecipeError(step.place, _many_sizes(name, step.transform, step.use))
        drawn = DrawnSizes(step.use.drawn, step.use.is_range, step.use.keep_ratio)
        if step.use.drawn and drawn not in self.drawn:
            self.drawn.append(drawn)

    def _set_size(self, size: Sides, place: str) -> None:
        if self.size is None:
            self.size, self._size_place = size, place
        elif size != self.size:
            raise RecipeError(
                place,
                f"gives {_text(size)}, but {self._size_place} {_text(self.size)}; "
                "they must give the same size",
            )

    def _add(self, step: _Step) -> None:
        known = self._steps.get(step.place)
        if step.place in self._kept or (known and known.action != step.action):
            raise RecipeError(
                step.place, "sets the size of some images, and not of others"
            )
        self._steps[step.place] = step

    def _keep(self, step: _Step) -> None:
        if step.place in self._steps:
            raise RecipeError(
                step.place, "sets the size of some images, and not of others"
            )
        self._kept.add(step.place)

    def rewrite(self, pipeline: Pipeline, report: Report) -> List[Any]:
        """Return the transforms of a pipeline as :meth:`read` decided."""
        return self._rewritten(pipeline.transforms, pipeline.place, report)

    def renamed(self, names: Sequence[str]) -> List[str]:
        """Return names of transforms as they are after the conversion."""
        return [self._new_names.get(name, name) for name in names]

    def _use(self, place: str, transform: Mapping) -> Optional[SizeUse]:
        kind = kind_of(transform, self.scope)
        if kind.name.startswith("MultiScale"):
            raise RecipeError(
                place,
                f"is {kind.name} already; the recipe is for configs without it",
            )
        try:
            use = read_size(transform, self.scope)
        except ValueError as error:
            raise RecipeError(place, str(error)) from None
        if use is None:
            self._check_nested(place, transform)
            return None
        if use.size is None and use.role != RESIZE:
            raise RecipeError(place, _many_sizes(kind.name, transform, use))
        if kind.name in self.skipped:
            # The dataset or the hook skips a converted transform by its shorthand.
            if kind.name not in SHORTHANDS:
                raise RecipeError(
                    place,
                    f"{kind.name} is named in skip_type_keys, but its multi-scale "
                    "version has no name of its own there",
                )
            self._new_names[kind.name] = SHORTHANDS[kind.name]
        return use

    def _check_nested(self, place: str, transform: Mapping) -> None:
        kind = kind_of(transform, self.scope)
        for path, inner in nested_components(transform):
            if is_transparent(transform):
                continue  # its transforms are read like others
            scope = ALBUMENTATIONS if kind.name.startswith("Albu") else self.scope
            for nested_place, each in walk(inner, f"{place}.{path}"):
                try:
                    use = read_size(each, scope)
                except ValueError as error:
                    raise RecipeError(nested_place, str(error)) from None
                if use is not None:
                    raise RecipeError(
                        nested_place,
                        f"{kind_of(each).name} sets a size inside {kind.name}, so that "
                        "not every image passes through it",
                    )

    def _rewritten(self, transforms: Sequence, place: str, report: Report) -> List[Any]:
        written: List[Any] = []
        for index, transform in enumerate(transforms):
            own = f"{place}[{index}]"
            step = self._steps.get(own)
            if step is not None and step.action == _PUT_BEHIND:
                # PIL images need torchvision's.
                library = kind_of(transform, self.scope).library
                name = "torchvision/Resize" if library == "torchvision" else "Resize"
                resize = _wrapped(dict(type=name), {}, transform.get("_scope_"))
                written += [transform, resize]
                report(
                    f"{own}: {_call(transform)} -> the same, and a {name} to the "
                    "batch's size after it"
                )
            elif step is not None:
                written.append(self._converted(step, report))
            elif own in self._kept:
                written.append(transform)
                report(f"{own}: {_call(transform)} stays, before a later resize")
            elif self._passes_on(transform, own):
                written.append(self._rewritten_inside(transform, own, report))
            else:
                written.append(transform)
        return written

    def _rewritten_inside(
        self, transform: Mapping, place: str, report: Report
    ) -> Mapping:
        changed: Any = copy.copy(transform)
        inside = branches(transform, place)
        if kind_of(transform).name == CHOICE and inside:
            changed["transforms"] = [
                self._rewritten(inner, own, report) for inner, own in inside
            ]
            return changed
        for path, inner in nested_components(transform):
            assign(changed, path, self._rewritten(inner, f"{place}.{path}", report))
        return changed

    def _passes_on(self, transform: Any, place: str) -> bool:
        if is_transparent(transform):
            return True
        inside = f"{place}."
        return branches(transform, place) != [] and any(
            own.startswith(inside) for own in (*self._steps, *self._kept)
        )

    def _converted(self, step: _Step, report: Report) -> Dict[str, Any]:
        transform, use = step.transform, step.use
        kind = kind_of(transform, self.scope)
        scope = transform.get("_scope_")
        shown = f"{step.place}: {_call(transform)}"
        if step.action == _CHOOSE:
            resize = resize_config(transform, use)
            sizes = _spread(use.drawn) if use.is_range else use.drawn
            choices = [
                [_wrapped(resize, {**use.options, **self._ratio(size, step)}, scope)]
                for size in sizes
            ]
            report(f"{shown} -> drawn relative to the batch's size")
            choice: Dict[str, Any] = dict(type=CHOICE, transforms=choices)
            return choice if scope is None else {**choice, "_scope_": scope}
        options: Dict[str, Any] = dict(use.options)
        at = ""
        if step.action == _REPLACE:
            kept: Any = resize_config(transform, use)
        else:
            kept = copy.copy(transform)
            for name in use.size_args:
                del kept[name]
            assert use.size is not None
            options.update(self._ratio(use.size, step))
            if "size_ratio" in options:
                at = f"{_number(options['size_ratio'])} times "
        name = kind_of(kept, self.scope).name
        report(f"{shown} -> {name} at {at}the batch's size")
        if kind.name not in self.skipped:
            return _wrapped(kept, options, scope)
        written = {
            **dict(kept.items()),
            **options,
            "type": self._new_names[kind.name],
        }
        if kind.library not in ("", "mmcv", self.scope):
            written["_scope_"] = kind.library
        return written

    def _ratio(self, size: Sides, step: _Step) -> Dict[str, Any]:
        """Return the option ``size_ratio`` for a size; no option if it is 1."""
        reference = step.reference or self.size or self.base_size
        if reference is None or size == reference:
            return {}
        pair = (size[0] / reference[0], size[1] / reference[1])
        return dict(size_ratio=pair[0] if pair[0] == pair[1] else list(pair))


def _wrapped(
    transform: Any, options: Dict[str, Any], scope: Optional[str]
) -> Dict[str, Any]:
    wrapped: Dict[str, Any] = dict(type="MultiScaleTransform")
    if scope is not None:
        # The wrapper looks up the transform in its own scope.
        wrapped["_scope_"] = scope
        transform = copy.copy(transform)
        del transform["_scope_"]
    return {**wrapped, "transform": transform, **options}


def _spread(ends: Sequence[Sides]) -> List[Sides]:
    """Return evenly spaced sizes between the ends of a range, both included."""
    (low, high) = (min(ends), max(ends))
    steps = [i / (_SPREAD - 1) for i in range(_SPREAD)]
    return [
        (low[0] + (high[0] - low[0]) * step, low[1] + (high[1] - low[1]) * step)
        for step in steps
    ]


def _enlarges(transform: Mapping) -> bool:
    """Return whether a resize gives images above the size it is set to."""
    ratios = transform.get("ratio_range")
    return isinstance(ratios, (list, tuple)) and max(ratios, default=1) > 1


def _many_sizes(name: str, transform: Mapping, use: SizeUse) -> str:
    value = transform.get(use.size_args[0])
    return (
        f"{name} draws a size for each image ({use.size_args[0]}={short(value)}), but "
        "now the batch sampler draws sizes; set base_size=(height, width), the size "
        "that batch_size is meant for, to replace it by a Resize to the batch's size"
    )


def _call(transform: Mapping) -> str:
    name = kind_of(transform).name
    for key in ("scale", "scales", "crop_size", "size", "img_scale", "border"):
        if transform.get(key) is not None:
            return f"{name}({key}={short(transform[key])})"
    return name


def _text(size: Optional[Sides]) -> str:
    return "no size" if size is None else f"{size[0]:g}x{size[1]:g}"


def _number(ratio: Any) -> str:
    if isinstance(ratio, list):
        return f"({', '.join(_number(r) for r in ratio)})"
    return f"{ratio:.4g}"


__all__ = ["DrawnSizes", "Steps"]
