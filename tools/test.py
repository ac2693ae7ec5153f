"""Evaluate a checkpoint with a config of any MMEngine library."""

from __future__ import annotations

import argparse
import os
import os.path as osp
import sys
from typing import Any, Dict, List

# The checkout that this file lies in, installed or not.
sys.path.insert(0, osp.dirname(osp.dirname(osp.abspath(__file__))))

import mmengine
from mmengine.dist import is_main_process
from mmengine.evaluator import DumpResults

from mms_plugin import cli
from mms_plugin.host_versions import require


def parse_args(argv: List[str]) -> argparse.Namespace:
    parser = cli.ArgumentParser(description=__doc__)
    cli.add_common_arguments(parser)
    parser.add_argument("checkpoint", help="checkpoint file or address")
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="metrics as FILE.json, or every prediction as FILE.pkl",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="print the metrics as JSON, and nothing else, on standard output",
    )
    return parser.parse_args(argv)


def check_out(out: str) -> None:
    if not out.endswith((".json", ".pkl", ".pickle")):
        raise cli.UserError(f"--out {out} must end in .json or .pkl")
    folder = osp.dirname(osp.abspath(out))
    if not osp.isdir(folder) or not os.access(folder, os.W_OK):
        raise cli.UserError(f"--out {out}: the folder {folder} is not writable")


def dump_predictions(scope: str, out: str) -> DumpResults:
    """The metric that writes every prediction, masks encoded for mmdet."""
    if scope == "mmdet":
        return require("mmdet.evaluation").DumpDetResults(out_file_path=out)
    return DumpResults(out_file_path=out)


def evaluate(args: argparse.Namespace) -> Dict[str, Any]:
    config = cli.load_config(args.config, args.cfg_options)
    cli.check_checkpoint(args.checkpoint)
    if args.out:
        check_out(args.out)
    if config.get("test_dataloader") is None or config.get("test_evaluator") is None:
        raise cli.UserError(
            f"config {args.config} has no test_dataloader and test_evaluator"
        )
    config.load_from = args.checkpoint
    config.resume = False
    cli.set_dataloader_defaults(config)
    cli.set_work_dir(config, args.work_dir)
    cli.prepare_launcher(config, args.launcher, args.local_rank)
    with cli.setting_up("the runner cannot be built"):
        runner = cli.build_runner(config)
        if args.out and not args.out.endswith(".json"):
            # Until now it is the config of an evaluator.
            runner.test_evaluator.metrics.append(
                dump_predictions(config.get("default_scope"), args.out)
            )
    with cli.run_started(runner):
        metrics: Dict[str, Any] = runner.test()
    return metrics


def main(argv: List[str]) -> None:
    args = parse_args(argv)
    with cli.json_on_stdout(args.json) as emit:
        metrics = evaluate(args)
        if is_main_process():
            if args.out and args.out.endswith(".json"):
                mmengine.dump(
                    cli.plain(metrics), args.out + ".part", file_format="json"
                )
                os.replace(args.out + ".part", args.out)
            emit(metrics)


if __name__ == "__main__":
    cli.run_command(main)
