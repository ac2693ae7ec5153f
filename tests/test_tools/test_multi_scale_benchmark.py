"""The multi-scale benchmark: its arms, what it says of them, and a run on made data."""

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

pytest.importorskip("mmdet")
pytest.importorskip("mmpretrain")

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "tools" / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import multi_scale  # noqa: E402
from size_lab import page, photos, summary, training  # noqa: E402
from size_lab.arms import (  # noqa: E402
    SizeRange,
    all_arms,
    build_sampler,
    epochs_of,
    main_arms,
    order_runs,
    planned_pixels,
)
from size_lab.tasks import tasks  # noqa: E402

SIDES = SizeRange(base=64, step=8, low=40, high=80, wide=96)


def result(arm, seed, value, **changes):
    """The result of an arm of the detection task."""
    fields = dict(
        task="detection",
        data="scenes",
        arm=arm,
        seed=seed,
        epochs=60,
        iterations=3000,
        train_flops=10e12,
        train_cpu_seconds=400.0,
        metric="coco/bbox_mAP",
        value=value,
        by_size={"56": value - 2, "64": value},
        curve=[[30, 5e12, value / 2], [60, 10e12, value]],
        ece=None,
        nll=None,
        bins=None,
        corrupted=value / 2,
    )
    return {**fields, **changes}


# ------------------------------------------------------------------------------ arms


def test_arms_of_every_task_have_plans_that_fit_their_names():
    for task in tasks().values():
        sides = task.sides
        arms = all_arms(sides)
        images = 400

        def pixels(name, arms=arms, task=task, sides=sides, images=images):
            of_pixels = replace(sides, image_cost=0.0)
            epochs = epochs_of(arms[name], arms, of_pixels, task.batch_size, images, 20)
            sampler = build_sampler(
                arms[name], sides.base, task.batch_size, images, epochs, seed=0
            )
            return planned_pixels(sampler, epochs) / (sides.base**2 * images * 20)

        assert pixels("SSc-FBS") == 1.0
        assert pixels("SSc-FBS jitter") == 1.0
        assert 0.5 < pixels("MSc-VBSWC") < 0.63
        assert pixels("MSc-VBSWC") < pixels("MSc-VBSWC wide") < 0.75
        short = pixels("SSc-FBS short")
        # Whole epochs of 20.
        assert short == pytest.approx(pixels("MSc-VBSWC"), abs=0.03)
        assert pixels("MSc-VBSWC") < pixels("MSc-VBSWC end at base") < 1
        assert pixels("MSc-VBSWC wide 0.63") == pytest.approx(0.63, abs=0.03)
        assert pixels("MSc-VBSWC wide 1.00") == pytest.approx(1.0, abs=0.03)


def test_photographs_are_trained_in_bfloat16_but_for_tiny_ones():
    large, small = tasks(), tasks(small=True)
    assert large["classification"].precision == "bfloat16"
    assert large["classification-swin"].precision == "bfloat16"
    assert large["detection"].precision == "float32"
    assert small["classification"].precision == "float32"


def test_a_short_arm_pays_for_images_too():
    arms = main_arms(SIDES)
    epochs = [
        epochs_of(
            arms["SSc-FBS short"], arms, replace(SIDES, image_cost=cost), 16, 400, 60
        )
        for cost in (0.0, 64.0**2, 1e9)
    ]
    # Half of an image's cost is that of its pixels; then next to nothing.
    assert epochs[1] == pytest.approx((epochs[0] + 60) / 2, abs=1)
    assert epochs[2] == 60


def test_the_long_arms_take_twice_the_epochs_and_0_61_of_that_compute():
    sides = replace(SIDES, image_cost=64.0**2)
    arms = all_arms(sides)
    names = ("SSc-FBS 2.00", "MSc-VBSWC wide lr sqrt 1.22")
    epochs = [epochs_of(arms[n], arms, sides, 16, 400, 60) for n in names]
    assert epochs[0] == 120
    costs = []
    for name, number in zip(names, epochs):
        plans = map(
            build_sampler(arms[name], 64, 16, 400, number, 0).plan, range(number)
        )
        costs.append(sum(n * (h * w + 64**2) for p in plans for h, w, n in p))
    assert costs[1] / costs[0] == pytest.approx(0.61, abs=0.005)


