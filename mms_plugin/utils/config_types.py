"""Read what the ``type`` of a config names."""

from __future__ import annotations

from typing import Any, Mapping, NamedTuple

__all__ = ["Kind", "class_name", "counts_iterations", "kind_of", "scope_of"]


class Kind(NamedTuple):
    """Class that the ``type`` of a config names.

    Attributes:
        library: Package that the class comes from or is looked up in; ``''`` if
            neither the config nor the scope names one.
        name: Name of the class.
    """

    library: str
    name: str


def class_name(kind: Any) -> str:
    """Return the name of a ``type``'s class, without its library.

    Args:
        kind: A registered name, such as ``'mmdet.Resize'`` or ``'torchvision/Resize'``,
            or a class, as in a config with lazy imports.
    """
    if isinstance(kind, str):
        return kind.rpartition("/")[2].rpartition(".")[2]
    return str(getattr(kind, "__name__", repr(kind))).rpartition(".")[2]


def kind_of(config: Mapping, scope: str = "") -> Kind:
    """Return the class that ``config['type']`` names.

    Args:
        config: Config of a component. Its ``type`` is a registered name or a class; its
            ``_scope_`` takes precedence over ``scope``.
        scope: Scope in which names are looked up. Defaults to ``''``.
    """
    kind = config.get("type")
    library = config.get("_scope_") or scope
    if kind is None:
        return Kind(library, "")
    name = class_name(kind)
    if not isinstance(kind, str):
        return Kind(getattr(kind, "__module__", "").partition(".")[0], name)
    if "/" in kind:  # mmpretrain's 'torchvision/Resize'
        library, _, kind = kind.rpartition("/")
    if "." in kind:
        library = kind.partition(".")[0]
    return Kind(library, name)


def scope_of(config: Mapping) -> str:
    """Return the scope in which a config's components are looked up."""
    return str(config.get("default_scope") or "mmengine")


def batch_size_of(loader: Mapping) -> Any:
    """Return the images per rank and batch of a data loader's config.

    The batch sampler's own ``batch_size`` comes first, as in MMEngine. None if there is
    none.
    """
    own = loader.get("batch_sampler")
    images = own.get("batch_size") if isinstance(own, Mapping) else None
    return loader.get("batch_size") if images is None else images


def counts_iterations(config: Mapping) -> bool:
    """Return whether a config's training counts iterations instead of epochs."""
    loop = config.get("train_cfg")
    if not isinstance(loop, Mapping):
        return False
    if loop.get("type") is not None:
        if class_name(loop["type"]) == "IterBasedTrainLoop":
            return True
        # A loop of the user's own.
        return loop.get("max_iters") is not None and loop.get("max_epochs") is None
    return not loop.get("by_epoch", True)
