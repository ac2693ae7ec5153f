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

from lab import arms, pages, scenes, training  # noqa: E402
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
def test_detectors_have_a_quarter_of_the_channels(name):
    from mmdet.registry import MODELS
    from mmengine.registry import DefaultScope

    with DefaultScope.overwrite_default_scope("mmdet"):
        model = MODELS.build(detector(name))
    assert model.backbone.layer4[0].conv1.out_channels == 512 // 4
    assert all(param.requires_grad for param in model.parameters())
    with pytest.raises(ValueError, match="model must be one of .*, but got 'yolo'"):
        detector("yolo")


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


def test_markdown_table():
    text = pages.markdown_table([["a", "b"], ["x", "1"]])
    assert text == "| a | b |\n| --- | ---: |\n| x | 1 |"
