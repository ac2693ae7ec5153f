"""Run the model of a config at several sizes without data, to see if it takes them.

The model runs on PyTorch's meta or fake tensors, for which shapes are computed but no
values. If it does not run this way at its own size, nothing is known about the others.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import json
import logging
import warnings
from contextlib import ExitStack, contextmanager
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Tuple

import torch
from mmengine.logging import MMLogger
from mmengine.registry import MODELS, DefaultScope
from mmengine.utils import import_modules_from_strings
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from ..analysis.batch_maker import batch_maker
from ..analysis.model_flops import call_on_meta, meta_state
from ..multi_scale.sizes import Size
from ..utils.config_types import kind_of, scope_of
from ..utils.error_text import first_line
from ..utils.feature_stride import feature_stride
from ..utils.input_channels import input_channels
from ..utils.padded_size import padded_size
from ..utils.pretrained import without_pretrained

__all__ = ["ModelRun", "model_run"]

# Entries that load weights or that a forward pass does not use.
_LEFT_OUT = ("init_cfg", "pretrained", "train_cfg", "test_cfg")

# Names of the part that sees the image. Multi-modal models of mmpretrain have others.
_BACKBONES = (
    "backbone",
    "vision_backbone",
    "vision_encoder",
    "visual_encoder",
)

# Images of a batch, unless another number is asked for.
_IMAGES = 2

_Run = Callable[[Size, int], Any]
"""Runs a part of a model on a number of images of one size."""

# The last runs, by the config of the model: a budget checks the same model several
# times, and the configs of a folder share a few models.
_RUNS: Dict[str, Optional[ModelRun]] = {}
_MOST_RUNS = 8

# Runs whose model is in memory.
_BUILT: List[ModelRun] = []
_MOST_BUILT = 1


class ModelRun:
    """Run a model at different sizes.

    Results are cached. Only the last models built stay in memory.

    Args:
        build: Function that builds the model, or its backbone and neck.
        base_size: ``(height, width)`` in pixels that the config is made for.

    Attributes:
        ran: Part of the model that was run: ``'all of it'``, ``'its backbone and
            neck'`` or ``'its backbone'``; ``None`` if no part runs without data at the
            base size.
        stride: Stride of the last feature map of the backbone; ``None`` if unknown.
        takes_small_maps: Whether the backbone has an argument ``pad_small_map`` that
            is off.
        synchronizes: Whether batch norm is over all ranks (SyncBN).
    """

    def __init__(self, build: Callable[[], nn.Module], base_size: Size) -> None:
        self._build = build
        self._failures: Dict[Tuple[Size, int], Optional[str]] = {
            (base_size, _IMAGES): None
        }
        self._run: Optional[_Run] = None
        self._way = 0
        self.ran: Optional[str] = None
        self.stride: Optional[int] = None
        model = build()
        self.takes_small_maps = _takes_small_maps(model)
        self.synchronizes = any(
            isinstance(module, nn.SyncBatchNorm) for module in model.modules()
        )
        maps: List[Any] = []
        backbone = getattr(model, "backbone", None)
        if isinstance(backbone, nn.Module):
            handle = backbone.register_forward_hook(
                lambda module, args, out: maps.append(out)
            )
        for self._way, (name, run) in enumerate(_ways(model.train())):
            if _failure(run, base_size, _IMAGES) is None:
                self.ran = name
                self._keep(run)
                break
        if isinstance(backbone, nn.Module):
            handle.remove()
        if self.ran is not None and maps:
            self.stride = feature_stride(maps[-1], base_size)

    def failure(self, size: Size, images: int = _IMAGES) -> Optional[str]:
        """Return the error of the model on a batch; ``None`` if it runs."""
        assert self.ran is not None
        if (size, images) not in self._failures:
            if self._run is None:
                ways = itertools.islice(_ways(self._build().train()), self._way, None)
                self._keep(next(ways)[1])
            assert self._run is not None
            self._failures[size, images] = _failure(self._run, size, images)
        return self._failures[size, images]

    def _keep(self, run: _Run) -> None:
        self._run = run
        _BUILT.append(self)
        while len(_BUILT) > _MOST_BUILT:
            _BUILT.pop(0)._run = None


def model_run(config: Mapping, base_size: Size) -> Optional[ModelRun]:
    """Build the model of a config and run it at the base size.

    Args:
        config: The whole config. Its ``custom_imports`` are imported.
        base_size: ``(height, width)`` in pixels that the config is made for.

    Returns:
        The model, which can be run at other sizes; ``None`` if neither the model nor
        its backbone can be built here and run without data.
    """
    model = config.get("model")
    if not isinstance(model, Mapping):
        return None
    scope = scope_of(config)
    for part in _parts(model, config):
        key = f"{scope} {base_size} {_key(part)}"
        if key in _RUNS:
            found = _RUNS.pop(key)
        else:
            build = functools.partial(_built, part, config, scope)
            try:
                found = ModelRun(build, base_size)
            except Exception:  # a library may raise anything
                found = None
        _RUNS[key] = found  # as the newest
        if len(_RUNS) > _MOST_RUNS:
            del _RUNS[next(iter(_RUNS))]
        if found is not None and found.ran is not None:
            return found
    return None


class _Features(nn.Module):
    """A backbone followed by a neck."""

    def __init__(
        self, backbone: nn.Module, neck: Optional[nn.Module], pad_size_divisor: int
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.neck = neck
        self.pad_size_divisor = pad_size_divisor

    def extract_feat(self, images: torch.Tensor) -> Any:
        """Return the features of a batch of images."""
        features = self.backbone(images)
        return features if self.neck is None else self.neck(features)


def _parts(model: Mapping, config: Mapping) -> List[Mapping]:
    """Return configs to build, in order of preference: the model, then its features."""
    whole = {k: v for k, v in model.items() if k not in _LEFT_OUT}
    if "data_preprocessor" not in whole and config.get("data_preprocessor"):
        whole["data_preprocessor"] = config["data_preprocessor"]
    found: List[Mapping] = [whole]
    backbone = next(filter(None, (model.get(name) for name in _BACKBONES)), None)
    if isinstance(backbone, Mapping):
        features: Dict[str, Any] = dict(backbone=backbone)
        if isinstance(model.get("neck"), Mapping):
            features["neck"] = model["neck"]
        preprocessor = whole.get("data_preprocessor") or {}
        features["pad_size_divisor"] = preprocessor.get("pad_size_divisor") or 1
        if "roi_head" in model:
            # Proposals depend on values. The RoI head sees RoIs of a fixed size anyway.
            found = [features]
        else:
            found.append(features)
    return found


def _built(part: Mapping, config: Mapping, scope: str) -> nn.Module:
    with _quietly(), _in_scope(config, scope):
        return _build(without_pretrained(part))


def _build(config: Mapping) -> nn.Module:
    with torch.random.fork_rng(devices=[]), _NoRandomWeights():
        if "type" in config:
            model: nn.Module = MODELS.build(config)
            return model
        neck = config.get("neck")
        return _Features(
            MODELS.build(config["backbone"]),
            MODELS.build(neck) if neck else None,
            config["pad_size_divisor"],
        )


# Methods that fill weights: those that torch.nn.init uses, and the steps of its
# truncated normal distribution. Memory that is never written to is not allocated by
# the system.
_FILLS = tuple(
    getattr(torch.Tensor, name)
    for name in ("uniform_", "normal_", "erfinv_", "mul_", "add_", "clamp_", "zero_")
)


class _NoRandomWeights(TorchFunctionMode):
    """Leave weights uninitialized, since their values are not used."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _FILLS or getattr(func, "__module__", None) == nn.init.__name__:
            weight = args[0] if args else kwargs.get("tensor")
            if isinstance(weight, nn.Parameter):
                return weight
        return func(*args, **kwargs)


