"""The laboratory of the training benchmarks: scenes, arms, trainings, pages."""

import json
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("mmdet")

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools" / "benchmarks"))

from lab import arms, figures, pages, panoptic, scenes, training  # noqa: E402
from lab.models import NAMES, detector  # noqa: E402


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return scenes.draw(tmp_path_factory.mktemp("sets"), "detection", "train", 6, 64)


# ------------------------------------------------------------------------- scenes
def test_samples_hold_the_drawn_pixels_boxes_and_masks(drawn):
    from tools.demo.scenes import SHAPES, detection_scene

    dataset = scenes.DrawnScenes(drawn, with_mask=True, with_seg=True)
    assert len(dataset) == 6
    for index in range(6):
        sample, scene = dataset[index], detection_scene(0, "train", index, 64)
        assert np.array_equal(sample["img"], scene.image)
        assert sample["img_shape"] == scene.image.shape[:2]
        x, y, w, h = np.array([item.bbox for item in scene.objects]).T
        expected = np.stack([x, y, x + w, y + h], 1)
        assert np.array_equal(sample["gt_bboxes"].tensor.numpy(), expected)
        masks = np.stack([item.mask for item in scene.objects])
        assert np.array_equal(sample["gt_masks"].masks, masks)
        names = [SHAPES[label] for label in sample["gt_bboxes_labels"]]
        assert names == [item.shape for item in scene.objects]
        for item, name in zip(scene.objects, names):
            assert (sample["gt_seg_map"][item.mask] == SHAPES.index(name)).all()
        background = ~masks.any(0)
        assert (sample["gt_seg_map"][background] == len(SHAPES)).all()


def test_coco_file_agrees_with_the_samples(drawn):
    from pycocotools.coco import COCO

    coco = COCO(str(drawn / "instances.json"))
    dataset = scenes.DrawnScenes(drawn, with_mask=True)
    for index in range(6):
        found = coco.loadAnns(coco.getAnnIds(index))
        masks = np.stack([coco.annToMask(annotation) for annotation in found])
        assert np.array_equal(masks, dataset[index]["gt_masks"].masks)
        labels = [annotation["category_id"] for annotation in found]
        assert labels == dataset[index]["gt_bboxes_labels"].tolist()


def test_classification_scenes(tmp_path):
    from tools.demo.scenes import CLASSES, classification_scene

    folder = scenes.draw(tmp_path, "classification", "val", 3, 48, seed=4)
    dataset = scenes.DrawnScenes(folder, "classification")
    for index in range(3):
        scene = classification_scene(4, "val", index, 48)
        assert np.array_equal(dataset[index]["img"], scene.image)
        name = CLASSES[dataset[index]["gt_label"]]
        assert name == scene.objects[0].class_name


def test_scenes_are_drawn_once(drawn):
    stamp = (drawn / "images.npy").stat().st_mtime_ns
    again = scenes.draw(drawn.parent, "detection", "train", 6, 64)
    assert again == drawn and (drawn / "images.npy").stat().st_mtime_ns == stamp
    with pytest.raises(ValueError, match="task must be one of .* 'segmentation'"):
        scenes.draw(drawn.parent, "segmentation", "train", 6, 64)


@pytest.mark.parametrize("name", NAMES)
def test_detectors_are_narrow_and_train_as_a_whole(name):
    from mmdet.registry import MODELS
    from mmengine.registry import DefaultScope

    with DefaultScope.overwrite_default_scope("mmdet"):
        model = MODELS.build(detector(name))
    widest = 8 * 24 if name == "faster-rcnn-swin" else 512 // 4
    assert model.neck.lateral_convs[-1].conv.in_channels == widest
    assert all(param.requires_grad for param in model.parameters())
    with pytest.raises(ValueError, match="model must be one of .*, but got 'yolo'"):
        detector("yolo")


