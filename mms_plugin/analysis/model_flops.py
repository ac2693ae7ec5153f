"""Training FLOPs of a config's model by size: fast where the model allows it.

On meta tensors, which have a shape and no content, a model is counted in seconds. What
looks at the content (the matching and sampling of a two-stage detector) cannot run on
them: there the part whose cost goes with the size (backbone, neck, RPN) is counted at
each size, and the RoI heads once, on RoI features of the number and shape that they
train on. A segmentor runs without its losses. What neither way can count runs on the
CPU's tensors, with its real losses.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    Iterator,
    List,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    Union,
)

import torch
from torch import nn
from torch.func import functional_call

from ..multi_scale.sizes import Size, ordered_sizes, size_text
from ..utils.error_text import on_one_line
from ..utils.feature_stride import feature_stride
from ..utils.host_versions import require
from ..utils.input_channels import input_channels
from .batch_maker import batch_maker, libraries_of, rois_per_image
from .flops import count_flops, flop_counter, training_flops_per_image

__all__ = [
    "COUNTING",
    "ModelFlops",
    "UncountedError",
    "call_on_meta",
    "meta_state",
    "model_flops",
    "total_stride",
]

COUNTING = "counting FLOPs on the CPU"
"""Start of each line of progress."""

# Tables that are looked up, not multiplied with.
_LOOKED_UP = (nn.Embedding, nn.EmbeddingBag)

_Count = Callable[[Sequence[Size]], Dict[Size, float]]
"""Counts the training FLOPs of one image at each of several sizes."""


class UncountedError(ValueError):
    """A model whose FLOPs cannot be counted; names the module."""


class ModelFlops(NamedTuple):
    """What :func:`model_flops` counts.

    Attributes:
        per_image: Training FLOPs of one image by ``(height, width)``.
        counted_on: ``'meta tensors'``; ``'meta tensors, RoI heads apart'``; or
            ``'CPU tensors'``.
        rois: RoIs of an image and positive ones among them; ``None`` without RoI
            heads.
    """

    per_image: Dict[Size, float]
    counted_on: str
    rois: Optional[Tuple[int, int]]


def model_flops(
    model: nn.Module,
    sizes: Iterable[Size],
    positive_rois: Optional[int] = None,
    prefer_meta: bool = True,
    tell: Callable[[str], Any] = lambda text: None,
) -> ModelFlops:
    """Count the training FLOPs of one image at each size, forward and backward.

    Two for a multiplication with its addition. Operators that PyTorch's counter does
    not know count as nothing: element-wise ones, normalization, pooling, RoIAlign,
    NMS. A layer with weights whose operators it does not know is refused.

    Args:
        model: A classifier of mmpretrain, a detector of mmdet or a segmentor of mmseg.
            It is left as it was.
        sizes: ``(height, width)`` in pixels.
        positive_rois: See :func:`batch_maker`.
        prefer_meta: ``False``: on the CPU's tensors in any case, with the real
            losses. Defaults to True.
        tell: Called with a line of progress before each size that is counted on the
            CPU's tensors, which can take minutes. Defaults to nothing.

    Raises:
        UncountedError: A model of another kind; a module fails, or its operators are
            not known to the counter.
        ValueError: ``positive_rois`` that the model cannot have.
    """
    wanted = ordered_sizes(set(sizes))
    libraries = libraries_of(model)
    if not libraries & {"mmdet", "mmpretrain", "mmseg"}:
        raise UncountedError(
            "FLOPs are counted for models of mmpretrain, mmdet and mmseg, but not for "
            f"{type(model).__name__} of {type(model).__module__}"
        )
    batch_maker(model, positive_rois)  # what is wrong with the arguments
    detector = "mmdet" in libraries
    rois = rois_per_image(model, positive_rois) if detector else None
    ways: List[Tuple[str, _Count]] = []
    segmentor = _segmentor_part(model) if "mmseg" in libraries else None
    if prefer_meta and segmentor is not None:
        part_of = segmentor
        ways.append(("meta tensors", lambda part: _by_parts(part_of, None, part)))
    elif prefer_meta and not detector:
        ways.append(("meta tensors", lambda part: _on_meta(model, part)))
    if prefer_meta and detector:
        parts = _detector_parts(model, rois)
        if parts is not None:
            name = "meta tensors" + (", RoI heads apart" if rois else "")
            dense, roi_heads = parts
            ways.append((name, lambda part: _by_parts(dense, roi_heads, part)))

    def on_cpu(part: Sequence[Size]) -> Dict[Size, float]:
        flops: Dict[Size, float] = {}
        for size in part:
            number = f"{wanted.index(size) + 1} of {len(wanted)}"
            tell(f"{COUNTING} at {size_text(size)} ({number})")
            flops[size] = _on_cpu(model, size, positive_rois, detector)
        return flops

    def counted(name: str, count: _Count) -> ModelFlops:
        # The first size by itself: a layer that is not known ends the count early.
        with _watched(model):
            flops = count(wanted[:1])
        with _watched(model):
            flops.update(count(wanted[1:]))
        return ModelFlops(flops, name, rois)

    for name, count in ways:
        try:
            return counted(name, count)
        except UncountedError:
            continue
    return counted("CPU tensors", on_cpu)


def total_stride(model: nn.Module, size: Size = (1024, 1024)) -> Optional[int]:
    """Return the pixels for a cell of the backbone's coarsest feature map.

    Args:
        model: With a ``backbone``.
        size: ``(height, width)`` to try it at. Defaults to ``(1024, 1024)``, a multiple
            of the usual strides and far above them.

    Returns:
        The stride, or ``None`` where the backbone gives no map or does not run on
        meta tensors.
    """
    backbone = getattr(model, "backbone", None)
    if backbone is None:
        return None
    images = torch.empty(2, input_channels(model), *size, device="meta")
    try:
        out = call_on_meta(backbone, meta_state(backbone), images)
    except Exception:  # whatever it is, this is only a check
        return None
    return feature_stride(out, size)


def meta_state(root: nn.Module) -> Dict[str, torch.Tensor]:
    """Return parameters and buffers without content, each module's under one name."""
    made: Dict[int, torch.Tensor] = {}
    state: Dict[str, torch.Tensor] = {}
    for prefix, module in root.named_modules():
        own = [
            *module.named_parameters(recurse=False),
            *module.named_buffers(recurse=False),
        ]
        for name, value in own:
            if id(value) not in made:
                copy = torch.empty_like(value, device="meta")
                made[id(value)] = copy.requires_grad_(value.requires_grad)
            state[f"{prefix}.{name}" if prefix else name] = made[id(value)]
    return state


