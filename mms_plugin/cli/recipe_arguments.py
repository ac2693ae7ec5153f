"""``--recipe`` and ``--recipe-options``: as arguments, and what they do."""

from __future__ import annotations

import argparse
import sys
from typing import Any, Dict, List

from mmengine.config import Config

from ..analysis.model_flops import COUNTING
from ..recipes import RECIPES, apply_recipes, option_names
from .arguments import add_options_argument
from .errors import UserError, setting_up
from .launching import is_main_process, launched_world_size


def add_recipe_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--recipe`` and ``--recipe-options``."""
    parser.add_argument(
        "--recipe",
        metavar="R",
        help="convert the config to a method of this package: "
        + ", ".join(sorted(RECIPES))
        + "; join several with +",
    )
    add_options_argument(
        parser,
        "--recipe-options",
        'arguments of the recipe, such as sizes="[128,160,192]" base_size=160',
    )


def apply_recipe_arguments(config: Config, args: argparse.Namespace) -> Config:
    """Apply the recipes of ``--recipe`` to a config, and print what they change.

    Raises:
        UserError: There is no such recipe or option, or the config cannot be
            converted.
    """
    if args.recipe is None:
        if args.recipe_options is not None:
            raise UserError("--recipe-options needs --recipe")
        return config
    options = _nested(args.recipe_options or {})
    _describe_training(options, args)
    lines: List[str] = []

    def tell(name: str, line: str) -> None:
        told = f"--recipe {name}: {line}"
        if line.startswith(COUNTING):  # takes minutes: at once, even if it fails
            print(told, file=sys.stderr, flush=True)
        else:
            lines.append(told)

    with setting_up(f"--recipe {args.recipe}"):
        config = apply_recipes(
            config,
            args.recipe,
            options,
            # Of several processes one tells, and only that one reads the annotations.
            tell if is_main_process() else None,
        )
    if lines:
        print("\n".join(lines), file=sys.stderr)
    return config


def _describe_training(options: Dict[str, Any], args: argparse.Namespace) -> None:
    """Add what the command knows of the training: its ranks and its samples."""
    known: Dict[str, Any] = {}
    if hasattr(args, "launcher"):
        known["world_size"] = launched_world_size(args.launcher)
    for name in ("world_size", "num_samples"):
        if getattr(args, name, None) is not None:
            known[name] = getattr(args, name)
    for name, value in known.items():
        if options.get(name, value) != value:
            raise UserError(
                f"--recipe-options {name}={options[name]!r} contradicts the command's "
                f"own {name}={value}; leave it out"
            )
        taken = [r for r in args.recipe.split("+") if r in RECIPES]
        needed = "budget" in options or "batch_size" in options
        if needed and any(name in option_names(recipe) for recipe in taken):
            options[name] = value


def _nested(options: Dict[str, Any]) -> Dict[str, Any]:
    """Turn ``sizes.min=128 sizes.max=320`` into ``sizes=dict(min=128, max=320)``."""
    nested: Dict[str, Any] = {}
    for key, value in options.items():
        outer, dot, inner = key.partition(".")
        if not dot:
            nested[key] = value
        elif outer not in options:
            nested.setdefault(outer, {})[inner] = value
        else:
            raise UserError(f"--recipe-options has {outer} twice, {key}={value}")
    return nested