def test_zoom_is_half_of_the_jitter_of_detectors():
    task = tasks()["detection"]
    ranges = {}
    for kind in ("zoom", "full"):
        steps = str(task.train_pipeline(kind))
        found = re.search(r"ratio_range.: \(([\d.]+), ([\d.]+)\)", steps)
        ranges[kind] = found.groups()
    assert ranges == {"zoom": ("1.0", "1.25"), "full": ("0.625", "1.25")}
    assert "RandomResize" not in str(task.train_pipeline())
    sides = replace(SIDES, image_cost=64.0**2)
    arms = all_arms(sides)
    zoom, fixed = arms["MSc-VBSWC wide lr sqrt zoom 1.22"], arms["SSc-FBS zoom 1.26"]
    assert zoom == replace(
        arms["MSc-VBSWC wide lr sqrt 1.22"], name=zoom.name, jitter="zoom"
    )
    assert fixed == replace(arms["SSc-FBS jitter 1.26"], name=fixed.name, jitter="zoom")
    assert not any("zoom" in name for name in all_arms(SIDES))


def test_fixed_batches_keep_their_size_and_variable_ones_the_pixels():
    arms = main_arms(SIDES)
    plans = {
        name: build_sampler(arms[name], 64, 16, 320, 4, seed=1).plan(0)
        for name in ("SSc-FBS", "MSc-FBS", "MSc-VBS")
    }
    assert plans["SSc-FBS"] == [(64, 64, 16)] * 20
    assert {images for _, _, images in plans["MSc-FBS"]} == {16}
    assert len({height for height, _, _ in plans["MSc-FBS"]}) > 1
    for height, width, images in plans["MSc-VBS"][:-1]:
        assert images == 16 * 64 * 64 // (height * width)


def test_batches_by_cost_hold_the_cost_of_the_base_batch():
    sides = replace(SIDES, image_cost=64.0**2)
    arm = all_arms(sides)["MSc-VBSWC wide by cost"]
    for height, _, images in build_sampler(arm, 64, 16, 320, 4, seed=1).plan(3)[:-1]:
        assert images == 16 * 2 * 64**2 // (height**2 + 64**2)
    assert not any(name.endswith("by cost") for name in all_arms(SIDES))


def test_a_curriculum_ends_with_the_arms_own_sizes():
    arms = all_arms(SIDES)
    for name, arm in arms.items():
        sampler = build_sampler(arm, 64, 16, 320, 10, seed=0)
        last = {size[0] for size in sampler.sizes_of_epoch(9)}
        if name == "MSc-VBSWC":
            assert last == {40, 48, 56, 64, 72, 80}
            assert {s[0] for s in sampler.sizes_of_epoch(0)} == {40, 48}
        if name in ("MSc-VBSWC end at base", "Composer progressive"):
            assert last == {64}
        if name == "timm progressive":
            assert last == {72, 80}


def test_runs_are_ordered_by_value_and_each_comes_once():
    sides = {name: task.sides for name, task in tasks().items()}
    runs = order_runs(sides, [0, 1, 2])
    assert len(set(runs)) == len(runs)
    assert runs[:6] == [
        ("detection", arm, 0)
        for arm in (
            "SSc-FBS",
            "MSc-VBSWC",
            "MSc-VBSWC wide",
            "MSc-VBSWC wide lr sqrt",
            "SSc-FBS jitter",
            "SSc-FBS short",
        )
    ]
    assert [run[0] for run in runs[6:12]] == ["classification"] * 6
    for task, task_sides in sides.items():
        if task in ("detection", "classification"):
            first = later = list(main_arms(task_sides))
        else:
            later = ["SSc-FBS", "MSc-VBSWC wide lr sqrt", "SSc-FBS jitter"]
            first = [*later, "SSc-FBS short", "MSc-VBSWC wide", "MSc-VBS", "MSc-FBS"]
            assert {arm for t, arm, _ in runs if t == task} == set(first)
        assert all((task, name, 2) in runs for name in later)
        assert all((task, name, 0) in runs for name in first)
    assert all(("detection", n, 2) in runs for n in all_arms(sides["detection"]))
    for name in all_arms(sides["classification"]):
        assert ("classification", name, 0) in runs


def test_arms_that_reuse_weights_bring_their_parents():
    planned = multi_scale.planned_arms(tasks(), 1, "detection_*precise-bn_seed0")
    names = [arm["name"] for arm in planned]
    assert "detection_msc-vbswc_seed0" in names
    assert "detection_msc-vbswc-wide_seed0" in names
    assert all(arm["after"] in names for arm in planned if arm["after"])
    assert multi_scale.planned_arms(tasks(), 1, "nothing*") == []


