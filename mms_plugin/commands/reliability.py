"""Reliability diagram of a classifier: accuracy by confidence, with the gap.

Evaluates CONFIG's test data with CHECKPOINT, draws the diagram with the histogram of
confidences, and writes the bins as JSON beside it.
"""

from __future__ import annotations

import argparse
import copy
import os.path as osp
import sys
from importlib.util import find_spec
from typing import Any, Dict, List, Tuple

from mmengine.dist import is_main_process

from .. import cli
from ..evaluation import CalibrationError, ClassSubset
from ..evaluation.calibration import BINNINGS, NORMS
from ..utils.config_types import kind_of


def parse_args(argv: List[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = cli.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    cli.add_common_arguments(parser)
    parser.add_argument("checkpoint", help="checkpoint file or URL")
    parser.add_argument(
        "--num-bins",
        type=cli.whole_number(1),
        default=15,
        metavar="N",
        help="number of bins (default: 15)",
    )
    parser.add_argument(
        "--binning",
        choices=[*(name.replace("_", "-") for name in BINNINGS), "adaptive"],
        default="equal-width",
        help="bins of equal width, or with equally many images (equal-mass, also "
        "called adaptive) (default: equal-width)",
    )
    parser.add_argument(
        "--out",
        metavar="FILE.png",
        help="file of the picture; FILE.json is written beside it (default: "
        "reliability.png in the work dir)",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="print only JSON to standard output: the metrics and bins",
    )
    return parser.parse_args(argv)


def among_the_classes_of(evaluator: Any, metric: Dict[str, Any]) -> Dict[str, Any]:
    """Return a metric, among only the classes that the config's evaluator evaluates.

    Args:
        evaluator: ``test_evaluator`` of the config.
        metric: Config of the metric.
    """
    if isinstance(evaluator, dict) and "metrics" in evaluator:
        evaluator = evaluator["metrics"]
    metrics = evaluator if isinstance(evaluator, (list, tuple)) else [evaluator]
    for own in metrics:
        if isinstance(own, dict) and kind_of(own).name == "ClassSubset":
            changed: Dict[str, Any] = copy.copy(own)  # keeps a lazily imported class
            changed["metric"] = metric
            return changed
    return metric


def evaluate(args: argparse.Namespace) -> Tuple[Dict[str, Any], str]:
    """Return metrics and bins, and where the picture goes.

    Only the main process has bins.
    """
    config = cli.load_config(args.config, args.cfg_options)
    cli.check_checkpoint(args.checkpoint)
    if args.out:
        cli.check_out(args.out, (".png",))
    if find_spec("matplotlib") is None:
        raise cli.UserError("the diagram needs matplotlib: pip install matplotlib")
    if config.get("test_dataloader") is None:
        raise cli.UserError(f"config {args.config} has no test_dataloader")
    if config.get("test_cfg") is None:
        config.test_cfg = dict()
    # The config's own metrics stay out: they may need what is not asked for here.
    config.test_evaluator = among_the_classes_of(
        config.get("test_evaluator"),
        dict(
            type="CalibrationError",
            num_bins=args.num_bins,
            norm=list(NORMS),
            binning=args.binning,
        ),
    )
    config.load_from = args.checkpoint
    config.resume = False
    cli.set_dataloader_defaults(config)
    cli.set_work_dir(config, args.work_dir)
    cli.name_for_test(config)
    cli.prepare_launcher(config, args.launcher, args.local_rank)
    with cli.setting_up("the runner cannot be built"):
        runner = cli.build_runner(config)
        (metric,) = runner.test_evaluator.metrics
        metric = metric.metric if isinstance(metric, ClassSubset) else metric
    with cli.run_started(runner):
        try:
            metrics = runner.test()
        except ValueError as error:
            # A detector, a multi-label model: known from its first outputs on.
            if cli.debugging() or "CalibrationError" not in str(error):
                raise
            raise cli.UserError(str(error)) from error
    assert isinstance(metric, CalibrationError)
    bins = metric.bins or []
    report = dict(
        config=args.config,
        checkpoint=args.checkpoint,
        metrics=metrics,
        binning=args.binning,
        bins=[item.to_dict() for item in bins],
    )
    out = args.out or osp.join(config.work_dir, "reliability.png")
    if is_main_process():
        from ..analysis.evaluation_pictures import draw_reliability

        cli.write_json(report, osp.splitext(out)[0] + ".json")
        draw_reliability(
            bins,
            out,
            f"Reliability of {osp.basename(args.checkpoint)}",
            {
                "ECE (%)": metrics["calibration/ece"],
                "RMSCE (%)": metrics["calibration/rmsce"],
                "MCE (%)": metrics["calibration/mce"],
                "Brier (%)": metrics["calibration/brier"],
                "NLL (nats)": metrics["calibration/nll"],
            },
        )
    return report, out


def main(argv: List[str]) -> None:
    """Run the command."""
    args = parse_args(argv)
    with cli.json_on_stdout(args.json) as emit:
        report, out = evaluate(args)
        if is_main_process():
            for name, value in report["metrics"].items():
                print(f"{name}: {value:.4f}")
            print(f"Written: {out}, {osp.splitext(out)[0]}.json", file=sys.stderr)
            emit(report)