# ------------------------------------------------------------------------ panoptic
def test_panoptic_quality_of_made_segments():
    truth = np.full((10, 10), 4)
    truth[:4, :5] = 1000  # category 0, 20 pixels
    truth[6:, :5] = 2001  # category 1, 20 pixels
    predicted = np.full((10, 10), 4)
    predicted[:4, :4] = 7000  # 16 of its 20 pixels: IoU 0.8
    predicted[6:, :2] = 3001  # 8 of 20: no match
    predicted[0, 9] = 9  # no category
    counts = panoptic.compare_segments(predicted, truth, 5)
    assert counts[0] == (pytest.approx(0.8), 1, 0, 0)
    assert counts[1] == (0.0, 0, 1, 1)
    assert counts[2] == counts[3] == (0.0, 0, 0, 0)
    # The background: 60 true pixels, all but one predicted, and 4 + 12 too many.
    assert counts[4] == (pytest.approx(59 / 76), 1, 0, 0)
    quality = panoptic.panoptic_quality([counts, counts])
    assert quality == pytest.approx((0.8 + 0 + 59 / 76) / 3)
    assert panoptic.panoptic_quality([]) == 0


def test_true_segments_have_panoptic_quality_1(drawn):
    import torch

    dataset = scenes.DrawnScenes(drawn, with_seg=True, with_mask=True)
    metric = panoptic.ScenesPanopticQuality(drawn)
    for index in range(6):
        sample = dataset[index]
        ids = sample["gt_seg_map"].astype(np.int64)
        for number, mask in enumerate(sample["gt_masks"].masks, start=3):
            ids[mask.astype(bool)] += 1000 * number
        predicted = dict(sem_seg=torch.from_numpy(ids[None]))
        metric.process(None, [dict(img_id=index, pred_panoptic_seg=predicted)])
    assert metric.evaluate(6) == {"scenes/PQ": 1.0}


# --------------------------------------------------------------------------- arms
def test_every_arm_is_trained_once_and_the_plan_follows_results(tmp_path):
    store = arms.ArmStore(tmp_path / "results", tmp_path / "work")
    trained = []

    def plan(results):
        names = ["a", "b"] + (
            ["after-b"] if any(r["name"] == "b" for r in results) else []
        )
        return [dict(name=name) for name in names]

    def train(arm, folder):
        assert folder.is_dir()
        trained.append(arm["name"])
        return dict(arm, ap=1.5)

    assert arms.work_through(store, plan, train) == 3
    assert arms.work_through(store, plan, train) == 0
    assert trained == ["a", "b", "after-b"]
    path = store.assemble(dict(benchmark="test"))
    content = json.loads(path.read_text())
    assert path == (tmp_path / "results.json").resolve()
    assert [arm["name"] for arm in content["arms"]] == ["a", "after-b", "b"]
    assert content["about"] == dict(benchmark="test")


def test_only_wanted_arms_are_trained(tmp_path):
    store = arms.ArmStore(tmp_path / "results", tmp_path / "work")
    plan = [dict(name="yes"), dict(name="no")]
    arms.work_through(
        store,
        lambda results: plan,
        lambda arm, folder: dict(arm),
        lambda arm: arm["name"] == "yes",
    )
    assert store.is_done("yes") and not store.is_done("no")


def test_an_arm_that_fails_leaves_the_others_be(tmp_path):
    store = arms.ArmStore(tmp_path / "results", tmp_path / "work")
    names = ["first", "broken", "last"]

    def train(arm, folder):
        if arm["name"] == "broken":
            raise ValueError("no such thing")
        return dict(arm)

    assembled = []
    with pytest.raises(RuntimeError, match="arms that failed: broken"):
        arms.work_through(
            store,
            lambda results: [dict(name=name) for name in names],
            train,
            after_arm=lambda: assembled.append(len(store.results())),
        )
    assert [store.is_done(name) for name in names] == [True, False, True]
    assert assembled == [1, 2]


def _hold(results, work, ready):
    with arms.ArmStore(results, work).claim("arm") as mine:
        ready.put(mine)
        signal.pause()


def test_an_arm_is_claimed_by_one_process_and_free_when_it_is_killed(tmp_path):
    context = multiprocessing.get_context("fork")
    ready = context.Queue()
    holder = context.Process(target=_hold, args=(tmp_path / "r", tmp_path / "w", ready))
    holder.start()
    assert ready.get(timeout=60)
    store = arms.ArmStore(tmp_path / "r", tmp_path / "w")
    with store.claim("arm") as mine:
        assert not mine
    with store.claim("other") as mine:
        assert mine
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    with store.claim("arm") as mine:
        assert mine


