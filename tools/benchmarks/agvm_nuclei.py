"""AGVM on microscope images: batch 8 and 64, plain and AGVM, SGD and AdamW.

A small Mask R-CNN learns the nuclei of the 2018 Data Science Bowl from scratch.
Batch 64 is eight accumulated micro-batches of 8. Eight arms, each in a folder of its
own: an arm that is done is not run again, one that was cut off continues from its last
checkpoint.

    python tools/benchmarks/agvm_nuclei.py --data-root DIR --epochs 8
    python tools/benchmarks/agvm_nuclei.py --data-root DIR --measure CHECKPOINT
    python tools/benchmarks/agvm_nuclei.py --data-root DIR --estimators 40
    python tools/benchmarks/agvm_nuclei.py --data-root DIR --cost 20
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import functools
import itertools
import json
import math
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional

# The checkout that this file lies in, installed or not.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from mms_plugin.utils.tables import markdown_table
from tools.smoke import smoke_arguments

ARMS = [
    f"{optimizer}-{batch}-{recipe}"
    for optimizer in ("sgd", "adamw")
    for batch in (8, 64)
    for recipe in ("plain", "agvm")
]
MICRO_BATCH = 8
BASE_LR = dict(sgd=0.02, adamw=2e-4)  # at batch 8
WARMUP = 50  # iterations
SIZE = 192


def build_config(args: argparse.Namespace, arm: str) -> Any:
    """Return the config of one arm, as MMEngine's runner takes it."""
    from mmengine.hub import get_config

    from mms_plugin.agvm import scaled_lr

    optimizer, batch, recipe = arm.split("-")
    config = get_config("mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py")
    _shrink(config.model)
    _data(config, args)
    counts = int(batch) // MICRO_BATCH
    lr = scaled_lr(BASE_LR[optimizer], int(batch), MICRO_BATCH, args.lr_rule)
    settings = dict(type="SGD", lr=lr, momentum=0.9, weight_decay=1e-4)
    if optimizer == "adamw":
        settings = dict(type="AdamW", lr=lr, weight_decay=0.05)
    config.optim_wrapper = dict(
        type="OptimWrapper",
        optimizer=settings,
        clip_grad=dict(max_norm=10.0),
        accumulative_counts=counts,
    )
    if recipe == "agvm":
        config.optim_wrapper.update(
            type="AGVMOptimWrapper",
            constructor="AGVMOptimWrapperConstructor",
            # About as many images from one measurement to the next at both batches.
            agvm=dict(
                interval=max(1, args.interval // counts),
                momentum=args.momentum,
                start_iter=WARMUP + MICRO_BATCH,
            ),
        )
    config.custom_imports = dict(imports=["mms_plugin"], allow_failed_imports=False)
    config.train_cfg = dict(
        type="EpochBasedTrainLoop", max_epochs=args.epochs, val_interval=args.epochs
    )
    config.param_scheduler = [
        dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=WARMUP),
        dict(
            type="CosineAnnealingLR",
            begin=0,
            T_max=args.epochs,
            end=args.epochs,
            by_epoch=True,
            convert_to_iter_based=True,
        ),
    ]
    config.default_hooks.logger.interval = 10
    config.default_hooks.checkpoint = dict(
        type="CheckpointHook", interval=1, max_keep_ckpts=1
    )
    config.randomness = dict(seed=args.seed)
    config.work_dir = str(Path(args.work_dir) / arm)
    config.env_cfg.mp_cfg.mp_start_method = "fork"
    config.log_level = "WARNING"
    config.load_from = None
    config.resume = True
    return config


