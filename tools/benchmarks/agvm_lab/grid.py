"""Which arms to train, from the results so far: pure functions."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

Arm = Dict[str, Any]
Result = Mapping[str, Any]
Curve = Dict[float, float]

HEADS = ("rpn_head", "roi_head.bbox_head", "roi_head.mask_head", "bbox_head")

TASKS = {
    "mask-rcnn": "instance segmentation",
    "panoptic-fpn": "panoptic segmentation",
}
OTHER_MODELS = {
    "mask-rcnn": ("sgd", 1.0),
    "retinanet": ("adamw", 0.5),  # with SGD it diverges in the warm-up
    "panoptic-fpn": ("sgd", 1.0),
    "faster-rcnn-swin": ("adamw", 0.25),  # at the whole rate it diverges
}
"""Other models: their optimizer, and their rates as parts of Faster R-CNN's, as in
mmdet's configs."""

START_RATES: Dict[str, Dict[int, Tuple[float, ...]]] = {
    "sgd": {
        16: (0.02, 0.04, 0.08),
        64: (0.04, 0.08, 0.16),
        256: (0.04, 0.08, 0.16),
        1024: (0.04, 0.08, 0.16),
    },
    "adamw": {
        16: (4e-4, 8e-4, 1.6e-3),
        64: (1.6e-3, 3.2e-3, 6.4e-3),
        256: (1.6e-3, 3.2e-3, 6.4e-3),
        1024: (3.2e-3, 6.4e-3, 1.28e-2),
    },
    "lamb": {
        16: (2e-3, 4e-3, 8e-3),
        64: (4e-3, 8e-3, 1.6e-2),
        256: (8e-3, 1.6e-2, 3.2e-2),
        1024: (1.6e-2, 3.2e-2, 6.4e-2),
    },
}
"""Rates that every sweep starts with, a factor of 2 apart."""


def start_rates(optimizer: str, batch: int, variant: str) -> Tuple[float, ...]:
    """Return the rates that a sweep starts with.

    A pre-trained backbone stands rates twice as high.
    """
    factor = 2 if variant == "pretrained" else 1
    return tuple(factor * rate for rate in START_RATES[optimizer][batch])


PRETRAINED_LONG = "pretrained-long"
"""Variant with a trained backbone and twice the epochs."""

MEAN_RATE_BELOW = "mean-rate-below"
"""Variant: plain training, the rate below AGVM's best raised by AGVM's multipliers."""

MEAN_RATE_LONG = "mean-rate-long"
"""Variant: plain training with more epochs, at a rate raised by AGVM's multipliers."""

LONG_START_LATE = "long-start-late"
"""Variant with more epochs: AGVM starts about where ``fit_measurements`` lets it."""

MOST_RATES = 8
"""Rates of a sweep, with those that it is extended by."""


def make_arm(
    optimizer: str,
    batch: int,
    agvm: bool,
    lr: float,
    seed: int = 0,
    model: str = "faster-rcnn",
    variant: str = "default",
    **settings: Any,
) -> Arm:
    """Return the settings of an arm, with a name that tells them apart."""
    kind = "agvm" if agvm else "plain"
    parts = [model, optimizer, f"b{batch}", kind]
    if variant != "default":
        parts.append(variant)
    parts += [f"lr{lr:g}", f"s{seed}"]
    return dict(
        name="_".join(parts),
        task=TASKS.get(model, "detection"),
        model=model,
        optimizer=optimizer,
        batch=batch,
        agvm=agvm,
        variant=variant,
        lr=lr,
        seed=seed,
        settings=settings,
    )


PRETRAINING = make_arm("sgd", 16, False, 0.02, variant="pretraining", scenes_seed=1)
"""Trains the backbone of the arms that start with a trained one, on other scenes."""


def select(results: Sequence[Result], **wanted: Any) -> List[Result]:
    """Return the results whose settings are as wanted."""
    return [r for r in results if all(r[k] == v for k, v in wanted.items())]


