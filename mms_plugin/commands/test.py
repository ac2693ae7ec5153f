"""Evaluate checkpoints with a config of any MMEngine library.

Over several sizes (--sizes) and under ImageNet-C's corruptions (--corruptions) when
asked: one table, one picture and a JSON file of all.
"""

from __future__ import annotations

import argparse
from typing import Any, Dict, List, Mapping, Optional

from mmengine.config import Config, ConfigDict
from mmengine.dist import is_main_process
from mmengine.evaluator import DumpResults

from .. import cli
from ..evaluation.corruptions import SEVERITIES
from ..evaluation.pipeline_size import (
    change_pipelines,
    first_pipeline,
)
from ..utils.host_versions import require
from .condition_runs import evaluate_conditions


def parse_args(argv: List[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = cli.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    cli.add_common_arguments(parser)
    parser.add_argument(
        "checkpoint", nargs="+", help="checkpoint file or URL; several are compared"
    )
    parser.add_argument(
        "--sizes",
        nargs="+",
        type=cli.whole_number(1),
        metavar="SIZE",
        help="shorter sides in pixels of the images that the network gets; resize and "
        "crop of the test pipeline are scaled by the same factor",
    )
    parser.add_argument(
        "--corruptions",
        nargs="*",
        metavar="NAME",
        help="also evaluate on corrupted images: names of ImageNet-C's corruptions or "
        "of groups (noise, blur, weather, digital); 'all' or no name means all 15",
    )
    parser.add_argument(
        "--severities",
        nargs="+",
        type=int,
        choices=SEVERITIES,
        help="severities of the corruptions (default: 1 2 3 4 5)",
    )
    parser.add_argument(
        "--test-data",
        metavar="FILE",
        help="config whose test dataset and test evaluator replace the config's, "
        "such as mms_plugin::_base_/datasets/imagenet_r.py; the config's test "
        "pipeline is kept",
    )
    parser.add_argument(
        "--metric",
        metavar="NAME",
        help="metric of the table and the picture, such as coco/bbox_mAP (default: "
        "top-1 accuracy, mask or box mAP, mIoU)",
    )
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="write the metrics to FILE.json, or every prediction to FILE.pkl; with "
        "several sizes, corruptions or checkpoints FILE.json, FILE.png and FILE.md "
        "are written (default: evaluation.json in the work dir, where an earlier one "
        "is kept under another name)",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="print only JSON to standard output: the metrics",
    )
    # dist_test.sh puts --launcher between the checkpoints.
    return parser.parse_intermixed_args(argv)


def dump_predictions(scope: str, out: str) -> DumpResults:
    """Return the metric that writes every prediction, masks encoded for mmdet."""
    if scope == "mmdet":
        return require("mmdet.evaluation").DumpDetResults(out_file_path=out)
    return DumpResults(out_file_path=out)


def check_test_data(config: Config, name: str) -> None:
    """Refuse a config without test data.

    Args:
        config: Not changed.
        name: What the error calls it.
    """
    if config.get("test_dataloader") is None or config.get("test_evaluator") is None:
        raise cli.UserError(f"{name} has no test_dataloader and test_evaluator")
    if config.test_dataloader.get("dataset") is None:
        raise cli.UserError(f"{name} has no test_dataloader.dataset")


def use_test_data(
    config: Config, name: str, options: Optional[Mapping[str, Any]]
) -> None:
    """Put another config's test data and evaluator into the config.

    Args:
        config: Changed in place.
        name: Of the other config.
        options: ``--cfg-options``; those of the test data are meant for the new one.
    """
    other = cli.load_config(name)
    check_test_data(other, f"--test-data {name}")
    pipeline = first_pipeline(config.test_dataloader.dataset)
    dataset = change_pipelines(other.test_dataloader.dataset, lambda _: pipeline)
    config.test_dataloader.dataset = ConfigDict(dataset)
    config.test_evaluator = other.test_evaluator
    config.merge_from_dict(dict(options or {}))


def load_config(args: argparse.Namespace) -> Config:
    """Load the config to evaluate with, and check every argument."""
    config = cli.load_config(args.config, args.cfg_options)
    for checkpoint in args.checkpoint:
        cli.check_checkpoint(checkpoint)
    if args.out:
        cli.check_out(args.out, (".json", ".pkl", ".pickle"))
    check_test_data(config, f"config {args.config}")
    if args.severities and args.corruptions is None:
        raise cli.UserError("--severities needs --corruptions")
    if args.metric is not None and not has_conditions(args):
        raise cli.UserError(
            "--metric needs --sizes, --corruptions or several checkpoints: it is the "
            "metric of their table; one evaluation shows all metrics"
        )
    if args.test_data:
        with cli.setting_up(f"--test-data {args.test_data}"):
            use_test_data(config, args.test_data, args.cfg_options)
    if config.get("test_cfg") is None:
        config.test_cfg = dict()
    config.resume = False
    cli.set_dataloader_defaults(config)
    return config


def has_conditions(args: argparse.Namespace) -> bool:
    """Return whether there is more than one evaluation to make a table of."""
    several = len(set(args.checkpoint)) > 1
    return bool(args.sizes) or args.corruptions is not None or several


def evaluate_once(config: Config, args: argparse.Namespace) -> Dict[str, Any]:
    """Evaluate one checkpoint, as the libraries' own tools do."""
    config.load_from = args.checkpoint[0]
    cli.set_work_dir(config, args.work_dir)
    cli.name_for_test(config)
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
    """Run the command."""
    args = parse_args(argv)
    with cli.json_on_stdout(args.json) as emit:
        config = load_config(args)
        if has_conditions(args):
            document = evaluate_conditions(config, args)
        else:
            document = evaluate_once(config, args)
            if is_main_process() and args.out and args.out.endswith(".json"):
                cli.write_json(document, args.out)
        if is_main_process():
            emit(document)