def _shrink(model: Any) -> None:
    norm = dict(type="BN", requires_grad=True)
    model.backbone.update(
        depth=18,
        base_channels=32,
        frozen_stages=-1,
        norm_cfg=norm,
        norm_eval=False,
        init_cfg=None,
    )
    model.neck.update(in_channels=[32, 64, 128, 256], out_channels=64)
    model.rpn_head.update(in_channels=64, feat_channels=64)
    model.rpn_head.anchor_generator.scales = [4]
    roi = model.roi_head
    roi.bbox_roi_extractor.out_channels = roi.mask_roi_extractor.out_channels = 64
    roi.bbox_head.update(in_channels=64, fc_out_channels=256, num_classes=1)
    roi.mask_head.update(
        in_channels=64, conv_out_channels=64, num_convs=2, num_classes=1
    )
    model.train_cfg.rcnn.sampler.num = 64
    model.train_cfg.rpn_proposal.update(nms_pre=500, max_per_img=200)
    model.test_cfg.rpn.update(nms_pre=500, max_per_img=200)


def _data(config: Any, args: argparse.Namespace) -> None:
    root = str(Path(args.data_root).resolve())
    annotations = Path(root) / "annotations" / "instances_train.json"
    names = [c["name"] for c in json.loads(annotations.read_text())["categories"]]
    classes = dict(classes=tuple(names))
    for split, loader in (
        ("train", config.train_dataloader),
        ("val", config.val_dataloader),
    ):
        loader.update(
            batch_size=MICRO_BATCH if split == "train" else 1,
            num_workers=args.workers,
            persistent_workers=args.workers > 0,
        )
        loader.dataset.update(
            data_root=root,
            ann_file=f"annotations/instances_{split}.json",
            data_prefix=dict(img=f"{split}/"),
            metainfo=classes,
        )
        for step in loader.dataset.pipeline:
            if step["type"] == "Resize":
                step["scale"] = (SIZE, SIZE)
            elif step["type"] == "LoadAnnotations" and split == "train":
                # Bitmaps of each of an image's nuclei take longer than the model.
                step["poly2mask"] = False
    config.train_dataloader.batch_sampler.drop_last = True
    config.train_dataloader.dataset.indices = args.images
    config.test_dataloader = config.val_dataloader
    annotations = Path(root) / "annotations" / "instances_val.json"
    if args.images:
        annotations = _first_images(annotations, args)
        config.val_dataloader.dataset.ann_file = str(annotations)
    config.val_evaluator = dict(
        type="CocoMetric", metric=["bbox", "segm"], ann_file=str(annotations)
    )
    config.test_evaluator = config.val_evaluator


def _first_images(annotations: Path, args: argparse.Namespace) -> Path:
    """Return an annotation file of the first so many images."""
    data = json.loads(annotations.read_text())
    data["images"] = data["images"][: args.images]
    kept = {image["id"] for image in data["images"]}
    data["annotations"] = [a for a in data["annotations"] if a["image_id"] in kept]
    path = Path(args.work_dir).resolve() / f"instances_val_{args.images}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))
    return path


def run_arm(args: argparse.Namespace, arm: str) -> Dict[str, Any]:
    """Trains one arm, or reads what it gave."""
    from mmengine.runner import Runner

    folder = Path(args.work_dir) / arm
    result_path = folder / "result.json"
    settings = dict(epochs=args.epochs, images=args.images, lr_rule=args.lr_rule)
    settings.update(interval=args.interval, momentum=args.momentum, seed=args.seed)
    settings_path = folder / "settings.json"
    if settings_path.exists() and json.loads(settings_path.read_text()) != settings:
        raise SystemExit(
            f"{folder} holds a run of other settings. Choose another --work-dir."
        )
    if result_path.exists():
        return json.loads(result_path.read_text())
    folder.mkdir(parents=True, exist_ok=True)
    settings_path.write_text(json.dumps(settings))
    print(f"{arm}: training", file=sys.stderr)
    runner = Runner.from_cfg(build_config(args, arm))
    runner.train()
    metrics = {
        name.split("/", 1)[1]: buffer.current()
        for name, buffer in runner.message_hub.log_scalars.items()
        if name.startswith("val/coco/") and name.endswith("mAP")
    }
    result = dict(arm=arm, settings=settings, metrics=metrics, curves=_curves(runner))
    temporary = result_path.with_suffix(".tmp")
    temporary.write_text(json.dumps(result, indent=2))
    temporary.replace(result_path)
    return result


