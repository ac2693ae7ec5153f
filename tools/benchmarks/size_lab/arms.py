"""Arms of the multi-scale benchmark: which sizes a training sees, and when.

Pure data and arithmetic. An arm of one task differs from the task's baseline only in
what is listed here; model, data, augmentation and learning rates are the task's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

BASELINE = "SSc-FBS"
CURRICULUM = "MSc-VBSWC"
WIDE = "MSc-VBSWC wide"
WIDE_SQRT = "MSc-VBSWC wide lr sqrt"
LONG = "SSc-FBS 2.00"


@dataclass(frozen=True)
class SizeRange:
    """Image sides of a task in pixels.

    Attributes:
        base: Side of the baseline, at which all arms are tested.
        step: Distance between the sides.
        low: Smallest side of the multi-scale arms.
        high: Largest side.
        wide: Largest side of the wide arms.
        image_cost: Training FLOPs of an image that its size does not change, such as
            those of RoI heads, as so many pixels; from ``flops_by_size`` at two sizes.
    """

    base: int
    step: int
    low: int
    high: int
    wide: int
    image_cost: float = 0.0

    def sides(self, high: Optional[int] = None) -> Tuple[int, ...]:
        """Return the sides from ``low`` to ``high``; defaults to the usual largest."""
        last = self.high if high is None else high
        return tuple(range(self.low, last + 1, self.step))

    @property
    def start(self) -> Tuple[int, ...]:
        """The two smallest sides, with which a curriculum starts."""
        return (self.low, self.low + self.step)

    def rounded(self, ratio: float) -> int:
        """Return the side next to ``ratio * base``, a multiple of ``step``."""
        return max(1, round(ratio * self.base / self.step)) * self.step


@dataclass(frozen=True)
class SizeArm:
    """One arm.

    Attributes:
        name: Name in the results.
        sizes: Sides that the sampler draws from.
        curriculum: Arguments of ``ResolutionCurriculumHook``.
        variable_batch: Whether the batch size follows the size.
        image_cost: Batch sizes hold the cost of the base batch, not its pixels: what
            an image costs besides its pixels, in pixels. 0: by pixels.
        weights: Relative frequencies of ``sizes``; ``None``: uniform.
        jitter: ``'full'``: each image is resized at random too, by the library's own
            transforms, and cropped or padded to the size of its batch. ``'zoom'``: the
            same, but only enlarged. Defaults to neither.
        compute_of: Arm whose compute sets the number of epochs; ``None``: the task's
            epochs.
        compute_share: Share of the baseline's compute that sets the number of epochs;
            ``None``: as above.
        trained_as: Arm whose trained weights this one starts from; ``None``: its own
            training.
        precise_bn: Batches at the base size from which the statistics of batch norm
            are estimated again after training. 0: as trained.
        final_epochs: Epochs at the base size after the training proper, as a share of
            the task's epochs.
        lr_factor: Factor of the task's learning rate.
    """

    name: str
    sizes: Tuple[int, ...]
    curriculum: Mapping[str, Any]
    variable_batch: bool = True
    image_cost: float = 0.0
    weights: Optional[Tuple[float, ...]] = None
    jitter: str = ""
    compute_of: Optional[str] = None
    compute_share: Optional[float] = None
    trained_as: Optional[str] = None
    precise_bn: int = 0
    final_epochs: float = 0.0
    lr_factor: float = 1.0


CONSTANT = dict(schedule="constant")


DECIDING = 6
"""Of the main arms the first ones, which decide the claims."""

LATE_ARMS = (
    BASELINE,
    WIDE_SQRT,
    "SSc-FBS jitter",
    "SSc-FBS short",
    WIDE,
    "MSc-VBS",
    "MSc-FBS",
)
"""Arms of the tasks whose trainings take longest."""

LATE_DECIDING = 3
"""Of them the first ones, which are trained with all seeds."""


def main_arms(sides: SizeRange) -> Dict[str, SizeArm]:
    """Return the arms that the paper's claims are read from, by name."""
    fixed = SizeArm(BASELINE, (sides.base,), CONSTANT)
    grown = SizeArm(
        CURRICULUM, sides.sides(), dict(start_sizes=list(sides.start), end=0.8)
    )
    wide = SizeArm(
        WIDE, sides.sides(sides.wide), dict(start_sizes=list(sides.start), end=0.7)
    )
    wide_sqrt = replace(
        wide, name=WIDE_SQRT, curriculum={**wide.curriculum, "lr_scaling": "sqrt"}
    )
    multi = SizeArm("MSc-VBS", sides.sides(), CONSTANT)
    arms = [
        fixed,
        grown,
        wide,
        wide_sqrt,
        replace(fixed, name="SSc-FBS jitter", jitter="full"),
        replace(fixed, name="SSc-FBS short", compute_of=CURRICULUM),
        replace(
            fixed, name="SSc-FBS jitter short", jitter="full", compute_of=CURRICULUM
        ),
        replace(grown, name=f"{CURRICULUM} jitter", jitter="full"),
        replace(wide, name=f"{WIDE} jitter", jitter="full"),
        replace(wide, name=f"{WIDE} 0.63", compute_share=0.63),
        replace(wide, name=f"{WIDE} 1.00", compute_share=1.0),
        multi,
        replace(multi, name="MSc-FBS", variable_batch=False),
        replace(fixed, name="SSc-FBS lr 1.4", lr_factor=1.4),
        replace(wide_sqrt, name=f"{WIDE_SQRT} 1.4", lr_factor=1.4),
    ]
    return {arm.name: arm for arm in arms}