def curve(results: Sequence[Result], **wanted: Any) -> Curve:
    """Return the AP of each rate among the results of seed 0 as wanted.

    A diverged arm has AP 0.
    """
    found = select(results, **{"variant": "default", "seed": 0, **wanted})
    return {float(r["lr"]): 0.0 if r["diverged"] else float(r["ap"]) for r in found}


def best_rate(values: Mapping[float, float]) -> Optional[float]:
    """Return the rate of the highest AP, the lowest of equals; None without AP."""
    alive = {rate: ap for rate, ap in values.items() if ap > 0}
    return min(alive, key=lambda rate: (-alive[rate], rate)) if alive else None


def sweep_rates(
    start: Sequence[float], curves: Sequence[Mapping[float, float]]
) -> List[float]:
    """Return the rates that a sweep needs, from the results so far.

    All curves get the same rates. As long as the best rate of one whose rates are all
    known lies at the end of the grid, the grid grows there by a factor of 2; where
    nothing has learned, it grows downwards.

    Args:
        start: Rates to start with, ascending, a factor of 2 apart.
        curves: AP by rate of the arms to be compared, as far as known.

    Returns:
        list[float]: Ascending, at most :data:`MOST_RATES`.
    """
    rates = list(start)
    while len(rates) < MOST_RATES:
        low = high = False
        for values in curves:
            if any(rate not in values for rate in rates):
                continue
            best = best_rate({rate: values[rate] for rate in rates})
            low = low or best is None or best == rates[0]
            high = high or best == rates[-1]
        if not low and not high:
            break
        rates = ([rates[0] / 2] if low else []) + rates + ([rates[-1] * 2] * high)
    return rates


def sweep_kinds(optimizer: str, batch: int) -> Tuple[bool, ...]:
    """Return the values of ``agvm`` that the sweep at a batch compares.

    Only plain training at batch 16, where all variances are alike, and with LAMB,
    which is there as the usual rival of AGVM.
    """
    return (False,) if batch == 16 or optimizer == "lamb" else (False, True)


class Sweep:
    """Faster R-CNN over a grid of rates at one batch, with one optimizer.

    Plain training and AGVM take the same rates; see :func:`sweep_kinds`.

    Args:
        results: Results so far.
        optimizer: Name of the optimizer.
        batch: Images per update.
        variant: What the arms are called besides. Defaults to ``'default'``.
        wait: Whether :meth:`best` waits for all rates; else it is the best so far.
            Defaults to ``True``.
        settings: Settings of the variant.
    """

    def __init__(
        self,
        results: Sequence[Result],
        optimizer: str,
        batch: int,
        variant: str = "default",
        wait: bool = True,
        **settings: Any,
    ) -> None:
        self.wait = wait
        self.key: Dict[str, Any] = dict(
            model="faster-rcnn", optimizer=optimizer, batch=batch
        )
        self.own: Dict[str, Any] = dict(variant=variant, **settings)
        self.curves = {
            kind: curve(results, agvm=kind, variant=variant, **self.key)
            for kind in sweep_kinds(optimizer, batch)
        }
        start = start_rates(optimizer, batch, variant)
        # At 1024 the usual epochs are 120 updates, too few to learn: the longer
        # trainings are compared there.
        grows = batch < 1024 or variant != "default"
        self.rates = sweep_rates(start, list(self.curves.values()) if grows else [])

    def arms(self) -> List[Arm]:
        """Return all arms of the sweep, the middle rates first."""
        middle = (len(self.rates) - 1) / 2
        order = sorted(self.rates, key=lambda r: abs(self.rates.index(r) - middle))
        return [
            make_arm(agvm=kind, lr=rate, **self.key, **self.own)
            for rate in order
            for kind in self.curves
        ]

    def best(self, agvm: bool) -> Optional[float]:
        """Return the best rate once all rates are known (``wait``); None before."""
        values = self.curves[agvm]
        if self.wait and any(rate not in values for rate in self.rates):
            return None
        return best_rate(values)


