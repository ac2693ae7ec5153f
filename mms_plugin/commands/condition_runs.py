"""Evaluate checkpoints under several conditions: one table, one picture, one JSON."""

from __future__ import annotations

import argparse
import copy
import os
import os.path as osp
import sys
from glob import escape, glob
from importlib.util import find_spec
from typing import Any, Callable, Dict, List, Optional

from mmengine.config import Config, ConfigDict
from mmengine.dist import is_main_process
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
    first_pipeline,
    pipeline_at_size,
)
from ..multi_scale.path_in_errors import put_paths_in_errors
from ..utils.files import write_atomically
from ..utils.in_process import in_process

STEM = "evaluation"
"""Name of the files with the results of several evaluations."""


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
        divisors = [
            item.get("size_divisor") or 1
            for item in first_pipeline(config.test_dataloader.dataset)
        ]
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


class ConditionResults:
    """The results so far, as the report that is written after each evaluation.

    An interrupted run keeps its results so far.

    Args:
        config: The config, with its work dir.
        args: The command line.
        evaluations: How many there will be.
        out: The report's path.
    """

    def __init__(
        self, config: Config, args: argparse.Namespace, evaluations: int, out: str
    ) -> None:
        self.args, self.evaluations, self.out = args, evaluations, out
        self.work_dir: str = config.work_dir
        pipeline = first_pipeline(config.test_dataloader.dataset)
        self.about: Dict[str, Any] = dict(
            config=args.config,
            test_data=args.test_data,
            cfg_options=cli.plain(args.cfg_options or {}),
            transforms={
                str(size): describe_sizes(pipeline_at_size(pipeline, size))
                for size in args.sizes or []
            },
        )

    def report(
        self, results: List[Dict[str, Any]], metric: Optional[str]
    ) -> Dict[str, Any]:
        """Return the report on the results, its table of ``metric`` or the usual one.

        Raises:
            UserError: If the results have no such metric.
        """
        # A detector that finds nothing under one condition has no AP there.
        known = {
            name: value
            for result in results
            for name, value in result["metrics"].items()
            if value is not None
        }
        complete = len(results) == self.evaluations
        with cli.setting_up("--metric"):
            name = headline_metric(known, metric, complete)
        return {**self.about, **summarize(results, name)}

    def save(self, results: List[Dict[str, Any]]) -> None:
        """Write the report, of the usual metric where there is none of that name."""
        if not any(result["metrics"] for result in results):
            return
        wanted = self.args.metric
        try:
            report, refused = self.report(results, wanted), None
        except cli.UserError as error:
            if wanted is None:
                raise
            report, refused = self.report(results, None), error
        if is_main_process():
            if self.args.out is None and not any(r["metrics"] for r in results[:-1]):
                keep_earlier(self.work_dir)  # now is the first time
            cli.write_json(report, self.out)
        if refused is not None:
            raise cli.UserError(f"{refused}; {self.out} has what was evaluated")


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

    files = ConditionResults(config, args, len(checkpoints) * len(conditions), out)
    with cli.run_started(runner):
        results = run_conditions(runner, config, checkpoints, conditions, files.save)
        report = files.report(results, args.metric)
    if is_main_process():
        from ..analysis.evaluation_pictures import draw_evaluation

        stem = osp.splitext(out)[0]
        table = to_table(report)
        write_atomically(f"{table}\n".encode(), stem + ".md")
        draw_evaluation(report, short_names(checkpoints), stem + ".png")
        print(table)
        print(f"\nWritten: {out}, {stem}.md, {stem}.png", file=sys.stderr)
    return report