def long_arms(sides: SizeRange) -> Dict[str, SizeArm]:
    """Return the baseline for twice the epochs, and others at 0.63 of that compute.

    There the baseline has stopped gaining, if it has not before.
    """
    main = main_arms(sides)
    arms = [
        replace(main[BASELINE], name=LONG, compute_share=2.0),
        # 0.63 by the counted FLOPs: small images cost a little more than their pixels.
        replace(main[WIDE_SQRT], name=f"{WIDE_SQRT} 1.22", compute_share=1.22),
        replace(main["SSc-FBS jitter"], name="SSc-FBS jitter 1.26", compute_share=1.26),
    ]
    if sides.image_cost:  # a detector; classification crops at random anyway
        zoom: Dict[str, Any] = dict(jitter="zoom")
        arms += [
            replace(arms[1], name=f"{WIDE_SQRT} zoom 1.22", **zoom),
            replace(arms[2], name="SSc-FBS zoom 1.26", **zoom),
        ]
    return {arm.name: arm for arm in arms}


def ablation_arms(sides: SizeRange) -> Dict[str, SizeArm]:
    """Return what is changed in the curriculum one by one, by name."""
    main = main_arms(sides)
    grown, wide = main[CURRICULUM], main[WIDE]

    def changed(what: str, **changes: Any) -> SizeArm:
        return replace(grown, name=f"{CURRICULUM} {what}", **changes)

    def grows(**changes: Any) -> Dict[str, Any]:
        return {**grown.curriculum, **changes}

    near = tuple(2.0 if side == sides.base else 1.0 for side in grown.sizes)
    arms = [
        changed("precise BN", trained_as=CURRICULUM, precise_bn=20),
        changed("end at base", curriculum=grows(end_sizes=[sides.base])),
        changed(
            "final phase",
            trained_as=CURRICULUM,
            final_epochs=0.05,
            curriculum=CONSTANT,
        ),
        changed("by iteration", curriculum=grows(by_epoch=False)),
        changed("lr sqrt", curriculum=grows(lr_scaling="sqrt")),
        changed("weights", weights=near),
        replace(wide, name=f"{WIDE} precise BN", trained_as=WIDE, precise_bn=20),
    ]
    if sides.image_cost:
        arms += [
            replace(arm, name=f"{arm.name} by cost", image_cost=sides.image_cost)
            for arm in (grown, wide, main[WIDE_SQRT])
        ]
    return {arm.name: arm for arm in arms}


def peer_arms(sides: SizeRange) -> Dict[str, SizeArm]:
    """Return other libraries' schedules as far as ours can express them, by name.

    timm's scheduled sampler moves a narrow window from the smallest to the largest
    size (here: two neighboring sizes; its tenth of uniform draws is left out).
    Composer's ``ProgressiveResizing`` trains at half the side (here: not below the
    smallest one of the multi-scale arms) up to half of the training and reaches the
    full side after 80 %, FFCV's ramp goes from 160 to 192 between 65 and 76 of 88
    epochs; both keep the batch size.
    """
    # mmdet's RPN head fails where the coarsest level has a single anchor: 32 px.
    half = max(sides.low, sides.rounded(0.5))
    ramp = sides.rounded(160 / 192)
    fine = sides.step
    all_sides = sides.sides()
    arms = [
        SizeArm(
            "timm progressive",
            all_sides,
            dict(start_sizes=list(all_sides[:2]), end_sizes=list(all_sides[-2:])),
        ),
        SizeArm(
            "Composer progressive",
            tuple(range(half, sides.base + 1, fine)),
            dict(start_sizes=[half], end_sizes=[sides.base], begin=0.5, end=0.8),
            variable_batch=False,
        ),
        SizeArm(
            "FFCV progressive",
            tuple(range(ramp, sides.base + 1, fine)),
            dict(
                start_sizes=[ramp],
                end_sizes=[sides.base],
                begin=65 / 88,
                end=76 / 88,
            ),
            variable_batch=False,
        ),
    ]
    return {arm.name: arm for arm in arms}


def all_arms(sides: SizeRange) -> Dict[str, SizeArm]:
    """Return every arm by name, those of the paper first."""
    return {
        **main_arms(sides),
        **long_arms(sides),
        **ablation_arms(sides),
        **peer_arms(sides),
    }


