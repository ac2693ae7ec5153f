"""Train a model from a config of any MMEngine library."""

from __future__ import annotations

import argparse
import os.path as osp
import sys
from typing import List

# The checkout that this file lies in, installed or not.
sys.path.insert(0, osp.dirname(osp.dirname(osp.abspath(__file__))))

from mmengine.config import Config

from mms_plugin import cli
from mms_plugin.optim import agvm_recipe

RECIPES = {"agvm": agvm_recipe}


def apply_recipes(config: Config, names: str) -> Config:
    """The config with each of the recipes joined by ``+``, and what they change."""
    wanted = names.split("+")
    for name in wanted:
        if name not in RECIPES:
            raise cli.UserError(
                f"--recipe {names}: {name!r} is not one of {', '.join(RECIPES)}"
            )
    for name in wanted:
        before = config
        try:
            config = RECIPES[name](config)
        except ValueError as error:
            raise cli.UserError(f"--recipe {name}: {error}") from error
        for key in config:
            if config[key] != before.get(key):
                print(f"--recipe {name}: {key} = {config[key]}", file=sys.stderr)
    return config


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
        config = apply_recipes(config, args.recipe)
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