def _work(results, work, log, start):
    def plan(done):
        # The last arm follows from all others, whoever trains them.
        names = [f"arm-{number}" for number in range(8)]
        if {result["name"] for result in done} >= set(names):
            names.append("last")
        return [dict(name=name) for name in names]

    def train(arm, folder):
        with open(log, "a") as stream:
            stream.write(f"{arm['name']}\n")
        time.sleep(0.02)
        return dict(arm)

    start.wait()
    arms.work_through(arms.ArmStore(results, work), plan, train)


def test_two_processes_share_a_list_of_arms(tmp_path, monkeypatch):
    monkeypatch.setattr(arms, "WAIT_SECONDS", 0.01)
    context = multiprocessing.get_context("fork")
    start = context.Barrier(2)
    folders = (tmp_path / "results", tmp_path / "work", tmp_path / "log")
    workers = [context.Process(target=_work, args=(*folders, start)) for _ in "ab"]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    trained = (tmp_path / "log").read_text().split()
    assert trained[-1] == "last" and len(trained) == len(set(trained)) == 9


def test_names_of_arms_are_names_of_files(tmp_path):
    store = arms.ArmStore(tmp_path, tmp_path)
    with pytest.raises(ValueError, match="name of an arm .* but got '../a'"):
        store.save("../a", {})


# ----------------------------------------------------------------------- trainings
def _config(drawn, lr=0.01, epochs=2, agvm=True):
    from lab.evaluation import validation

    pipeline = [dict(type="RandomFlip", prob=0.5), dict(type="PackDetInputs")]
    wrapper = dict(
        type="OptimWrapper",
        optimizer=dict(type="SGD", lr=lr, momentum=0.9),
        accumulative_counts=2,
    )
    if agvm:
        wrapper.update(
            type="AGVMOptimWrapper",
            constructor="AGVMOptimWrapperConstructor",
            agvm=dict(start_iter=2, interval=1, momentum=0.5),
        )
    return dict(
        model=detector("faster-rcnn", num_levels=2),
        default_scope="mmdet",
        train_dataloader=training.fixed_size_loader(
            dict(type="DrawnScenes", folder=str(drawn), pipeline=pipeline), 1, 64
        ),
        train_cfg=dict(max_epochs=epochs),
        optim_wrapper=wrapper,
        custom_hooks=[dict(type="ResolutionCurriculumHook", schedule="constant")],
        randomness=dict(seed=0),
        **validation(drawn),
    )


def test_outcome_counts_updates_images_and_measurements(drawn, tmp_path):
    outcome = training.train(_config(drawn), tmp_path / "arm")
    assert not outcome.diverged
    assert outcome.updates == 6 and outcome.images == 12
    assert len(outcome.loss) == 12 and all(map(math.isfinite, outcome.loss))
    # Update 0 comes before the start, the second iteration.
    assert [part["update"] for part in outcome.agvm] == [2, 3, 4, 5, 6]
    assert set(outcome.agvm[0]["mu"]) == {
        "backbone",
        "neck",
        "rpn_head",
        "roi_head.bbox_head",
    }
    assert "coco/bbox_mAP" in outcome.metrics
    assert outcome.train_seconds > 0 and outcome.cpu_seconds > 0


def test_exploding_loss_ends_the_training(drawn, tmp_path):
    outcome = training.train(_config(drawn, lr=1e6, agvm=False), tmp_path / "arm")
    assert outcome.diverged and outcome.metrics == {}
    assert outcome.updates < 6


SCRIPT = """
import sys
sys.path[:0] = [{tests!r}, {tools!r}]
import mms_plugin
from pathlib import Path
from test_benchmark_lab import _config
from lab.training import train
train(_config(Path(sys.argv[1]), epochs=50), Path(sys.argv[2]), checkpoint_images=4)
"""