def call_on_meta(
    module: nn.Module, state: Dict[str, torch.Tensor], *args: Any, **kwargs: Any
) -> Any:
    """Call a module on meta tensors, with a state of :func:`meta_state`."""
    # With tie_weights a module that has two names would be left on meta tensors.
    return functional_call(module, state, args, kwargs, tie_weights=False)


def _on_meta(model: nn.Module, sizes: Sequence[Size]) -> Dict[Size, float]:
    state = meta_state(model)

    def loss(module: nn.Module, batch: Any) -> Any:
        return call_on_meta(module, state, **batch, mode="loss")

    make_batch = batch_maker(model, device="meta")
    return training_flops_per_image(model, make_batch, sizes, loss=loss)


def _on_cpu(
    model: nn.Module, size: Size, positive_rois: Optional[int], detector: bool
) -> float:
    make_batch = batch_maker(model, positive_rois)
    # A detector's large images one by one; else two, for batch norm of one pixel.
    batch_size = 1 if detector and min(size) >= 256 else 2
    return training_flops_per_image(model, make_batch, [size], batch_size)[size]


# ------------------------------------------------------------- detectors by parts


class _DensePart(nn.Module):
    """What a detector runs on the whole image: to the sum of its outputs."""

    def __init__(self, detector: nn.Module, head: str, levels: int) -> None:
        super().__init__()
        self.whole = detector
        self.head = head
        self.levels = levels

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        detector: Any = self.whole
        features = detector.extract_feat(images)
        outputs = list(_tensors(getattr(detector, self.head)(features)))
        # Feature maps that only the RoI heads read still pass a gradient back.
        outputs += features[: self.levels]
        return _trained_sum(outputs)


