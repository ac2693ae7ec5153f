"""Train a model from a config of any MMEngine library."""

from __future__ import annotations

import argparse
import os.path as osp
import sys
from typing import Any, Dict, List, Optional

# The checkout that this file lies in, installed or not.
sys.path.insert(0, osp.dirname(osp.dirname(osp.abspath(__file__))))

from mmengine.config import Config

from mms_plugin import cli
from mms_plugin.recipes import RECIPES, apply_recipes


def apply_recipe_argument(
    config: Config, names: str, options: Optional[Dict[str, Any]]
) -> Config:
    """The config with the recipes of ``--recipe``; says what they change."""

    lines: List[str] = []
    try:
        config = apply_recipes(
            config,
            names,
            _nested(options or {}),
            lambda name, line: lines.append(f"--recipe {name}: {line}"),
        )
    except (TypeError, ValueError) as error:
        raise cli.UserError(f"--recipe {names}: {error}") from error
    if cli.is_main_process():
        print("\n".join(lines), file=sys.stderr)
    return config


def _nested(options: Dict[str, Any]) -> Dict[str, Any]:
    """``sizes.min=128 sizes.max=320`` is ``sizes=dict(min=128, max=320)``."""
    nested: Dict[str, Any] = {}
    for key, value in options.items():
        outer, dot, inner = key.partition(".")
        if not dot:
            nested[key] = value
        elif isinstance(nested.setdefault(outer, {}), dict):
            nested[outer][inner] = value
        else:
            raise cli.UserError(f"--recipe-options has {outer} twice, {key}={value}")
    return nested


def parse_args(argv: List[str]) -> argparse.Namespace:
    parser = cli.ArgumentParser(description=__doc__)
    cli.add_common_arguments(parser)
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        metavar="CKPT",
        help="go on from this checkpoint; alone: from the latest of the work dir",
    )
    parser.add_argument(
        "--amp",
        action="store_true",
        help="mixed precision: float16 on an accelerator, bfloat16 on the CPU",
    )
    parser.add_argument(
        "--recipe",
        metavar="R",
        help="train the config with a method of this package: "
        + ", ".join(sorted(RECIPES))
        + "; several are joined by +",
    )
    cli.add_options_argument(
        parser,
        "--recipe-options",
        'arguments of the recipe, such as sizes="[128,160,192]" base_size=160',
    )
    parser.add_argument(
        "--auto-scale-lr",
        action="store_true",
        help="scale the learning rate by the real total batch size against "
        "auto_scale_lr.base_batch_size of the config",
    )
    return parser.parse_args(argv)


def main(argv: List[str]) -> None:
    args = parse_args(argv)
    config = cli.load_config(args.config, args.cfg_options)
    if args.recipe is not None:
        config = apply_recipe_argument(config, args.recipe, args.recipe_options)
    elif args.recipe_options is not None:
        raise cli.UserError("--recipe-options needs --recipe")
    if args.resume not in (None, "auto"):
        cli.check_checkpoint(args.resume, "--resume")
    if args.resume is not None:
        config.resume = True
        config.load_from = None if args.resume == "auto" else args.resume
    if args.amp:
        cli.enable_amp(config)
    if args.auto_scale_lr:
        if "base_batch_size" not in (config.get("auto_scale_lr") or {}):
            raise cli.UserError(
                "--auto-scale-lr needs auto_scale_lr=dict(base_batch_size=...) in "
                "the config"
            )
        config.auto_scale_lr.enable = True
    cli.set_dataloader_defaults(config)
    cli.set_work_dir(config, args.work_dir)
    cli.prepare_launcher(config, args.launcher, args.local_rank)
    with cli.setting_up("the runner cannot be built"):
        runner = cli.build_runner(config)
    with cli.run_started(runner):
        runner.train()


if __name__ == "__main__":
    cli.run_command(main)