def _curves(runner: Any) -> Dict[str, List[float]]:
    curves = {}
    for name, buffer in runner.message_hub.log_scalars.items():
        if name.startswith("train/agvm/"):
            curves[name[len("train/") :]] = [float(v) for v in buffer.data[0]]
    return curves


def write_report(results: List[Dict[str, Any]], work_dir: Path) -> None:
    """Write ``report.md``, ``report.json`` and ``multipliers.png``."""
    rows = [["arm", "box mAP", "mask mAP", "multipliers at the end"]]
    for result in results:
        metrics = result["metrics"]
        values = [metrics.get(f"coco/{m}_mAP", math.nan) for m in ("bbox", "segm")]
        ends = ", ".join(
            f"{name[len('agvm/mu/') :]} {curve[-1]:.2f}"
            for name, curve in result["curves"].items()
            if name.startswith("agvm/mu/")
        )
        rows.append([result["arm"], *(f"{100 * v:.1f}" for v in values), ends])
    table = markdown_table(rows, text_columns=(0, 3))
    (work_dir / "report.md").write_text(table + "\n")
    (work_dir / "report.json").write_text(json.dumps(results, indent=2))
    print(table)
    drawn = [result for result in results if result["curves"]]
    if drawn:
        _draw(drawn, work_dir / "multipliers.png")


