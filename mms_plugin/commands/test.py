"""Evaluate checkpoints with a config of any MMEngine library.

Over several sizes (--sizes) and under ImageNet-C's corruptions (--corruptions) when
asked: one table, one picture and a JSON file of all.
"""

from __future__ import annotations

import argparse
import copy
import os
import os.path as osp
import sys
from glob import escape, glob
from importlib.util import find_spec
from typing import Any, Callable, Dict, List, Mapping, Optional

from mmengine.config import Config, ConfigDict
from mmengine.dist import is_main_process
from mmengine.evaluator import DumpResults
from mmengine.hooks import EMAHook
from mmengine.runner import Runner
from torch import nn

from .. import cli
from ..evaluation.common_corruption import load_corrupt
from ..evaluation.conditions import (
    Condition,
    headline_metric,
    plan_conditions,
    summarize,
    to_table,
)
from ..evaluation.corruptions import SEVERITIES, choose_corruptions
from ..evaluation.input_sizes import check_sizes
from ..evaluation.pipeline_size import (
    change_pipelines,
    describe_sizes,
    pipeline_at_size,
)
from ..multi_scale.path_in_errors import put_paths_in_errors
from ..utils.files import write_atomically
from ..utils.host_versions import require
from ..utils.in_process import in_process

STEM = "evaluation"
"""Name of the files with the results of several evaluations."""


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


def test_pipeline(config: Config) -> List[Dict[str, Any]]:
    """Return the first pipeline of the config's test dataset."""
    found: List[Any] = []

    def note(pipeline: Any) -> Any:
        found.append(pipeline)
        return pipeline

    change_pipelines(config.test_dataloader.dataset, note)
    return found[0]


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
    pipeline = test_pipeline(config)
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


def plan(config: Config, args: argparse.Namespace) -> List[Condition]:
    """Return the conditions to evaluate, tried on the config's pipeline."""
    with cli.setting_up("--corruptions"):
        corruptions = (
            [] if args.corruptions is None else choose_corruptions(args.corruptions)
        )
        if corruptions:
            load_corrupt()
    severities = sorted(set(args.severities or SEVERITIES)) if corruptions else []
    sizes: List[Optional[int]] = list(dict.fromkeys(args.sizes or [])) or [None]
    conditions = plan_conditions(sizes, corruptions, severities)
    with cli.setting_up(f"config {args.config}"):
        for condition in conditions:
            change_pipelines(config.test_dataloader.dataset, condition.apply)
    return conditions


def dataloader_at(config: Config, condition: Condition) -> ConfigDict:
    """Return the config's test dataloader under a condition."""
    loader = copy.deepcopy(config.test_dataloader)
    loader.dataset = ConfigDict(change_pipelines(loader.dataset, condition.apply))
    # One dataloader after the other: none keeps its workers.
    loader.persistent_workers = False
    return loader


def initial_weights(runner: Runner) -> Dict[nn.Module, Dict[str, Any]]:
    """Return a copy of the weights of the model, and of their average if it has one."""
    averages = [hook.ema_model for hook in runner.hooks if isinstance(hook, EMAHook)]
    return {
        module: copy.deepcopy(module.state_dict())
        for module in (runner.model, *averages)
    }


def run_conditions(
    runner: Runner,
    config: Config,
    checkpoints: List[str],
    conditions: List[Condition],
    done: Callable[[List[Dict[str, Any]]], None],
) -> List[Dict[str, Any]]:
    """Evaluate every checkpoint, loaded once, under every condition.

    Args:
        runner: Built with the first condition's dataloader.
        config: The config.
        checkpoints: Files or addresses.
        conditions: What is evaluated.
        done: Called with all results after each evaluation.
    """
    results: List[Dict[str, Any]] = []
    loop = runner.test_loop
    runner.call_hook("before_run")
    with cli.setting_up("--sizes"):
        sizes = {item.size for item in conditions if item.size is not None}
        divisors = [item.get("size_divisor") or 1 for item in test_pipeline(config)]
        check_sizes(runner.model, sorted(sizes), max(divisors))
    corrupted = next((item for item in conditions if item.corruption), None)
    if corrupted is not None:
        # Images that cannot be corrupted show before the clean ones are evaluated.
        with cli.setting_up("--corruptions"):
            loader = in_process(dataloader_at(config, corrupted))
            runner.build_dataloader(loader, seed=runner.seed).dataset[0]
    initial = initial_weights(runner) if len(checkpoints) > 1 else {}
    for checkpoint in checkpoints:
        with cli.loading_checkpoint(checkpoint):
            # What a checkpoint does not have must not be that of the one before.
            for module, state in initial.items():
                module.load_state_dict(state, strict=False)  # as MMEngine does
            runner.load_checkpoint(checkpoint)
        for condition in conditions:
            runner.logger.info(f"Evaluating {checkpoint} at {condition}")
            if results:
                loop.dataloader = runner.build_dataloader(
                    dataloader_at(config, condition), seed=runner.seed
                )
                put_paths_in_errors(loop.dataloader.dataset)
                loop.evaluator = runner.build_evaluator(
                    copy.deepcopy(config.test_evaluator)
                )
                loop.evaluator.dataset_meta = getattr(
                    loop.dataloader.dataset, "metainfo", None
                )
            metrics = loop.run()
            results.append(
                dict(
                    checkpoint=checkpoint,
                    size=condition.size,
                    corruption=condition.corruption,
                    severity=condition.severity,
                    metrics=cli.plain(metrics),
                )
            )
            done(results)
    runner.call_hook("after_run")
    return results


