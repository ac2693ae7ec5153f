"""Predict what a training will cost from its config, without data or a GPU."""

from __future__ import annotations

import argparse
import os.path as osp
import sys
from typing import Any, Dict, List, Mapping, NamedTuple, Optional

from mmengine.config import Config

from .. import cli
from ..analysis import (
    ConfigPlan,
    IterationCosts,
    ModelFlops,
    UncountedError,
    build_model,
    config_plan,
    cost_ratios,
    counted_size,
    fixed_size,
    is_multi_scale,
    load_times,
    model_flops,
    total_stride,
    training_cost,
)
from ..analysis.training_iterations import size_schedule
from ..multi_scale.sizes import Size, size_text
from ..utils.si_prefix import si_prefix, si_text
from ..utils.tables import markdown_table


def parse_args(argv: List[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = cli.ArgumentParser(description=__doc__)
    cli.add_config_arguments(parser)
    cli.add_recipe_arguments(parser)
    parser.add_argument(
        "--baseline",
        metavar="CONFIG",
        help="compare with this config (default with --recipe: the config without it)",
    )
    parser.add_argument(
        "--world-size",
        type=cli.whole_number(1),
        default=1,
        metavar="N",
        help="number of ranks (default: 1)",
    )
    parser.add_argument(
        "--num-samples",
        type=cli.whole_number(1),
        metavar="N",
        help="number of samples of an epoch, including the repeats of a RepeatDataset "
        "(default: counted in the annotations if they exist, else the known number of "
        "ImageNet-1k, CIFAR, COCO train2017)",
    )
    parser.add_argument(
        "--base-size",
        type=cli.size_argument,
        metavar="SIZE",
        help="size of the images of a config that has one size: a side in pixels or "
        "HEIGHTxWIDTH (default: the size in its pipeline)",
    )
    parser.add_argument(
        "--positive-rois",
        type=cli.whole_number(0),
        metavar="N",
        help="positive RoIs per image, on which a mask head runs (default: the most "
        "that the RoI sampler takes)",
    )
    parser.add_argument(
        "--times",
        metavar="JSON",
        help="output of mms calibrate --json, the seconds per iteration; predicts the "
        "time of the training",
    )
    parser.add_argument(
        "--estimate",
        choices=["pixels"],
        help="if FLOPs cannot be counted, assume them proportional to the pixels",
    )
    parser.add_argument(
        "--picture", metavar="PNG", help="draw the cost over the epochs"
    )
    parser.add_argument("--json", action="store_true", help="print only JSON")
    return parser.parse_args(argv)


class Job(NamedTuple):
    """A config to be costed, and what the recipe makes of it if it is the original."""

    name: str
    config: Config
    converted: Optional[Config] = None


def load(args: argparse.Namespace) -> List[Job]:
    """Return the config, with its recipe, and the baseline, if there is one."""
    config = cli.load_config(args.config, args.cfg_options)
    jobs = [Job(args.config, cli.apply_recipe_arguments(config, args))]
    if args.recipe is not None:
        jobs[0] = jobs[0]._replace(name=f"{args.config} --recipe {args.recipe}")
    if args.baseline is not None:
        config = cli.load_config(args.baseline, args.cfg_options)
        jobs.append(Job(args.baseline, config))
    elif args.recipe is not None:
        jobs.append(Job(args.config, config, converted=jobs[0].config))
    return jobs


def plan_of(job: Job, jobs: List[Job], args: argparse.Namespace) -> ConfigPlan:
    """Return the plan of a config's training."""
    cli.enter_scope(job.config)
    base_size = None if is_multi_scale(job.config) else args.base_size
    counted_as = None
    assumed = []
    multi_scale = [other.config for other in jobs if is_multi_scale(other.config)]
    if base_size is not None and multi_scale:
        # As the images that it is compared with, which may keep their ratio.
        counted_as = counted_size(multi_scale[0], base_size)
        if counted_as != base_size:
            assumed.append(
                f"{job.name}: images of --base-size keep their ratio, as in "
                f"{jobs[0].name}: counted as {size_text(counted_as)}"
            )
    elif base_size is None and job.converted is not None:
        base_size = size_of_recipe(job)
        if base_size is not None:
            counted_as = counted_size(job.converted, base_size)
            text = "" if counted_as == base_size else f" as {size_text(counted_as)}"
            assumed.append(
                f"{job.name} has no single size; its cost is taken to be that of a "
                f"training at the recipe's base size, {size_text(base_size)}{text}"
            )
    with cli.setting_up(job.name):
        plan = config_plan(
            job.config,
            num_samples=args.num_samples,
            world_size=args.world_size,
            base_size=base_size,
            counted_as=counted_as,
        )
    return plan._replace(assumptions=[*assumed, *plan.assumptions])


def size_of_recipe(job: Job) -> Optional[Size]:
    """Return the base size of the converted config, if the original has none."""
    converted: Any = job.converted
    if is_multi_scale(job.config) or not is_multi_scale(converted):
        return None
    try:
        fixed_size(job.config)
    except ValueError:  # it draws from several
        return size_schedule(converted).base_size
    return None


def model_of(job: Job) -> Any:
    """Build a config's model."""
    cli.enter_scope(job.config)
    if not job.config.get("model"):
        raise cli.UserError(f"{job.name} has no model")
    with cli.setting_up(f"the model of {job.name} cannot be built"):
        return build_model(job.config)


def model_texts(jobs: List[Job]) -> List[str]:
    """Return the model of each job as text, the same for the same model."""
    texts = [
        Config(dict(m=j.config.get("model"), d=j.config.get("data_preprocessor")))
        for j in jobs
    ]
    return [text.pretty_text for text in texts]


def trains_same_network(first: Job, job: Job) -> bool:
    """Return whether both train the same network: measured times hold for both."""
    if job.converted is first.config:  # without the recipe
        return True

    def network(value: Any) -> Any:
        if isinstance(value, Mapping):
            left_out = ("data_preprocessor", "init_cfg", "pretrained")
            return {k: network(v) for k, v in value.items() if k not in left_out}
        return (
            [network(v) for v in value] if isinstance(value, (list, tuple)) else value
        )

    one, other = (network(each.config.get("model") or {}) for each in (first, job))
    return bool(one == other)


def count(
    jobs: List[Job], plans: List[ConfigPlan], args: argparse.Namespace
) -> List[Optional[ModelFlops]]:
    """Return the FLOPs of each job's model; of none where one is to be estimated."""
    counted: Dict[str, ModelFlops] = {}
    models: List[Optional[ModelFlops]] = []
    # One model in two configs is counted once, at the sizes of both.
    keys = model_texts(jobs)
    for job, key in zip(jobs, keys):
        sizes = {
            size
            for other, plan in zip(keys, plans)
            if other == key
            for size in plan.counted_as.values()
        }
        if key not in counted:
            model = model_of(job)
            check_stride(model, sorted(sizes), job.name)
            try:
                counted[key] = model_flops(model, sizes, args.positive_rois, tell=tell)
            except UncountedError as error:
                if args.estimate is None:
                    raise cli.UserError(
                        f"{job.name}: {error}; --estimate pixels assumes them "
                        "proportional to the pixels"
                    ) from error
                print(f"{job.name}: {error}", file=sys.stderr)
                return [None] * len(jobs)
            except ValueError as error:
                raise cli.UserError(f"{job.name}: {error}") from error
        models.append(counted[key])
    return models


def tell(text: str) -> None:
    """Print a line of progress, beside the document on standard output."""
    print(text, file=sys.stderr, flush=True)


def check_stride(model: Any, sizes: List[Size], name: str) -> None:
    """Refuse sizes below the model's stride."""
    stride = total_stride(model) or 1
    below = [size for size in sizes if min(size) < stride]
    if below:
        raise cli.UserError(
            f"{name}: size {size_text(below[0])} is below the model's stride, "
            f"{stride} pixels"
        )


def measured_times(name: Optional[str]) -> Optional[IterationCosts]:
    """Read the measured times of iterations; ``None`` without a file."""
    if name is None:
        return None
    try:
        times, document = load_times(name)
    except (OSError, ValueError) as error:
        raise cli.UserError(f"--times {name}: {cli.one_line(error)}") from error
    if document.get("clock") == "cpu":
        print(
            f"--times {name} has processor time (--clock cpu): waits for data or other "
            "devices are not in it",
            file=sys.stderr,
        )
    return times


def run(args: argparse.Namespace) -> Dict[str, Any]:
    """Return the document that ``--json`` prints."""
    if args.picture is not None:
        cli.check_out(args.picture, (".png",), "--picture")
    times = measured_times(args.times)
    jobs = load(args)
    if args.base_size is not None and all(is_multi_scale(job.config) for job in jobs):
        raise cli.UserError(
            "--base-size is for a config of one size, but each has its own sizes"
        )
    plans = [plan_of(job, jobs, args) for job in jobs]
    same = [trains_same_network(jobs[0], job) for job in jobs]
    if times is not None and not all(same):
        print(
            f"--times: measured with the model of {jobs[0].name}; {jobs[1].name} has "
            "another one, so that its time is not known",
            file=sys.stderr,
        )
    costs = [
        training_cost(plan, flops, times.at if times is not None and own else None)
        for plan, flops, own in zip(plans, count(jobs, plans, args), same)
    ]
    documents = [
        dict(config=job.name, **cost.to_dict()) for job, cost in zip(jobs, costs)
    ]
    ratio = cost_ratios(costs[0], costs[1]) if len(costs) == 2 else None
    return dict(
        documents[0],
        estimate=None if costs[0].model else args.estimate,
        baseline=documents[1] if len(documents) == 2 else None,
        ratio=ratio,
    )


# ------------------------------------------------------------------ for the reader


def draw(document: Dict[str, Any], path: str) -> None:
    """Draw the cost over the epochs."""
    from ..analysis.pictures import draw_costs

    baseline = document["baseline"]
    documents = [document] if baseline is None else [document, baseline]
    pixels = documents[0]["train_flops"] is None
    field, what = ("train_pixels", "pixels") if pixels else ("train_flops", "FLOPs")
    most = max(epoch[field] for cost in documents for epoch in cost["epochs"])
    factor, prefix = si_prefix(most)
    names = ["this config", "baseline"]
    try:
        draw_costs(
            {
                name: [epoch["sides"] for epoch in cost["epochs"]]
                for name, cost in zip(names, documents)
            },
            {
                name: [epoch[field] / factor for epoch in cost["epochs"]]
                for name, cost in zip(names, documents)
            },
            path,
            title="\n".join(
                f"{name}: {osp.basename(cost['config'])}"
                for name, cost in zip(names, documents)
            ),
            unit=f"{prefix}{what}",
            xlabel="epoch" if documents[0]["by_epoch"] else "validation interval",
        )
    except (ImportError, OSError) as error:
        raise cli.UserError(f"--picture: {cli.one_line(error)}") from error


def amount(value: Optional[float], unit: str) -> str:
    """Return a value with its unit, for a reader."""
    return "not counted" if value is None else si_text(value, unit)


def duration(seconds: Optional[float]) -> str:
    """Return a time in seconds or hours, for a reader."""
    if seconds is None:
        return ""
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02} min"


def report(document: Dict[str, Any]) -> str:
    """Return the document for a reader."""
    baseline, ratio = document["baseline"], document["ratio"] or {}
    costs = [document] if baseline is None else [document, baseline]
    parts = []
    for name, cost in zip(("config", "baseline"), costs):
        parts.append(f"{name}: {cost['config']}\n" + "\n".join(facts(cost)))
    head = ["", "config"] + (["baseline", "ratio"] if baseline else [])
    rows = [head]

    def add(label: str, key: str, texts: List[str]) -> None:
        share = ratio.get(key)
        rows.append([label, *texts])
        if baseline:
            rows[-1].append("" if share is None else f"{share:.3f}")

    def peak(cost: Dict[str, Any]) -> str:
        batch = cost["peak_batch"]
        size = size_text((batch["height"], batch["width"]))
        return f"{amount(batch['pixels'], 'px')} ({batch['batch_size']} of {size})"

    add("iterations", "iterations", [f"{c['iterations']:,}" for c in costs])
    add("images", "images", [f"{c['images']:,}" for c in costs])
    add(
        "optimizer updates",
        "optimizer_updates",
        [f"{c['optimizer_updates']:,}" for c in costs],
    )
    add("pixels", "train_pixels", [amount(c["train_pixels"], "px") for c in costs])
    flops = "training FLOPs"
    if document["estimate"]:
        flops += " (estimated from the pixels)"
    add(flops, "train_flops", [amount(c["train_flops"], "FLOPs") for c in costs])
    add("largest batch", "peak_pixels", [peak(c) for c in costs])
    if document["seconds"] is not None:
        add("time", "seconds", [duration(c["seconds"]) for c in costs])
    parts.append(markdown_table(rows))
    for name, cost in zip(("config", "baseline"), costs):
        parts.append(f"{name}, by size:\n" + markdown_table(size_rows(cost)))
    parts.append("config, by epoch:\n" + markdown_table(epoch_rows(document)))
    return "\n\n".join(parts)


def facts(cost: Dict[str, Any]) -> List[str]:
    """Return what the cost was counted for, line by line."""
    length, ranks = len(cost["epochs"]), f"{cost['world_size']} ranks"
    if cost["world_size"] == 1:
        ranks = "one rank"
    trained = (
        f"{length} epochs" if cost["by_epoch"] else f"{cost['iterations']} iterations"
    )
    lines = [f"  {trained} on {ranks}, seed {cost['seed']}"]
    if cost["num_samples"] is not None:
        lines.append(f"  {cost['num_samples']:,} samples: {cost['samples_from']}")
    if cost["counted_on"] is not None:
        lines.append(f"  FLOPs counted on {cost['counted_on']}")
    rois = cost["rois_per_image"]
    if rois is not None:
        lines.append(
            f"  RoIs of an image: {rois['sampled']}, of which {rois['positive']} are "
            "positive (--positive-rois)"
        )
    return lines + [f"  assumed: {text}" for text in cost["assumptions"]]


def size_rows(cost: Dict[str, Any]) -> List[List[str]]:
    """Return the rows of the table by size."""
    rows = [["size", "batch", "iterations", "images", "FLOPs of an image"]]
    for size in cost["sizes"]:
        text = size_text((size["height"], size["width"]))
        if size["counted_as"] != [size["height"], size["width"]]:
            text += f" as {size_text(size['counted_as'])}"
        rows.append(
            [
                text,
                f"{size['batch_size']}",
                f"{size['iterations']:,}",
                f"{size['images']:,}",
                amount(size["train_flops_per_image"], "FLOPs"),
            ]
        )
    return rows


def epoch_rows(cost: Dict[str, Any]) -> List[List[str]]:
    """Return rows of at most twelve epochs, the last among them; JSON has all."""
    epochs = cost["epochs"]
    first = "epoch" if cost["by_epoch"] else "interval"
    rows = [[first, "iterations", "image sides", "pixels", "FLOPs"]]
    chosen = sorted({round(n * (len(epochs) - 1) / 11) for n in range(12)})
    for number in chosen:
        epoch = epochs[number]
        low, _, high = epoch["sides"]
        sides = f"{low:.0f}" if low == high else f"{low:.0f} to {high:.0f}"
        rows.append(
            [
                f"{epoch['epoch'] + 1}",
                f"{epoch['iterations']:,}",
                sides,
                amount(epoch["train_pixels"], "px"),
                amount(epoch["train_flops"], "FLOPs"),
            ]
        )
    return rows


def main(argv: List[str]) -> None:
    """Run the command."""
    args = parse_args(argv)
    with cli.json_on_stdout(args.json) as emit:
        document = run(args)
        emit(document)
    if not args.json:
        print(report(document))
    if args.picture is not None:
        draw(document, args.picture)