def _draw(results: List[Dict[str, Any]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        2, len(results), figsize=(4 * len(results), 6), squeeze=False
    )
    for column, result in enumerate(results):
        for row, kind in enumerate(("mu", "phi")):
            axis = axes[row][column]
            for name, curve in result["curves"].items():
                if name.startswith(f"agvm/{kind}/"):
                    axis.plot(curve, label=name.split("/", 2)[2])
            axis.set_title(f"{result['arm']}: {kind}")
            axis.set_xlabel("measurement")
    axes[0][0].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


# ------------------------------------------------------------- variances by hand
def _loaded(args: argparse.Namespace, checkpoint: Optional[str]) -> Any:
    from mmengine.runner import Runner, load_checkpoint

    config = build_config(args, "sgd-8-plain")
    config.work_dir = str(Path(args.work_dir) / "measure")
    config.resume = False
    runner = Runner.from_cfg(config)
    if checkpoint:
        load_checkpoint(runner.model, checkpoint, map_location="cpu")
    return runner


def _gradient(model: Any, data: Dict[str, Any]) -> Dict[str, torch.Tensor]:
    model.zero_grad()
    inputs = model.data_preprocessor(copy.deepcopy(data), training=True)
    losses = model(**inputs, mode="loss")
    model.parse_losses(losses)[0].backward()
    grads = {
        name: param.grad.clone()
        for name, param in model.named_parameters()
        if param.grad is not None
    }
    model.zero_grad()
    return grads


def _variances(one: Dict[str, Any], two: Dict[str, Any]) -> Dict[str, float]:
    """Return ``1 - cos`` by module, in one plain line of torch."""
    modules = ["backbone", "neck", "rpn_head"]
    modules += ["roi_head.bbox_head", "roi_head.mask_head"]
    result = {}
    for module in modules:
        names = [n for n in one if n.startswith(module + ".") and n in two]
        a, b = (torch.cat([g[n].flatten() for n in names]).double() for g in (one, two))
        result[module] = float(1 - torch.nn.functional.cosine_similarity(a, b, dim=0))
    return result


def _sum(grads: List[Dict[str, torch.Tensor]]) -> Dict[str, torch.Tensor]:
    names = set.intersection(*(set(grad) for grad in grads))
    return {
        name: functools.reduce(torch.add, [grad[name] for grad in grads])
        for name in sorted(names)
    }


def measure(args: argparse.Namespace) -> Dict[str, Any]:
    """Variances of a trained model at several batch sizes, halves compared by hand."""
    runner = _loaded(args, args.measure)
    model, loader = runner.model, runner.train_dataloader
    model.train()
    stream = _batches(loader)
    result: Dict[str, Any] = dict(
        checkpoint=args.measure, repeats=args.repeats, piece=args.piece
    )
    for batch in (8, 32, 128):
        piece = min(args.piece or batch // 2, batch // 2)
        rows = []
        for _ in range(args.repeats):
            images = _images(stream, batch, len(loader.dataset))
            grads = [
                _gradient(model, {k: v[at : at + piece] for k, v in images.items()})
                for at in range(0, batch, piece)
            ]
            middle = len(grads) // 2
            rows.append(_variances(_sum(grads[:middle]), _sum(grads[middle:])))
        for name, of in (("variances", statistics.mean), ("standard_error", _error)):
            table = {k: of([row[k] for row in rows]) for k in rows[0]}
            result.setdefault(name, {})[batch] = table
    return result


def _batches(loader: Any) -> Iterator[Any]:
    """Without an end, each epoch in an order of its own."""
    for epoch in itertools.count():
        loader.batch_sampler.sampler.set_epoch(epoch)
        yield from loader


def _images(stream: Iterator[Any], batch: int, most: int) -> Dict[str, List[Any]]:
    """Return the next images of the loader; no image twice while there are others."""
    if batch > most:
        raise SystemExit(f"a batch of {batch} needs as many images, but got {most}")
    images: Dict[str, List[Any]] = {}
    while not images or len(images["inputs"]) < batch:
        for name, values in next(stream).items():
            images.setdefault(name, []).extend(values)
    return {name: values[:batch] for name, values in images.items()}


def _error(values: List[float]) -> float:
    """Return the standard error of the mean."""
    return statistics.stdev(values) / math.sqrt(len(values))


def estimators(args: argparse.Namespace) -> Dict[str, Any]:
    """Return the estimators of a single process against true halves, in one training.

    ``AGVMOptimWrapper`` measures every iteration of a real training by looking back;
    the gradients of consecutive iterations are compared beside it; on the same
    batches, at the same weights, the halves are run one by one.
    """
    from mms_plugin.agvm import (
        half_batch_variance,
        smoothed_multiplier,
        target_multiplier,
    )

    runner = _loaded(args, args.checkpoint)
    model, loader = runner.model, runner.train_dataloader
    if not args.checkpoint:
        model.init_weights()
    model.train()
    wrapper = _wrapper(args, model, dict(interval=1, start_iter=1, modulate=False))
    grads: List[Dict[str, torch.Tensor]] = []
    wrapper.optimizer.register_step_pre_hook(
        lambda *_: grads.append(
            {
                name: param.grad.clone()
                for name, param in model.named_parameters()
                if param.grad is not None
            }
        )
    )
    rates = [group["lr"] for group in wrapper.optimizer.param_groups]
    mu: Dict[str, Dict[str, float]] = {}
    values: Dict[str, Dict[str, List[float]]] = {}
    true: List[Dict[str, float]] = []
    stream = iter(loader)
    for iteration in range(args.estimators):
        data = next(stream, None)
        if data is None:
            stream = iter(loader)
            data = next(stream)
        # Without the halves' effect on the running statistics and random numbers.
        state, generator = copy.deepcopy(model.state_dict()), torch.get_rng_state()
        halves = [
            _gradient(model, {k: v[part] for k, v in data.items()})
            for part in (slice(0, 4), slice(4, 8))
        ]
        true.append(_variances(*halves))
        model.load_state_dict(state)
        torch.set_rng_state(generator)
        warm = min(1.0, (iteration + 1) / WARMUP) if not args.checkpoint else 1.0
        for group, rate in zip(wrapper.optimizer.param_groups, rates):
            group["lr"] = rate * warm
        model.train_step(data, wrapper)
        if iteration == 0:
            continue
        phis = dict(
            halves=true[-2],  # at the weights that the others start from
            lookback=wrapper.agvm.variances,
            consecutive={
                name: half_batch_variance(phi)
                for name, phi in _variances(grads[-2], grads[-1]).items()
            },
        )
        del grads[:-1]
        for kind, measured in phis.items():
            for name, phi in measured.items():
                values.setdefault(name, {}).setdefault(kind, []).append(phi)
                target = target_multiplier(measured["backbone"], phi, (0.5, 10.0))
                old = mu.setdefault(name, {}).get(kind, 1.0)
                mu[name][kind] = smoothed_multiplier(old, target, args.momentum)
        print(f"iteration {iteration + 1} of {args.estimators}", file=sys.stderr)
    return dict(
        iterations=args.estimators,
        checkpoint=args.checkpoint,
        mean_variance=_each(statistics.mean, values),
        standard_error=_each(_error, values),
        multiplier=mu,
    )


def _each(
    function: Callable[[List[float]], float], table: Dict[str, Dict[str, List[float]]]
) -> Dict[str, Dict[str, float]]:
    return {
        name: {kind: function(values) for kind, values in row.items()}
        for name, row in table.items()
    }


def _wrapper(args: argparse.Namespace, model: Any, agvm: Optional[Dict]) -> Any:
    """Return the optimizer wrapper of batch 8 and SGD, with AGVM or (None) plain."""
    from mmengine.optim import build_optim_wrapper

    arm = "sgd-8-plain" if agvm is None else "sgd-8-agvm"
    config = copy.deepcopy(build_config(args, arm).optim_wrapper)
    if agvm is not None:
        config.agvm.update(agvm)
    wrapper = build_optim_wrapper(model, config)
    wrapper.initialize_count_status(model, 0, 10**6)
    return wrapper


def cost(args: argparse.Namespace) -> Dict[str, Any]:
    """Return what AGVM in one process costs over a plain ``OptimWrapper``.

    FLOPs of one whole interval as PyTorch counts them; and the CPU time of the
    process, of a plain and of a measuring training that take turns at the same
    iterations. Both train alike to the bit (``modulate=False``).
    """
    from mms_plugin.analysis import count_flops

    runner = _loaded(args, args.checkpoint)
    loader, interval = runner.train_dataloader, args.interval
    if not args.checkpoint:
        runner.model.init_weights()
    agvm = dict(interval=interval, start_iter=interval - 1, modulate=False)
    models, wrappers = {}, {}
    for kind in ("plain", "agvm"):
        models[kind] = copy.deepcopy(runner.model).train()
        wrappers[kind] = _wrapper(args, models[kind], agvm if kind == "agvm" else None)
        for group in wrappers[kind].optimizer.param_groups:
            group["lr"] /= WARMUP
    flops = dict(plain=0, agvm=0)
    seconds: Dict[str, List[float]] = dict(plain=[], agvm=[])
    stream = iter(loader)
    for iteration in range(interval + args.cost):
        data = next(stream, None)
        if data is None:
            stream = iter(loader)
            data = next(stream)
        kinds = ["plain", "agvm"][:: 1 if iteration % 2 else -1]
        generator = torch.get_rng_state()
        for kind in kinds:
            torch.set_rng_state(generator)
            batch = copy.deepcopy(data)

            def step(kind: str = kind, batch: Any = batch) -> None:
                models[kind].train_step(batch, wrappers[kind])

            if iteration < interval:  # the last of them is measured
                flops[kind] += count_flops(step)
                continue
            start = time.process_time()
            step()
            seconds[kind].append(time.process_time() - start)
    same = all(map(torch.equal, *(list(m.parameters()) for m in models.values())))
    ratios = [a / p for a, p in zip(seconds["agvm"], seconds["plain"])]
    place = [i % interval for i in range(args.cost)]
    by_place = {
        name: statistics.median(r for r, at in zip(ratios, place) if wanted(at))
        for name, wanted in dict(
            measured=lambda at: at == interval - 1,
            one_before=lambda at: at == interval - 2,
            others=lambda at: at < interval - 2,
        ).items()
    }
    mean = by_place["measured"] + by_place["one_before"]
    mean = (mean + (interval - 2) * by_place["others"]) / interval
    return dict(
        interval=interval,
        iterations=args.cost,
        bit_identical=same,
        flops=flops,
        flops_ratio=flops["agvm"] / flops["plain"],
        cpu_seconds={kind: sum(row) for kind, row in seconds.items()},
        cpu_ratio=sum(seconds["agvm"]) / sum(seconds["plain"]),
        cpu_ratio_of_medians=dict(by_place, mean=mean),
    )


def smoke(folder: Path) -> List[str]:
    """Return the arguments that stand for ``--smoke``; write their data."""
    from made_nuclei import write_nuclei

    root = write_nuclei(folder / "data")
    return (
        f"--data-root {root} --work-dir {folder / 'run'} --arms sgd-8-plain "
        "sgd-8-agvm --epochs 1 --workers 0 --interval 1"
    ).split()


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root", required=True, help="folder of the nuclei data")
    parser.add_argument("--arms", nargs="+", default=ARMS, help="which arms to run")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--work-dir", default="work_dirs/agvm_nuclei")
    parser.add_argument("--lr-rule", choices=["sqrt", "linear"], default="sqrt")
    parser.add_argument(
        "--interval", type=int, default=10, help="AGVM's interval at batch 8"
    )
    parser.add_argument(
        "--momentum", type=float, default=0.9, help="momentum of the multipliers"
    )
    parser.add_argument("--images", type=int, help="use only the first N images")
    parser.add_argument(
        "--workers", type=int, default=1, help="workers of the data loader"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--measure", help="measure the variances of this checkpoint")
    parser.add_argument("--repeats", type=int, default=4, help="of --measure")
    parser.add_argument(
        "--piece", type=int, help="images per pass of --measure (default: a half)"
    )
    parser.add_argument(
        "--estimators", type=int, help="iterations that compare estimators to halves"
    )
    parser.add_argument(
        "--cost", type=int, help="iterations timed, at least --interval"
    )
    parser.add_argument("--checkpoint", help="start of --estimators and --cost")
    args = parser.parse_args(smoke_arguments(parser, None, smoke))
    if args.estimators is not None and args.estimators < 3:
        parser.error("--estimators must be at least 3")
    if args.repeats < 2 or (args.piece is not None and args.piece not in (1, 2, 4)):
        parser.error("--repeats must be at least 2, --piece 1, 2 or 4")
    if args.cost is not None and (args.interval < 3 or args.cost < args.interval):
        parser.error("--cost must be at least --interval, which must be at least 3")
    for arm in args.arms:
        if arm not in ARMS:
            parser.error(f"--arms: unknown arm {arm!r}, choose from {', '.join(ARMS)}")
    annotations = os.path.join(args.data_root, "annotations", "instances_train.json")
    if not os.path.isfile(annotations):
        parser.error(f"--data-root: {annotations} is missing")
    import mms_plugin  # noqa: F401

    if args.measure or args.estimators or args.cost:
        run = measure if args.measure else estimators if args.estimators else cost
        with contextlib.redirect_stdout(sys.stderr):  # pycocotools prints
            result = run(args)
        print(json.dumps(result, indent=2))
    else:
        results = [run_arm(args, arm) for arm in args.arms]
        write_report(results, Path(args.work_dir))


if __name__ == "__main__":
    main()