@contextmanager
def _in_scope(config: Mapping, scope: str) -> Iterator[None]:
    imports = config.get("custom_imports")
    if isinstance(imports, Mapping):
        import_modules_from_strings(**imports)
    # MMEngine has no public way to put back the scopes that were there before.
    known = dict(DefaultScope._instance_dict)
    try:
        with DefaultScope.overwrite_default_scope(scope):
            yield
    finally:
        DefaultScope._instance_dict.clear()
        DefaultScope._instance_dict.update(known)


@contextmanager
def _quietly() -> Iterator[None]:
    """Silence warnings and logs about a model that is thrown away."""
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        before = logging.root.manager.disable
        logging.disable(logging.ERROR)
        stack.callback(logging.disable, before)
        # MMEngine has no public way to list its loggers.
        for logger in MMLogger._instance_dict.values():
            level = logger.level
            logger.setLevel(logging.CRITICAL)
            stack.callback(logger.setLevel, level)
        yield


def _ways(model: nn.Module) -> Iterator[Tuple[str, _Run]]:
    """Yield ways to run a model, most of it first and the faster way first."""
    any_model: Any = model
    if not isinstance(model, _Features):
        try:
            make_batch = batch_maker(model)
        except ValueError:  # not a model of these libraries
            pass
        else:
            on_meta = batch_maker(model, device="meta")
            yield (
                "all of it",
                _OnMeta(model, lambda size, n: dict(on_meta(n, *size), mode="tensor")),
            )
            yield (
                "all of it",
                _OnFake(
                    model, lambda size, n: dict(make_batch(n, *size), mode="tensor")
                ),
            )
    parts = [("its backbone", any_model.backbone)] if _backbone(model) else []
    if hasattr(model, "extract_feat"):
        parts.insert(0, ("its backbone and neck", _FeaturesOf(model)))
    for name, part in parts:
        yield name, _OnMeta(part, lambda size, n: _images(model, size, n, "meta"))
        yield name, _OnFake(part, lambda size, n: _images(model, size, n, "cpu"))