def plan(results: Sequence[Result], seeds: int = 3) -> List[Arm]:
    """Return the arms that follow from the results, the most valuable first.

    Args:
        results: Results of the arms that are done.
        seeds: Seeds at the best rates. Defaults to 3.
    """
    arms: List[Arm] = []
    main = ("sgd", "adamw")
    at_256 = {name: Sweep(results, name, 256) for name in main}
    at_16 = {name: Sweep(results, name, 16) for name in main}
    for sweep in at_256.values():
        arms += sweep.arms()
    for sweep in at_256.values():
        arms += _seeds(results, sweep, seeds) + edges(results, sweep, seeds)
    arms += long_at_1024(results, at_256["sgd"], seeds)
    for name in main:
        arms += pretrained(results, name, at_16[name])
    for sweep in at_16.values():
        arms += sweep.arms()
        # The variances at batch 16 come from this one.
        arms += _at_best(sweep, False, agvm=True)
        arms += _seeds(results, sweep, seeds)
    for name in main:
        arms += Sweep(results, name, 64).arms()
    for sweep in at_256.values():
        arms += ablations(results, sweep)
    for sweep in at_256.values():
        arms += long_at_256(results, sweep, seeds)
        arms += _both(sweep, variant="ema", ema=True)
    for name in main:
        arms += Sweep(results, name, 1024).arms()
    for sweep in at_256.values():
        arms += _both(sweep, variant="vbs-cur", multi_scale=True)
    arms += schedules(results, at_256["sgd"], seeds)
    for model, (name, _) in OTHER_MODELS.items():
        arms += other_model(model, at_256[name], at_16[name])
    for batch in (256, 1024):
        sweep = Sweep(results, "lamb", batch)
        arms += sweep.arms() + _at_best(sweep, False, agvm=True)
    return arms


def _at_best(sweep: Sweep, kind: bool, **settings: Any) -> List[Arm]:
    """Return an arm at the best rate of plain training or AGVM, once it is known."""
    rate = sweep.best(kind)
    if rate is None:
        return []
    changes: Dict[str, Any] = {"agvm": kind, "lr": rate, **settings}
    return [make_arm(**{**sweep.key, **sweep.own, **changes})]


def _both(sweep: Sweep, **settings: Any) -> List[Arm]:
    """Plain and AGVM, each at its best rate."""
    return [arm for kind in sweep.curves for arm in _at_best(sweep, kind, **settings)]


def _seeds(results: Sequence[Result], sweep: Sweep, seeds: int) -> List[Arm]:
    """Further seeds at the best rates; where one diverges, at the rate below too.

    A rate at which some seeds diverge is the best one of those that do not, but no
    rate to train at. At the rate below both kinds are trained.
    """
    arms = [arm for seed in range(1, seeds) for arm in _both(sweep, seed=seed)]
    for kind in sweep.curves:
        rate = sweep.best(kind)
        if rate is None or rate == sweep.rates[0]:
            continue
        if _diverges_at_best(results, sweep, kind):
            below = sweep.rates[sweep.rates.index(rate) - 1]
            arms += [
                make_arm(agvm=other, lr=below, seed=seed, **sweep.key, **sweep.own)
                for seed in range(1, seeds)
                for other in sweep.curves
            ]
            arms += _raised(results, sweep, below, seeds) if kind else []
    return list({arm["name"]: arm for arm in arms}.values())


def _diverges_at_best(results: Sequence[Result], sweep: Sweep, kind: bool) -> bool:
    """Return whether a seed diverges at the best rate of plain training or AGVM."""
    there = dict(sweep.key, agvm=kind, variant=sweep.own["variant"])
    found = select(results, lr=sweep.best(kind), **there)
    return any(result["diverged"] for result in found)