class _RoIPart(nn.Module):
    """The heads of a RoI head, on features in the place of RoIAlign's."""

    def __init__(
        self, roi_head: nn.Module, rois: Tuple[int, int], trained: bool
    ) -> None:
        super().__init__()
        self.roi_head = roi_head
        self.rois = rois
        self.trained = trained

    def forward(self, device: torch.device) -> torch.Tensor:
        head: Any = self.roi_head
        count, positives = self.rois
        outputs: List[torch.Tensor] = []
        box_stages = zip(_stages(head.bbox_roi_extractor), _stages(head.bbox_head))
        for extractor, bbox_head in box_stages:
            shared = self._features(extractor, count, device)
            outputs += _tensors(bbox_head(shared))
        if head.with_mask and positives and head.share_roi_extractor:
            outputs += _tensors(head.mask_head(shared[:positives]))
        elif head.with_mask and positives:
            mask_stages = zip(_stages(head.mask_roi_extractor), _stages(head.mask_head))
            for extractor, mask_head in mask_stages:
                features = self._features(extractor, positives, device)
                outputs += _tensors(mask_head(features))
        return _trained_sum(outputs)

    def _features(
        self, extractor: Any, count: int, device: torch.device
    ) -> torch.Tensor:
        shape = (count, extractor.out_channels, *extractor.roi_layers[0].output_size)
        features = torch.empty(shape, device=device, requires_grad=self.trained)
        head: Any = self.roi_head
        return head.shared_head(features) if head.with_shared_head else features


def _stages(part: Any) -> Sequence[Any]:
    """Return the heads of a RoI head: Cascade R-CNN has one for each stage."""
    return list(part) if isinstance(part, nn.ModuleList) else [part]


def _detector_parts(
    model: Any, rois: Optional[Tuple[int, int]]
) -> Optional[Tuple[_DensePart, Optional[_RoIPart]]]:
    """Return a detector that is no more than its parts; ``None`` for any other."""
    detectors = require("mmdet.models.detectors", "model_flops")
    dense = require("mmdet.models.dense_heads", "model_flops")
    roi_heads = require("mmdet.models.roi_heads", "model_flops")
    base = require("mmdet.models.dense_heads.base_dense_head", "model_flops")
    loss = type(model).loss
    if loss is detectors.SingleStageDetector.loss:
        if type(model.bbox_head).loss is not base.BaseDenseHead.loss:
            return None
        if isinstance(model.bbox_head, dense.RTMDetInsHead):
            return None  # its loss runs convolutions: those of the masks
        return _DensePart(model, "bbox_head", 0), None
    if (
        loss is not detectors.TwoStageDetector.loss
        or rois is None
        or type(getattr(model, "rpn_head", None)) is not dense.RPNHead
        or type(model.roi_head)
        not in (roi_heads.StandardRoIHead, roi_heads.CascadeRoIHead)
        or not _reads_features(model.roi_head)
    ):
        return None
    trained = any(
        parameter.requires_grad
        for name in ("backbone", "neck")
        for parameter in getattr(model, name, nn.Identity()).parameters()
    )
    levels = _stages(model.roi_head.bbox_roi_extractor)[0].num_inputs
    return (
        _DensePart(model, "rpn_head", levels),
        _RoIPart(model.roi_head, rois, trained),
    )


def _reads_features(roi_head: Any) -> bool:
    extractors = require("mmdet.models.roi_heads.roi_extractors", "model_flops")
    found = list(_stages(roi_head.bbox_roi_extractor))
    if roi_head.with_mask and not roi_head.share_roi_extractor:
        found += _stages(roi_head.mask_roi_extractor)
    return all(type(each) is extractors.SingleRoIExtractor for each in found)


def _by_parts(
    dense: Union[_DensePart, _SegmentorPart],
    roi_part: Optional[_RoIPart],
    sizes: Sequence[Size],
) -> Dict[Size, float]:
    if not sizes:
        return {}
    state = meta_state(dense)
    padded_batch = batch_maker(dense.whole, device="meta")

    def make_batch(batch_size: int, height: int, width: int) -> torch.Tensor:
        return padded_batch(batch_size, height, width)["inputs"]

    def loss(module: nn.Module, images: torch.Tensor) -> Any:
        return call_on_meta(module, state, images)

    flops = training_flops_per_image(dense, make_batch, sizes, loss=loss)
    if roi_part is None:
        return flops
    roi_state = meta_state(roi_part)

    def step() -> None:
        device = torch.device("meta")
        call_on_meta(roi_part, roi_state, device).backward()

    apart = count_flops(step)
    return {size: value + apart for size, value in flops.items()}


