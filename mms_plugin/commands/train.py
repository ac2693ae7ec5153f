"""Train a model from a config of any MMEngine library."""

from __future__ import annotations

import argparse
import os.path as osp
from typing import List

from .. import cli


def parse_args(argv: List[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = cli.ArgumentParser(description=__doc__)
    cli.add_common_arguments(parser)
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        metavar="CKPT",
        help="resume from CKPT, or from the latest checkpoint of the work dir",
    )
    cli.add_amp_argument(parser)
    cli.add_recipe_arguments(parser)
    parser.add_argument(
        "--auto-scale-lr",
        action="store_true",
        help="scale the learning rate by the ratio of the actual total batch size to "
        "auto_scale_lr.base_batch_size of the config",
    )
    parser.add_argument(
        "--dry-run-sizes",
        action="store_true",
        help="before the training, run one iteration of every size that it will draw, "
        "most expensive first, and restore everything (DryRunHook)",
    )
    return parser.parse_args(argv)


def main(argv: List[str]) -> None:
    """Run the command."""
    args = parse_args(argv)
    config = cli.load_config(args.config, args.cfg_options)
    config = cli.apply_recipe_arguments(config, args)
    if args.resume not in (None, "auto") and not (
        # whose checkpoints may be folders (DeepSpeed)
        config.get("runner_type") == "FlexibleRunner" and osp.isdir(args.resume)
    ):
        cli.check_checkpoint(args.resume, "--resume")
    if args.amp:
        cli.enable_amp(config)
    if args.auto_scale_lr:
        if "base_batch_size" not in (config.get("auto_scale_lr") or {}):
            raise cli.UserError(
                "--auto-scale-lr needs auto_scale_lr=dict(base_batch_size=...) in "
                "the config"
            )
        config.auto_scale_lr.enable = True
    if args.dry_run_sizes:
        cli.add_dry_run(config)
    cli.set_dataloader_defaults(config)
    cli.set_work_dir(config, args.work_dir)
    cli.choose_checkpoint_to_resume(config, args.resume)
    cli.warn_of_missing_parts(config)
    cli.save_atomically(config)
    cli.prepare_launcher(config, args.launcher, args.local_rank)
    with cli.setting_up("the runner cannot be built"):
        runner = cli.build_runner(config)
    cli.check_ranks_resume_alike(config)
    if args.recipe is not None and not args.dry_run_sizes:
        cli.check_first_batch(runner)
    with cli.run_started(runner):
        runner.train()