def _raised(
    results: Sequence[Result], sweep: Sweep, rate: float, seeds: int
) -> List[Arm]:
    """Plain training at a rate times AGVM's mean multiplier there.

    Is AGVM's gain that of a larger rate? A sweep's rates are too far apart to tell.
    """
    own = dict(agvm=True, lr=rate, variant=sweep.own["variant"], seed=0, **sweep.key)
    found = [r["mean_multipliers"] for r in select(results, **own)]
    if sweep.own["variant"] != "default" or not found or not found[0]:
        return []
    raised = raised_rate(rate, found[0])
    plain: Dict[str, Any] = dict(sweep.key, agvm=False, variant=MEAN_RATE_BELOW)
    return [make_arm(lr=raised, seed=seed, **plain) for seed in range(seeds)]


def raised_rate(rate: float, multipliers: Mapping[str, float]) -> float:
    """Return a rate times the mean multiplier of all modules, with the anchor's 1."""
    return float(f"{rate * sum(multipliers.values()) / len(multipliers):.4g}")


def ablations(results: Sequence[Result], sweep: Sweep) -> List[Arm]:
    """Return the arms that tell AGVM from other factors of the rates.

    All have the best rate of AGVM: its own mean multipliers, fixed from the start;
    heads at 1.5 times the rate; all modules at the mean multiplier; other anchors.
    """
    rate = sweep.best(True)
    if rate is None:
        return []
    own = select(results, variant="default", seed=0, agvm=True, lr=rate, **sweep.key)
    multipliers = dict(own[0]["mean_multipliers"])
    if not multipliers:  # too short a training to measure anything
        return []
    key = sweep.key
    heads = {name: 1.5 for name in multipliers if name in HEADS}
    plain: Dict[str, Any] = dict(key, agvm=False)
    arms = [
        make_arm(lr=rate, variant="fixed", multipliers=multipliers, **plain),
        make_arm(lr=rate, variant="heads-1.5", multipliers=heads, **plain),
        make_arm(lr=raised_rate(rate, multipliers), variant="mean-rate", **plain),
    ]
    for anchor in multipliers:
        if anchor != "backbone":
            label = "anchor-" + anchor.split(".")[-1].replace("_", "-")
            arms.append(
                make_arm(
                    agvm=True,
                    lr=rate,
                    variant=label,
                    agvm_args=dict(anchor=anchor),
                    **key,
                )
            )
    return arms


def schedules(results: Sequence[Result], sweep: Sweep, seeds: int) -> List[Arm]:
    """Return AGVM at its best rate with other schedules, bounds and halves.

    Fewer and more measurements; interval and momentum of the paper; the start at half
    and twice the usual time; a bound of the ratio; two real processes, whose batches
    are the halves. Where a seed diverges with the usual start, the late one has further
    seeds.
    """
    rate = sweep.best(True)
    if rate is None:
        return []
    key: Dict[str, Any] = dict(sweep.key, agvm=True, lr=rate)
    arms = [
        make_arm(variant=f"measurements-{number}", measurements=number, **key)
        for number in (20, 50, 100, 400)
    ]
    published = dict(interval=10, momentum=0.97)
    arms += [
        make_arm(variant="published-interval", agvm_args=published, **key),
        make_arm(variant="start-early", start_factor=0.5, **key),
        make_arm(variant="start-late", start_factor=2.0, **key),
        make_arm(variant="bound-2", agvm_args=dict(ratio_range=(0.5, 2.0)), **key),
        make_arm(variant="two-ranks", ranks=2, **key),
    ]
    if _diverges_at_best(results, sweep, True):
        arms += [
            make_arm(variant="start-late", start_factor=2.0, seed=seed, **key)
            for seed in range(1, seeds)
        ]
    return arms


