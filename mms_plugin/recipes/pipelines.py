"""Training pipelines: their size, and their multi-scale twins.

First every pipeline that an image passes is read and it is settled what happens to each
of its transforms; then the pipelines are written anew. Pure functions.
"""

from __future__ import annotations

import copy
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

from .config_edits import RecipeError, Report, assign, kind_of, nested_components, short
from .size_transforms import (
    ALBUMENTATIONS,
    BORDER,
    CUT,
    MIX,
    RESIZE,
    Sides,
    SizeUse,
    read_size,
    resize_config,
)

# Each of their samples passes every transform inside.
_TRANSPARENT = (
    "ProposalBroadcaster",
    "TransformBroadcaster",
    "KeyMapper",
    "ApplyToList",
    "MultiView",
    "Compose",
)

# Names under which a data set or a hook can leave them out.
_SHORTHANDS = {
    name: f"MultiScale{name}"
    for name in (
        "Mosaic",
        "MixUp",
        "RandomAffine",
        "Resize",
        "Pad",
        "RandomCrop",
        "RandomResizedCrop",
    )
}


class Pipeline(NamedTuple):
    """A pipeline and where it stands in the config."""

    place: str
    transforms: Sequence


class _Step(NamedTuple):
    """A transform that is to follow the batch's size."""

    place: str
    transform: Mapping
    use: SizeUse
    put_behind: bool = False


class Steps:
    """What is to be done to the pipelines of a config.

    Args:
        scope: The config's scope, such as ``'mmdet'``.
        skipped: Names of transforms that a data set or a hook leaves out at times.
        base_given: The base size is known, whatever the transforms say.
    """

    def __init__(self, scope: str, skipped: Set[str], base_given: bool) -> None:
        self.scope = scope
        self.skipped = skipped
        self.base_given = base_given
        self.size: Optional[Sides] = None
        self.dense = False
        self._size_place = ""
        self._steps: Dict[str, _Step] = {}
        self._new_names: Dict[str, str] = {}

    def read(self, chain: Sequence[Pipeline], what: str) -> None:
        """Settle what happens to the pipelines that an image passes.

        Args:
            chain: The pipelines in their order.
            what: The place of the data set, for errors.

        Raises:
            RecipeError: A transform, or all of them together, cannot be converted.
        """
        resized, size, size_place = False, None, ""
        loose: Optional[_Step] = None
        names: List[str] = []
        many = False
        for pipeline in chain:
            for place, transform in _walk(pipeline.transforms, pipeline.place):
                name = kind_of(transform, self.scope).name
                names.append(name)
                self.dense |= "Annotations" in name or name == "PackDetInputs"
                use = self._use(place, transform)
                if use is None:
                    continue
                step = _Step(place, transform, use)
                if use.role == RESIZE:
                    resized = True
                    many |= use.size is None
                elif not resized:
                    loose = step if use.role == CUT else loose
                    continue
                self._steps[place] = step
                if use.role in (RESIZE, CUT) and use.size is not None:
                    size, size_place = use.size, place
        if not resized:
            if loose is None:
                raise RecipeError(
                    what,
                    "no transform sets a size that could follow the batch's; it has "
                    f"{', '.join(names) or 'none at all'}",
                )
            if self.dense:
                raise RecipeError(
                    loose.place,
                    f"{kind_of(loose.transform).name} cuts out a size of its own, with "
                    "no resize before it; put a Resize behind it",
                )
            # It chooses a part of the image (CIFAR's shift); a Resize scales it.
            size, size_place = loose.use.size, loose.place
            self._steps[loose.place] = loose._replace(put_behind=True)
        if size is None and many:
            return
        if self.size is None:
            self.size, self._size_place = size, size_place
        elif size != self.size:
            raise RecipeError(
                size_place,
                f"gives {_text(size)}, but {self._size_place} {_text(self.size)}; "
                "they must give the same size",
            )

    def rewrite(self, pipeline: Pipeline, report: Report) -> List[Any]:
        """The pipeline with what :meth:`read` has settled."""
        return self._rewritten(pipeline.transforms, pipeline.place, report)

    def renamed(self, names: Sequence[str]) -> List[str]:
        """Names of transforms to leave out, as they are after the conversion."""
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
        if use.size is None and not self.base_given:
            raise RecipeError(place, _many_sizes(kind.name, transform, use))
        if kind.name in self.skipped:
            if kind.name not in _SHORTHANDS:
                raise RecipeError(
                    place,
                    f"{kind.name} is named in skip_type_keys, where one "
                    "MultiScaleTransform is not told from another",
                )
            self._new_names[kind.name] = _SHORTHANDS[kind.name]
        return use

    def _check_nested(self, place: str, transform: Mapping) -> None:
        kind = kind_of(transform, self.scope)
        for path, inner in nested_components(transform):
            if _transparent(transform):
                continue  # walked by itself
            scope = ALBUMENTATIONS if kind.name.startswith("Albu") else self.scope
            for nested_place, each in _walk(inner, f"{place}.{path}", everything=True):
                try:
                    use = read_size(each, scope)
                except ValueError as error:
                    raise RecipeError(nested_place, str(error)) from None
                if use is not None:
                    raise RecipeError(
                        nested_place,
                        f"{kind_of(each).name} sets a size inside {kind.name}, where "
                        "not every image passes it alike",
                    )

    def _rewritten(self, transforms: Sequence, place: str, report: Report) -> List[Any]:
        written: List[Any] = []
        for index, transform in enumerate(transforms):
            own = f"{place}[{index}]"
            step = self._steps.get(own)
            if step is not None and step.put_behind:
                resize = _wrapped(dict(type="Resize"), {}, transform.get("_scope_"))
                written += [transform, resize]
                report(
                    f"{own}: {_call(transform)} -> the same, and a Resize to the "
                    "batch's size behind it"
                )
            elif step is not None:
                written.append(self._converted(step, report))
            elif isinstance(transform, Mapping) and _transparent(transform):
                changed = copy.copy(transform)
                for path, inner in nested_components(transform):
                    new = self._rewritten(inner, f"{own}.{path}", report)
                    assign(changed, path, new)
                written.append(changed)
            else:
                written.append(transform)
        return written

    def _converted(self, step: _Step, report: Report) -> Dict[str, Any]:
        transform, use = step.transform, step.use
        kind = kind_of(transform, self.scope)
        ratio = None
        if use.size is None:
            kept: Any = resize_config(transform, use)
            use = use._replace(options={})
        else:
            kept = copy.copy(transform)
            for name in use.size_args:
                del kept[name]
            if self.size is not None and use.size != self.size:
                pair = (use.size[0] / self.size[0], use.size[1] / self.size[1])
                ratio = pair[0] if pair[0] == pair[1] else list(pair)
        options = dict(use.options)
        if ratio is not None:
            options["size_ratio"] = ratio
        name = kind_of(kept, self.scope).name
        at = "" if ratio is None else f"{_number(ratio)} times "
        report(f"{step.place}: {_call(transform)} -> {name} at {at}the batch's size")
        if kind.name not in self.skipped:
            return _wrapped(kept, options, transform.get("_scope_"))
        written = {
            **dict(kept.items()),
            **options,
            "type": self._new_names[kind.name],
        }
        if kind.library not in ("", "mmcv", self.scope):
            written["_scope_"] = kind.library
        return written