def test_killed_training_continues_to_the_same_end(drawn, tmp_path):
    script = SCRIPT.format(
        tests=str(ROOT / "tests" / "test_tools"),
        tools=str(ROOT / "tools" / "benchmarks"),
    )
    killed = subprocess.Popen(
        [sys.executable, "-c", script, str(drawn), str(tmp_path / "killed")],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    last = tmp_path / "killed" / "last_checkpoint"
    try:
        while not last.exists():
            assert killed.poll() is None, "it ended before its first checkpoint"
            time.sleep(0.1)
    finally:
        killed.kill()
        killed.wait()
    name = Path(last.read_text()).stem
    reached = int(name.split("_")[1])
    epochs = reached // 6 + 2
    resumed = training.train(_config(drawn, epochs=epochs), tmp_path / "killed", 4)
    whole = training.train(_config(drawn, epochs=epochs), tmp_path / "whole", 4)
    assert resumed.loss == whole.loss
    assert resumed.agvm == whole.agvm
    assert resumed.metrics == whole.metrics
    assert resumed.updates == whole.updates == epochs * 3


def test_thinned_measurements_keep_ends_and_means():
    trace = [
        dict(update=n, measured=n, phi=dict(a=float(n)), mu=dict(a=10.0 * n))
        for n in range(1, 8)
    ]
    parts = training.thinned(trace, points=3)
    # 7 measurements in parts of 2, 2 and 3.
    assert [part["update"] for part in parts] == [2, 4, 7]
    assert [part["phi"]["a"] for part in parts] == [1.5, 3.5, 6.0]
    assert [part["mu"]["a"] for part in parts] == [20.0, 40.0, 70.0]
    assert training.thinned([]) == []


def test_binned_means_use_every_value_once():
    assert training.binned_means([1, 2, 3, 4, 5], bins=2) == [1.5, 4.0]
    assert training.binned_means([1, 2], bins=60) == [1, 2]
    assert training.binned_means([]) == []


# ---------------------------------------------------------------------------- pages
def test_blocks_of_a_page_are_replaced_and_the_rest_is_kept():
    page = "# Title\n\nfirst\n<!-- begin a -->\nold\n<!-- end a -->\nlast\n"
    once = pages.fill_blocks(page, dict(a="new \\1", b="added"))
    assert once.startswith(
        "# Title\n\nfirst\n<!-- begin a -->\nnew \\1\n<!-- end a -->"
    )
    assert once.endswith("<!-- begin b -->\nadded\n<!-- end b -->\n")
    assert pages.fill_blocks(once, dict(a="new \\1", b="added")) == once


def test_marks_at_the_end_of_an_axis_are_within_the_picture(tmp_path):
    """Two lines that end at the last rate: each has its own cross there."""
    from matplotlib.image import imread

    def colored(marks):
        lines = [
            figures.Line("plain", [1, 2], [3, 4], marks=marks),
            figures.Line("AGVM", [1, 2], [4, 3], marks=marks),
        ]
        panel = figures.Panel("panel", lines, [1, 2, 4])
        figures.draw_panels([[panel]], tmp_path / "a.png", "x", "y", "title")
        pixels = imread(tmp_path / "a.png")[..., :3]
        blue = np.array([0x00, 0x72, 0xB2]) / 255
        return (np.abs(pixels - blue).max(-1) < 0.1).sum()

    assert colored([4]) - colored([]) > 10


def test_hollow_points_are_drawn_without_their_inside(tmp_path):
    from matplotlib.image import imread

    def black(hollow):
        line = figures.Line("plain", [1, 2], [3, 4], hollow=hollow)
        panel = figures.Panel("panel", [line])
        figures.draw_panels([[panel]], tmp_path / "a.png", "x", "y", "title")
        return (imread(tmp_path / "a.png")[..., :3] < 0.1).all(-1).sum()

    assert black([]) - black([1]) == pytest.approx(black([1]) - black([1, 2]), abs=5)
    assert black([]) - black([1]) > 10


def test_a_long_title_stays_within_a_narrow_picture(tmp_path):
    from matplotlib.image import imread

    panel = figures.Panel("panel", [figures.Line("plain", [1, 2], [3, 4])])
    title = "Gradient variance over the training, at AGVM's best rate of the sweep"
    figures.draw_panels([[panel]], tmp_path / "a.png", "x", "y", title)
    pixels = imread(tmp_path / "a.png")[..., :3]
    assert (pixels[:, :3] == 1).all() and (pixels[:, -3:] == 1).all()