# --------------------------------------------------------------------------- summary


def test_differences_are_taken_seed_by_seed():
    base = [result("SSc-FBS", seed, 20.0 + seed) for seed in range(3)]
    arm = [result("MSc-VBSWC", seed, 21.0 + seed) for seed in (0, 2, 3)]
    gains = summary.paired(arm, base, lambda r: r["value"])
    assert list(gains.values) == [1.0, 1.0]
    ratios = summary.paired(arm, base, lambda r: r["value"], ratio=True)
    assert list(ratios.values) == pytest.approx([21 / 20, 23 / 22])
    assert summary.paired(arm, [], lambda r: r["value"]) is None


@pytest.mark.parametrize(
    "gains, expected",
    [
        ([1.0, 1.1, 0.9], "yes"),
        ([-1.0, -1.1, -0.9], "no"),
        ([1.0, -0.8, 0.1], "yes, within the spread"),
        ([-1.0, 0.8, -0.1], "no, within the spread"),
        ([1.0, 1.0], "2 seeds"),
        ([1.0], "1 seed"),
        (None, "no seeds"),
    ],
)
def test_answers(gains, expected):
    spread = None if gains is None else summary.Spread(gains)
    assert summary.answer(spread, seeds=3) == expected


def test_claims_compare_the_curriculum_with_the_baseline():
    results = []
    for seed in range(3):
        results.append(result("SSc-FBS", seed, 25.0 + seed))
        results.append(
            result("MSc-VBSWC", seed, 26.0 + seed, train_flops=6e12, corrupted=10.0)
        )
        results.append(result("MSc-VBSWC wide", seed, 24.0 + seed, train_flops=8e12))
    rows = {
        row[0] or row[1]: row[2:] for row in summary.claims(results, "detection", 3)
    }
    # The third arm has not been trained.
    assert rows["less compute"] == ["yes (0.60 ± 0.00)", "no (0.80 ± 0.00)"]
    assert rows["accuracy kept"] == ["yes (+1.0 ± 0.0)", "no (-1.0 ± 0.0)"]
    assert rows["points under corruptions"][0].startswith("no (-3.0")
    assert "better calibrated" not in rows


def test_cpu_time_is_compared_between_trainings_on_the_cpu_only():
    gpu = dict(device="NVIDIA H100")
    results = [
        result("SSc-FBS", 0, 25.0),
        result("MSc-VBSWC", 0, 25.0, train_cpu_seconds=300.0),
        result("SSc-FBS", 1, 25.0, train_cpu_seconds=50.0, device="cpu"),
        result("MSc-VBSWC", 1, 25.0, train_cpu_seconds=20.0, **gpu),
        result("MSc-FBS", 0, 25.0, train_cpu_seconds=20.0, **gpu),
    ]
    names = ["SSc-FBS", "MSc-VBSWC", "MSc-FBS"]
    header, *rows = summary.arm_table(results, "detection", names)
    column = header.index("CPU time")
    assert [row[column] for row in rows] == ["1.00", "0.75", "–"]


def test_reliability_pools_the_seeds_and_leaves_out_thin_bins():
    def bins(count, confidence, accuracy):
        return [
            dict(count=count, confidence=confidence, accuracy=accuracy),
            dict(count=0, confidence=None, accuracy=None),
        ]

    results = [
        result("SSc-FBS", 0, 1.0, bins=bins(10, 0.2, 0.1)),
        result("SSc-FBS", 1, 1.0, bins=bins(30, 0.4, 0.5)),
    ]
    assert summary.pooled_bins(results) == [pytest.approx([0.35, 0.4])]