def batch_rule(arm: SizeArm) -> Dict[str, Any]:
    """Return the sampler's arguments that say how many images a batch has."""
    rule: Dict[str, Any] = dict(variable_batch=arm.variable_batch)
    if arm.image_cost:
        rule["cost_model"] = dict(alpha=1.0, beta=arm.image_cost)
    return rule


def build_sampler(
    arm: SizeArm,
    base: int,
    batch_size: int,
    num_images: int,
    epochs: int,
    seed: int,
) -> Any:
    """Build an arm's batch sampler with its curriculum, to read its plan.

    Args:
        arm: The arm.
        base: Side of the baseline in pixels.
        batch_size: Images of a batch at the base size.
        num_images: Images of an epoch.
        epochs: Epochs of the training.
        seed: Seed of the draws.
    """
    from mmengine.dataset import DefaultSampler

    from mms_plugin import MultiScaleVariableBatchSampler, ResolutionCurriculumHook

    sampler = MultiScaleVariableBatchSampler(
        DefaultSampler(range(num_images), shuffle=True, seed=seed),
        batch_size,
        base_size=base,
        sizes=list(arm.sizes),
        weights=arm.weights,
        **batch_rule(arm),
        seed=seed,
    )
    hook = ResolutionCurriculumHook(**arm.curriculum)
    sampler.set_curriculum(hook.curriculum, max_epochs=epochs)
    return sampler


def planned_pixels(sampler: Any, epochs: int) -> int:
    """Return the pixels of all images of a training."""
    plans = map(sampler.plan, range(epochs))
    return sum(height * width * images for p in plans for height, width, images in p)


def epochs_of(
    arm: SizeArm,
    arms: Mapping[str, SizeArm],
    sides: SizeRange,
    batch_size: int,
    num_images: int,
    epochs: int,
) -> int:
    """Return an arm's epochs: the task's, or as many as cost what another arm costs.

    With the draws of seed 0, so that all seeds of an arm have the same number of
    epochs.

    Args:
        arm: The arm.
        arms: All arms of the task by name.
        sides: Sides of the task.
        batch_size: Images of a batch at the base size.
        num_images: Images of an epoch.
        epochs: Epochs of the task.
    """
    base, image_cost = sides.base, sides.image_cost
    base_cost = (base * base + image_cost) * num_images

    def cost(of: SizeArm, number: int) -> float:
        sampler = build_sampler(of, base, batch_size, num_images, number, seed=0)
        return planned_pixels(sampler, number) + image_cost * num_images * number

    if arm.compute_of is not None:
        return max(1, round(cost(arms[arm.compute_of], epochs) / base_cost))
    if arm.compute_share is None:
        return epochs
    wanted = arm.compute_share * base_cost * epochs
    # A curriculum of more epochs has the same sizes per epoch on average.
    return max(1, round(epochs * wanted / cost(arm, epochs)))


def order_runs(
    tasks: Mapping[str, SizeRange], seeds: Sequence[int]
) -> List[Tuple[str, str, int]]:
    """Return ``(task, arm, seed)`` of all runs, the most telling ones first.

    All arms are trained with all seeds on drawn scenes, where a training takes
    minutes. On photographs the ablations and the peers have the first seed only. On
    nuclei and with a Swin transformer only :data:`LATE_ARMS` are trained, the first
    :data:`LATE_DECIDING` of them with all seeds.

    Args:
        tasks: Sides by task, in the order of their value.
        seeds: Seeds, the first of them first.
    """
    runs: List[Tuple[str, str, int]] = []

    def add(task: str, names: Sequence[str], seed: int) -> None:
        runs.extend((task, name, seed) for name in names)

    early = [task for task in tasks if task in ("detection", "classification")]
    late = [task for task in tasks if task not in early]
    reused = {
        task: [n for n, a in ablation_arms(sides).items() if a.trained_as]
        for task, sides in tasks.items()
    }
    names = {task: list(main_arms(sides)) for task, sides in tasks.items()}
    first, later = seeds[0], seeds[1:]
    for task in early:
        add(task, names[task][:DECIDING], first)
    for task in early:
        add(task, reused[task] + names[task][DECIDING:], first)
    for task in early:
        for seed in later:
            add(task, names[task] + reused[task], seed)
    for task in late:
        add(task, LATE_ARMS[:LATE_DECIDING], first)
    for task in early:
        rest = [n for n in ablation_arms(tasks[task]) if n not in reused[task]]
        rest += peer_arms(tasks[task])
        for seed in seeds:
            add(task, list(long_arms(tasks[task])), seed)
            if task == "detection" or seed == first:
                add(task, rest, seed)
    for task in late:
        for seed in later:
            add(task, LATE_ARMS[:LATE_DECIDING], seed)
        add(task, LATE_ARMS[LATE_DECIDING:], first)
    return runs