class _FeaturesOf(nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> Any:
        return self.model.extract_feat(images)


class _OnMeta:
    """Run a module on meta tensors: fast, but fails if shapes depend on values."""

    def __init__(self, module: nn.Module, make_batch: _Run) -> None:
        self._module = module
        self._state = meta_state(module)
        self._make_batch = make_batch

    def __call__(self, size: Size, images: int) -> None:
        batch = self._make_batch(size, images)
        if isinstance(batch, torch.Tensor):
            call_on_meta(self._module, self._state, batch)
        else:
            call_on_meta(self._module, self._state, **batch)


class _OnFake:
    """Run a module on PyTorch's fake tensors, mixed with its own real tensors."""

    def __init__(self, module: nn.Module, make_batch: _Run) -> None:
        self._module = module
        self._make_batch = make_batch

    def __call__(self, size: Size, images: int) -> None:
        batch = self._make_batch(size, images)
        with FakeTensorMode(allow_non_fake_inputs=True), _FewOperators():
            if isinstance(batch, torch.Tensor):
                self._module(batch)
            else:
                self._module(**batch)


# Far more than any model runs at one size.
_MOST_OPERATORS = 50_000


class _FewOperators(TorchDispatchMode):
    """Stop a model whose extension in C++ reads a tensor element by element.

    On fake tensors this takes hours (mmcv's ``PSAMask``).
    """

    def __init__(self) -> None:
        super().__init__()
        self._count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self._count += 1
        if self._count > _MOST_OPERATORS:
            raise RuntimeError(f"runs more than {_MOST_OPERATORS} operators")
        return func(*args, **(kwargs or {}))


def _backbone(model: nn.Module) -> bool:
    return isinstance(getattr(model, "backbone", None), nn.Module)


def _images(model: nn.Module, size: Size, number: int, device: str) -> torch.Tensor:
    shape = (number, input_channels(model), *padded_size(model, size))
    return torch.zeros(shape, device=device)


def _failure(run: _Run, size: Size, images: int) -> Optional[str]:
    try:
        with _quietly(), torch.no_grad():
            run(size, images)
    except Exception as error:  # a model may raise anything
        text, name = first_line(error), type(error).__name__
        return text if text == name else f"{name}: {text}"
    return None


def _takes_small_maps(model: nn.Module) -> bool:
    backbone = getattr(model, "backbone", None)
    if backbone is None:
        return False
    argument = inspect.signature(type(backbone).__init__).parameters.get(
        "pad_small_map"
    )
    return argument is not None and argument.default is False


def _key(config: Any) -> str:
    def name(value: Any) -> str:
        return kind_of(dict(type=value)).name if inspect.isclass(value) else repr(value)

    return json.dumps(_plain(config), default=name, sort_keys=True)


def _plain(config: Any) -> Any:
    if isinstance(config, Mapping):
        return {
            str(k): _plain(v)
            for k, v in config.items()
            if k not in _LEFT_OUT and not str(k).startswith("loss")
        }
    if isinstance(config, (list, tuple)):
        return [_plain(v) for v in config]
    return config