def test_the_page_of_an_incomplete_grid_says_what_is_missing(tmp_path):
    path = tmp_path / "docs" / "multi_scale.md"
    page.write_page([], path, 3)
    assert "No training is done yet." in path.read_text()
    results = [
        result("SSc-FBS", 0, 25.0),
        result("MSc-VBSWC", 0, 26.0),
        result("SSc-FBS 2.00", 0, 25.5, train_flops=2e13),
        result("MSc-VBSWC wide lr sqrt 1.22", 0, 26.5, train_flops=1.26e13),
    ]
    path.write_text(path.read_text() + "\nWritten by hand.\n")
    page.write_page(results, path, 3)
    text = path.read_text()
    assert "Written by hand." in text
    assert "1 seed (+1.0)" in text
    detection = next(row for row in text.splitlines() if row.startswith("| detection "))
    arms = len(all_arms(tasks()["detection"].sides))
    cells = [cell.strip() for cell in detection.split("|")[1:-1]]
    assert cells[1:] == ["4", str(3 * arms), str(arms - 4)]
    assert (
        "Has the baseline stopped improving? Twice the epochs give it +0.5 points."
        in text
    )
    rows = [[c.strip() for c in line.split("|")[1:-1]] for line in text.splitlines()]
    long = next(row for row in rows if row[:1] == ["MSc-VBSWC wide lr sqrt 1.22"])
    assert long[4] == "0.63"
    assert "--list" in text
    for figure in ("compute", "sizes"):
        name = f"multi_scale_detection_{figure}.png"
        assert name in text
        assert (path.parent / name).read_bytes().startswith(b"\x89PNG")


# -------------------------------------------------------------------------- training


def test_photographs_are_decoded_once_and_bad_folders_are_named(tmp_path):
    cv2 = pytest.importorskip("cv2")
    np = pytest.importorskip("numpy")
    for number, name in enumerate(("cat", "dog")):
        (tmp_path / name).mkdir()
        image = np.full((20, 30, 3), 60 + 100 * number, np.uint8)
        cv2.imwrite(str(tmp_path / name / "a.jpg"), image)
    dataset = photos.Photographs(tmp_path)
    (tmp_path / "dog" / "a.jpg").unlink()
    again = photos.Photographs(tmp_path, test_mode=True)
    assert len(again) == len(dataset) == 2
    assert [again[i]["gt_label"] for i in range(2)] == [0, 1]
    sample = dataset[1]
    sample["img"][:] = 0  # a transform that works in place
    assert abs(int(dataset[1]["img"].mean()) - 160) < 3
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="class folders"):
        photos.read_photographs(tmp_path / "empty")


@pytest.fixture(scope="module")
def small_places(tmp_path_factory):
    """Made photographs, and folders for trainings."""
    from tools.demo.scenes import SceneParameters, write_scenes

    folder = tmp_path_factory.mktemp("multi_scale")
    write_scenes(
        folder / "data",
        SceneParameters(
            train_images=24,
            val_images=8,
            image_size=48,
            det_train_images=0,
            det_val_images=0,
        ),
    )
    return training.Places(folder / "data", folder / "work")


def test_an_arm_costs_what_its_plan_says_and_is_trained_once(small_places):
    task = tasks(small=True)["classification"]
    arms = all_arms(task.sides)
    first = training.run_arm(task, arms["MSc-VBSWC"], 0, small_places)
    sampler = build_sampler(
        arms["MSc-VBSWC"], task.sides.base, task.batch_size, 24, task.epochs, seed=0
    )
    plans = [sampler.plan(epoch) for epoch in range(task.epochs)]
    assert first["iterations"] == sum(map(len, plans))
    assert first["images"] == 24 * task.epochs
    stage = training.stages_of(task, arms["MSc-VBSWC"], 0, small_places, 24)[0]
    trained = json.loads(stage.done.read_text())
    # What the runner really did is what the plan had foreseen.
    assert trained["iterations"] == first["iterations"]
    assert trained["images"] == first["images"]
    assert [point[0] for point in first["curve"]] == [1, 2]
    assert first["curve"][-1][1] == first["train_flops"]
    assert first["curve"][-1][2] == pytest.approx(first["value"])
    assert first["by_size"][str(task.sides.base)] == first["value"]
    assert first["ece"] is not None and len(first["bins"]) == 15
    assert first["precision"] == "float32"

    final = training.run_arm(task, arms["MSc-VBSWC final phase"], 0, small_places)
    assert json.loads(stage.done.read_text()) == trained  # not trained again
    assert final["epochs"] == 3
    assert final["train_flops"] > first["train_flops"]
    assert final["train_seconds"] > first["train_seconds"]

    again = training.run_arm(task, arms["MSc-VBSWC"], 0, small_places)
    assert again == first


def test_missing_data_is_named(tmp_path):
    task = tasks()["classification"]
    with pytest.raises(ValueError, match="--data-root must hold caltech20/train"):
        training.run_arm(
            task,
            all_arms(task.sides)["SSc-FBS"],
            0,
            training.Places(tmp_path, tmp_path),
        )


# --------------------------------------------------------------------------- command