def _tensors(outputs: Any) -> Iterator[torch.Tensor]:
    if isinstance(outputs, torch.Tensor):
        yield outputs
    elif isinstance(outputs, (list, tuple)):
        for part in outputs:
            yield from _tensors(part)


def _trained_sum(outputs: Sequence[torch.Tensor]) -> torch.Tensor:
    sums = [output.sum() for output in outputs if output.requires_grad]
    return torch.stack(sums).sum() if sums else torch.zeros(())


# --------------------------------------------------------------------- segmentors


class _SegmentorPart(nn.Module):
    """A segmentor without its losses, which look at the content of the labels."""

    def __init__(self, segmentor: nn.Module) -> None:
        super().__init__()
        self.whole = segmentor

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        segmentor: Any = self.whole
        features = segmentor.extract_feat(images)
        heads = _stages(segmentor.decode_head)
        inputs = [features]
        outputs = [heads[0](features)]
        for before, head in zip(heads, heads[1:]):
            # A cascade runs the stage before once more, for its input.
            inputs = [features, before(*inputs)]
            outputs.append(head(*inputs))
        if segmentor.with_auxiliary_head:
            outputs += [head(features) for head in _stages(segmentor.auxiliary_head)]
        return _trained_sum(list(_tensors(outputs)))


def _segmentor_part(model: Any) -> Optional[_SegmentorPart]:
    """Return a segmentor without its losses; ``None`` if its heads train otherwise."""
    segmentors = require("mmseg.models.segmentors", "model_flops")
    base = require("mmseg.models.decode_heads.decode_head", "model_flops")
    cascade = require("mmseg.models.decode_heads.cascade_decode_head", "model_flops")
    if type(model).loss is not segmentors.EncoderDecoder.loss:
        return None
    heads = [*_stages(model.decode_head)]
    if model.with_auxiliary_head:
        heads += _stages(model.auxiliary_head)
    plain = (base.BaseDecodeHead.loss, cascade.BaseCascadeDecodeHead.loss)
    return _SegmentorPart(model) if all(type(h).loss in plain for h in heads) else None


# --------------------------------------------------------------- what is not counted


@contextmanager
def _watched(model: nn.Module) -> Iterator[None]:
    """Name the module that fails, or whose weights no counted operator used."""
    counter = flop_counter()
    running: List[str] = []
    starts: List[int] = []
    inside = [0]  # FLOPs of the submodules of what is running
    all_counts: Dict[str, List[int]] = {}

    def enter(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any) -> None:
            running.append(f"{name} ({type(module).__name__})")
            starts.append(counter.get_total_flops())
            inside.append(0)

        return hook

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        name, flops = running.pop(), counter.get_total_flops() - starts.pop()
        own = flops - inside.pop()
        inside[-1] += flops
        if not all(tensor.numel() for tensor in _tensors(args)):
            return  # no RoIs
        if _multiplies(module, ("weight",)):
            all_counts.setdefault(name, []).append(own)
        elif _multiplies(module):
            all_counts.setdefault(name, []).append(flops)

    handles = []
    for name, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(enter(name or "model")))
        handles.append(module.register_forward_hook(leave))
    try:
        with counter:
            yield
    except Exception as error:
        where = f"in {running[-1]}" if running else "in its loss or backward pass"
        name, text = type(error).__name__, on_one_line(error)
        what = text if text == name else f"{name}: {text}"
        raise UncountedError(f"FLOPs cannot be counted {where}: {what}") from error
    finally:
        for handle in handles:
            handle.remove()
    missed = [name for name, counts in all_counts.items() if not any(counts)]
    if missed:
        more = f" and {len(missed) - 1} more" if len(missed) > 1 else ""
        raise UncountedError(
            f"FLOPs cannot be counted in {missed[0]}{more}: PyTorch's counter does not "
            "know the operators that it runs"
        )


def _multiplies(module: nn.Module, names: Optional[Sequence[str]] = None) -> bool:
    """Return whether a module has weights of its own that are no table and no scale.

    Args:
        module: Any.
        names: Of the parameters that count. Defaults to all.
    """
    if isinstance(module, _LOOKED_UP):
        return False
    return any(
        sum(side > 1 for side in parameter.shape) >= 2
        for name, parameter in module.named_parameters(recurse=False)
        if names is None or name in names
    )
