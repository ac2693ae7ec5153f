"""Run any library's data preprocessor at the size of the batch."""

from __future__ import annotations

import copy
from typing import Any, Dict, Mapping, Optional, Sequence, Tuple, Union

from mmengine.model import BaseDataPreprocessor
from mmengine.registry import MODELS

from ..registry import library_scope
from .size_argument import (
    check_size_arg,
    parse_size_ratio,
    scaled_size,
    set_size,
)
from .sizes import TARGET_SIZE, Size

__all__ = ["MultiScaleDataPreprocessor"]

_ORDERS = ("hw", "wh")


@MODELS.register_module()
class MultiScaleDataPreprocessor(BaseDataPreprocessor):
    """Run a data preprocessor that pads or resizes to one size at the batch's size.

    mmsegmentation's ``SegDataPreProcessor(size=(512, 512))`` pads every batch to 512;
    inside this one it pads to the size of the batch, which :class:`MultiScaleDataset`
    writes to the samples' ``metainfo['target_size']``. In evaluation, and for samples
    without a size, the preprocessor works as configured.

    One preprocessor is built for each size, on first use, in the scope that this one
    was built in. Other attributes are those of the configured preprocessor.

    Args:
        preprocessor: Config of the preprocessor, including its size.
        size_arg: The argument that takes the size; a dotted path reaches into nested
            configs (``'batch_augments.0.scale'``). Defaults to ``'size'``.
        order: ``'hw'`` or ``'wh'``, the order of the two sides. Defaults to ``'hw'``.
        size_ratio: The size relative to the batch's, a number or ``(height, width)``.
            Defaults to 1.

    Attributes:
        resizes: Whether the size is one to resize to (mmdet's ``BatchResize``), not one
            to pad to, so that images come in any size.

    Raises:
        ValueError: An argument is not valid.
    """

    def __init__(
        self,
        preprocessor: Mapping,
        size_arg: str = "size",
        order: str = "hw",
        size_ratio: Union[float, Sequence[float]] = 1.0,
    ) -> None:
        super().__init__()
        if not isinstance(preprocessor, Mapping) or "type" not in preprocessor:
            raise ValueError(
                "preprocessor must be a config such as dict(type='SegDataPreProcessor',"
                f" size=(512, 512)), but got {preprocessor!r}"
            )
        if order not in _ORDERS:
            raise ValueError(f"order must be one of {list(_ORDERS)}, but got {order!r}")
        self._scope = library_scope()
        self._config: Dict[str, Any] = copy.deepcopy(dict(preprocessor))
        self.size_arg = size_arg
        # The libraries' resizes take a scale, their paddings a size.
        self.resizes = size_arg.rpartition(".")[2] == "scale"
        self.order = order
        self.size_ratio = parse_size_ratio(size_ratio)
        self.preprocessor = self._build(copy.deepcopy(self._config))
        check_size_arg(size_arg, self._config, type(self.preprocessor))
        # Not registered as submodules: their buffers equal those of the configured one.
        self._by_size: Dict[Size, Any] = {}

    def forward(self, data: Any, training: bool = False) -> Any:
        """Preprocess a batch at its size."""
        size = _target_size(data) if training else None
        chosen = self.preprocessor if size is None else self._at(size)
        if chosen.device != self.device:
            chosen.to(self.device)
        return chosen(data, training)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name.startswith("_") or "preprocessor" not in self._modules:
                raise
            return getattr(self._modules["preprocessor"], name)

    def __getstate__(self) -> Dict[str, Any]:
        return {**self.__dict__, "_by_size": {}}

    def _at(self, size: Size) -> Any:
        if size not in self._by_size:
            config = copy.deepcopy(self._config)
            set_size(config, self.size_arg, self._sides(size))
            self._by_size[size] = self._build(config)
        return self._by_size[size]

    def _sides(self, size: Size) -> Tuple[int, int]:
        height, width = scaled_size(size, self.size_ratio)
        return (width, height) if self.order == "wh" else (height, width)

    def _build(self, config: Dict[str, Any]) -> Any:
        with MODELS.switch_scope_and_registry(self._scope) as registry:
            return registry.build(config)


def _target_size(data: Any) -> Optional[Size]:
    """Return the size of a batch, if its samples have one."""
    samples = data.get("data_samples") if isinstance(data, Mapping) else None
    for sample in samples or ():
        size = getattr(sample, "metainfo", {}).get(TARGET_SIZE)
        if size is not None:
            return int(size[0]), int(size[1])
    return None