def run_benchmark(*arguments, cwd, script="multi_scale.py"):
    return subprocess.run(
        [sys.executable, "-W", "ignore", str(BENCHMARKS / script), *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        timeout=280,
    )


def test_smoke_run_from_anywhere(tmp_path):
    done = run_benchmark("--smoke", cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    content = json.loads(done.stdout)
    assert {arm["task"] for arm in content["arms"]} == {"detection", "classification"}
    for arm in content["arms"]:
        assert arm["train_flops"] > 0 and arm["train_seconds"] > 0
        assert {"value", "by_size", "ece", "nll", "corrupted", "metric"} <= set(arm)
    assert list(tmp_path.iterdir()) == []


def test_list_and_bad_input(tmp_path):
    listed = run_benchmark("--list", "--results", str(tmp_path / "r"), cwd=tmp_path)
    assert listed.returncode == 0, listed.stderr
    assert listed.stdout.split()[:2] == ["pending", "detection_ssc-fbs_seed0"]
    wrong = run_benchmark("--seeds", "0", cwd=tmp_path)
    assert wrong.returncode == 2 and "--seeds must be at least 1" in wrong.stderr
    none = run_benchmark(
        *("--only", "nothing*", "--results", str(tmp_path / "r")), cwd=tmp_path
    )
    assert none.returncode == 1 and "--only must match an arm" in none.stderr


def test_an_arm_that_fails_is_told_and_the_others_go_on(
    small_places, tmp_path, monkeypatch, capsys
):
    small = tasks(small=True)
    names = ("SSc-FBS", "MSc-VBSWC", "MSc-VBSWC precise BN", "SSc-FBS short")
    arms = [
        arm
        for arm in multi_scale.planned_arms(small, 1, "classification_*")
        if arm["arm"] in names
    ]
    trained = []

    def run_arm(task, arm, seed, places):
        if arm.name == "MSc-VBSWC":
            raise RuntimeError("out of luck")
        trained.append(arm.name)
        return result(arm.name, seed, 1.0)

    monkeypatch.setattr(training, "run_arm", run_arm)
    args = multi_scale.parse_args(
        ["--results", str(tmp_path / "results"), "--work-dir", str(tmp_path / "work")]
    )
    with pytest.raises(SystemExit, match="failed: classification_msc-vbswc_seed0"):
        multi_scale.work(args, small, arms)
    # What reuses its weights has nothing to begin with.
    assert trained == ["SSc-FBS", "SSc-FBS short"]
    assert "RuntimeError: out of luck" in capsys.readouterr().err
    done = json.loads((tmp_path / "results.json").read_text())
    assert {arm["arm"] for arm in done["arms"]} == {"SSc-FBS", "SSc-FBS short"}


KILLED = """
import os
import signal
import sys
from pathlib import Path

from mmengine.hooks import Hook

sys.path.insert(0, sys.argv[1])
from size_lab import training
from size_lab.arms import all_arms
from size_lab.tasks import tasks


class Killed(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.saved = (Path(runner.work_dir) / "last_checkpoint").exists()

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if self.saved:
            os.kill(os.getpid(), signal.SIGKILL)


def with_kill(*args, config=training.training_config):
    config = config(*args)
    config["custom_hooks"].append(Killed())
    return config


training.training_config = with_kill
places = training.Places(Path(sys.argv[2]), Path(sys.argv[3]))
task = tasks(small=True)["classification"]
training.run_arm(task, all_arms(task.sides)["SSc-FBS"], 0, places)
"""


def test_a_killed_arm_gives_the_same_result(small_places, tmp_path):
    """Killed in the iteration after its first checkpoint."""
    task = tasks(small=True)["classification"]
    arm = all_arms(task.sides)["SSc-FBS"]
    whole = training.run_arm(task, arm, 0, small_places)
    other = training.Places(small_places.data_root, tmp_path / "work")
    stage = training.stages_of(task, arm, 0, other, 24)[0]
    killed = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", KILLED, str(BENCHMARKS)]
        + [str(other.data_root), str(other.work_dir)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-3000:]
    assert stage.checkpoint.is_file() and not stage.done.exists()
    saved = torch.load(stage.checkpoint, weights_only=False)["meta"]["iter"]
    assert 0 < saved < whole["iterations"]
    continued = training.run_arm(task, arm, 0, other)
    for key in ("value", "by_size", "train_flops", "iterations", "ece", "curve"):
        assert continued[key] == whole[key], key