def _wrapped(
    transform: Any, options: Dict[str, Any], scope: Optional[str]
) -> Dict[str, Any]:
    wrapped: Dict[str, Any] = dict(type="MultiScaleTransform")
    if scope is not None:
        # The transform is looked up in the scope that the wrapper is built in.
        wrapped["_scope_"] = scope
        transform = copy.copy(transform)
        del transform["_scope_"]
    return {**wrapped, "transform": transform, **options}


def _walk(
    transforms: Sequence, place: str, everything: bool = False
) -> List[Tuple[str, Mapping]]:
    """Transforms in their order with their places, those inside others too.

    Args:
        transforms: A pipeline.
        place: Its place.
        everything: Inside every other one, not those alone that pass each image on.
    """
    found: List[Tuple[str, Mapping]] = []
    for index, transform in enumerate(transforms):
        own = f"{place}[{index}]"
        if isinstance(transform, (list, tuple)) and everything:
            found += _walk(transform, own, everything)
            continue
        if not isinstance(transform, Mapping):
            raise RecipeError(
                own, f"must be a transform's config, but is {short(transform)}"
            )
        found.append((own, transform))
        if everything or _transparent(transform):
            for path, inner in nested_components(transform):
                found += _walk(inner, f"{own}.{path}", everything)
    return found


def _transparent(transform: Mapping) -> bool:
    name = kind_of(transform).name
    if name == "TransformBroadcaster" and transform.get("share_random_params"):
        return False
    return name in _TRANSPARENT


def _many_sizes(name: str, transform: Mapping, use: SizeUse) -> str:
    value = transform.get(use.size_args[0])
    return (
        f"{name} draws each image's size, {use.size_args[0]}={short(value)}, which "
        "becomes the batch sampler's task; name the size that the batch_size is for, "
        "base_size=(height, width), and a Resize to the batch's size takes its place"
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


__all__ = ["BORDER", "CUT", "MIX", "RESIZE", "Pipeline", "Steps"]