def long_at_256(results: Sequence[Result], sweep: Sweep, seeds: int) -> List[Arm]:
    """Return the arms at batch 256 with twice the epochs, about the published updates.

    Each kind at its best rate. Where AGVM's is lower, also AGVM with a later start at
    that of plain training: can it use that rate then? Else plain training at AGVM's
    mean multiplier times that rate: is its gain that of a larger rate? Further seeds of
    the pair at the highest rate; where plain training diverges there, seed 0 of both at
    the rate below.
    """
    long: Dict[str, Any] = dict(variant="long", epoch_factor=2)
    late: Dict[str, Any] = dict(long, variant=LONG_START_LATE, start_factor=2.0)
    lower = (sweep.best(True) or 0) < (sweep.best(False) or 0)
    arms = _both(sweep, **long)
    for seed in range(seeds):
        arms += _at_best(sweep, False, seed=seed, **long)
        if lower:
            arms += _at_best(sweep, False, agvm=True, seed=seed, **late)
        else:
            arms += _at_best(sweep, True, seed=seed, **long)
    if not lower:
        own = dict(sweep.key, agvm=True, variant="long", seed=0, diverged=False)
        mean: Dict[str, Any] = dict(long, agvm=False, variant=MEAN_RATE_LONG)
        for arm in select(results, lr=sweep.best(True), **own):
            if arm["mean_multipliers"]:
                raised = raised_rate(arm["lr"], arm["mean_multipliers"])
                arms.append(make_arm(lr=raised, **sweep.key, **mean))
    plain = select(results, agvm=False, variant="long", **sweep.key)
    for rate in {arm["lr"] for arm in plain if arm["diverged"]} & {*sweep.rates[1:]}:
        below = sweep.rates[sweep.rates.index(rate) - 1]
        for kind in (False, True):
            arms.append(make_arm(agvm=kind, lr=below, **sweep.key, **long))
    return list({arm["name"]: arm for arm in arms}.values())


def long_at_1024(results: Sequence[Result], sgd_at_256: Sweep, seeds: int) -> List[Arm]:
    """Return the arms at batch 1024 with as many updates as batch 256 has.

    A sweep with AdamW; with SGD a pair at AGVM's best rate of batch 256 and, if AGVM
    diverges there, a pair at half of the rate, AGVM with a later start and, if that
    trains, plain training at twice the rate. With both, plain training at AGVM's mean
    multiplier times its best rate: is its gain that of a larger rate? With SGD also
    AGVM at that rate, with the later start. An arm takes long, so that further seeds do
    not wait for all rates.
    """
    long: Dict[str, Any] = dict(batch=1024, epoch_factor=4)
    at = dict(batch=1024, seed=0)
    sweep = Sweep(results, "adamw", variant="long", wait=False, **long)
    arms = sweep.arms()
    rate = sgd_at_256.best(True)
    rates = [] if rate is None else [rate]
    pair = select(results, optimizer="sgd", variant="long", agvm=True, **at)
    diverged = [r["lr"] for r in pair if r["diverged"]]
    rates += [rate / 2 for rate in diverged]
    arms += [
        make_arm("sgd", agvm=kind, lr=rate, variant="long", **long)
        for rate in dict.fromkeys(rates)
        for kind in (False, True)
    ]
    late: Dict[str, Any] = dict(variant=LONG_START_LATE, start_factor=2.0, **long)
    arms += [make_arm("sgd", agvm=True, lr=rate, **late) for rate in diverged]
    started = select(results, variant=LONG_START_LATE, batch=1024, diverged=False)
    trained = [arm for arm in started if arm["lr"] in diverged]
    arms += [
        make_arm("sgd", agvm=False, lr=2 * arm["lr"], variant="long", **long)
        for arm in trained
    ]
    measured = [
        arm
        for arm in [*select(results, variant="long", agvm=True, **at), *trained]
        if arm["mean_multipliers"] and not arm["diverged"]
    ]
    for name in ("sgd", "adamw"):
        own = [arm for arm in measured if arm["optimizer"] == name]
        for arm in sorted(own, key=lambda arm: arm["ap"])[-1:]:
            raised = raised_rate(arm["lr"], arm["mean_multipliers"])
            plain: Dict[str, Any] = dict(agvm=False, variant=MEAN_RATE_LONG)
            arms.append(make_arm(name, lr=raised, **plain, **long))
            if arm["variant"] == LONG_START_LATE:
                arms.append(make_arm(name, agvm=True, lr=raised, **late))
    return arms + _seeds(results, sweep, seeds)