def short_names(checkpoints: List[str]) -> Dict[str, str]:
    """Return names for legends: the part of each path that differs."""
    if len(checkpoints) == 1:
        return {checkpoints[0]: osp.basename(checkpoints[0])}
    names = [name.replace(os.sep, "/").split("/") for name in checkpoints]
    while len({tuple(name[:1]) for name in names}) == 1 and min(map(len, names)) > 1:
        names = [name[1:] for name in names]
    while len({tuple(name[-1:]) for name in names}) == 1 and min(map(len, names)) > 1:
        names = [name[:-1] for name in names]
    return {path: "/".join(name) for path, name in zip(checkpoints, names)}


def keep_earlier(work_dir: str) -> None:
    """Rename the results of an earlier evaluation, so that they are not replaced."""
    earlier = [osp.join(work_dir, STEM + end) for end in (".json", ".md", ".png")]
    earlier = [path for path in earlier if osp.exists(path)]
    if not earlier:
        return
    number = 1
    while glob(osp.join(escape(work_dir), f"{STEM}_{number}.*")):
        number += 1
    for path in earlier:
        os.rename(path, osp.join(work_dir, f"{STEM}_{number}{osp.splitext(path)[1]}"))
    print(f"An earlier {STEM} is kept as {STEM}_{number}.", file=sys.stderr)


def evaluate_conditions(config: Config, args: argparse.Namespace) -> Dict[str, Any]:
    """Evaluate all checkpoints under all conditions; write table, picture and JSON."""
    if args.out and not args.out.endswith(".json"):
        raise cli.UserError(
            f"--out {args.out} must end in .json: predictions are those of one "
            "checkpoint, without --sizes and --corruptions"
        )
    if find_spec("matplotlib") is None:
        raise cli.UserError("the picture needs matplotlib: pip install matplotlib")
    conditions = plan(config, args)
    checkpoints = list(dict.fromkeys(args.checkpoint))
    cli.set_work_dir(config, args.work_dir)
    cli.name_for_test(config)
    out = args.out or osp.join(config.work_dir, f"{STEM}.json")
    cli.prepare_launcher(config, args.launcher, args.local_rank)

    first = copy.deepcopy(config)
    first.test_dataloader = dataloader_at(config, conditions[0])
    first.load_from = None
    with cli.setting_up("the runner cannot be built"):
        runner = cli.build_runner(first)

    def report_of(
        results: List[Dict[str, Any]], wanted: Optional[str]
    ) -> Dict[str, Any]:
        # A detector that finds nothing under one condition has no AP there.
        known = {
            name: value
            for result in results
            for name, value in result["metrics"].items()
            if value is not None
        }
        complete = len(results) == len(checkpoints) * len(conditions)
        with cli.setting_up("--metric"):
            metric = headline_metric(known, wanted, complete)
        about: Dict[str, Any] = dict(config=args.config, test_data=args.test_data)
        about["cfg_options"] = cli.plain(args.cfg_options or {})
        pipeline = test_pipeline(config)
        about["transforms"] = {
            str(size): describe_sizes(pipeline_at_size(pipeline, size))
            for size in args.sizes or []
        }
        return {**about, **summarize(results, metric)}

    def save(results: List[Dict[str, Any]]) -> None:
        # After each evaluation: a long run that is cut short has not run for nothing.
        if not any(result["metrics"] for result in results):
            return
        try:
            report, refused = report_of(results, args.metric), None
        except cli.UserError as error:
            if args.metric is None:
                raise
            report, refused = report_of(results, None), error
        if is_main_process():
            if args.out is None and not any(r["metrics"] for r in results[:-1]):
                keep_earlier(config.work_dir)  # now is the first time
            cli.write_json(report, out)
        if refused is not None:
            raise cli.UserError(f"{refused}; {out} has what was evaluated")

    with cli.run_started(runner):
        results = run_conditions(runner, config, checkpoints, conditions, save)
        report = report_of(results, args.metric)
    if is_main_process():
        from ..analysis.evaluation_pictures import draw_evaluation

        stem = osp.splitext(out)[0]
        table = to_table(report)
        write_atomically(f"{table}\n".encode(), stem + ".md")
        draw_evaluation(report, short_names(checkpoints), stem + ".png")
        print(table)
        print(f"\nWritten: {out}, {stem}.md, {stem}.png", file=sys.stderr)
    return report


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