def edges(results: Sequence[Result], sweep: Sweep, seeds: int) -> List[Arm]:
    """Return arms at the lowest rate at which only AGVM diverges, if there is one.

    Only where plain training is still within 10 % of its best. They tell what AGVM
    lacks there: a later start, a bound of the ratio, clipping, which the recipe stops
    when AGVM starts, a longer warm-up, or an anchor of low variance (the RPN), so that
    the others are slowed down to it in place of the heads being sped up. With clipping
    and with the longer warm-up plain training too. Where the later start trains, it has
    further seeds.
    """
    plain, agvm = sweep.curves[False], sweep.curves[True]
    if any(rate not in plain or rate not in agvm for rate in sweep.rates):
        return []
    good = 0.9 * max(plain.values())
    lost = [rate for rate in sweep.rates if plain[rate] > good and agvm[rate] == 0]
    if not lost:
        return []
    key: Dict[str, Any] = dict(sweep.key, lr=lost[0])
    bound = dict(ratio_range=(0.5, 2.0))
    # The multipliers are the inverse of those with the backbone as anchor.
    anchor = dict(anchor="rpn_head", ratio_range=(0.1, 2.0))
    arms = [
        make_arm(agvm=True, variant="edge-start-late", start_factor=2.0, **key),
        make_arm(agvm=True, variant="edge-anchor-rpn-head", agvm_args=anchor, **key),
        make_arm(agvm=True, variant="edge-bound-2", agvm_args=bound, **key),
    ]
    for kind in (True, False):
        arms += [
            make_arm(agvm=kind, variant="edge-clipped", clip_to_end=True, **key),
            make_arm(agvm=kind, variant="edge-warmup", warmup_factor=2.0, **key),
        ]
    late = select(results, variant="edge-start-late", seed=0, diverged=False, **key)
    arms += [
        make_arm(agvm=True, variant="edge-start-late", start_factor=2.0, seed=s, **key)
        for s in range(1, seeds)
        if late
    ]
    return arms


def pretrained(results: Sequence[Result], optimizer: str, at_16: Sweep) -> List[Arm]:
    """Return a sweep at batch 256 whose backbone is pre-trained, as the published are.

    From scratch, batch 256 has too few updates for the backbone. AGVM starts where
    ``fit_measurements`` lets it start. With batch 16 at its best rate for comparison,
    and for twice the epochs, as many updates as the published runs have, unless a seed
    diverges at one's best rate.
    """
    own: Dict[str, Any] = dict(variant="pretrained", pretrained=True, start_factor=2.0)
    sweep = Sweep(results, optimizer, 256, **own)
    arms = sweep.arms() + _at_best(at_16, False, **own)
    if any(_diverges_at_best(results, sweep, kind) for kind in sweep.curves):
        return arms
    return arms + _both(sweep, variant=PRETRAINED_LONG, epoch_factor=2)


def other_model(model: str, at_256: Sweep, at_16: Sweep) -> List[Arm]:
    """Return the arms of another model at batches 256 and 16, with one optimizer.

    At the rates that are best for Faster R-CNN, times the model's factor: at batch 256
    plain training and AGVM, each at its own, and plain training at AGVM's; at batch 16
    only AGVM, for the variances.

    Args:
        model: Name of the model.
        at_256: Sweep of Faster R-CNN at batch 256, with the optimizer.
        at_16: Likewise at batch 16.
    """
    factor = OTHER_MODELS[model][1]
    best, agvm_best = at_256.best(False), at_256.best(True)
    wanted = [
        (256, False, best),
        (256, False, agvm_best),
        (256, True, agvm_best),
        (16, True, at_16.best(False)),
    ]
    return [
        make_arm(at_256.key["optimizer"], batch, agvm, rate * factor, model=model)
        for batch, agvm, rate in dict.fromkeys(wanted)
        if rate is not None
    ]
