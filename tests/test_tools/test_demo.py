"""The demo: its report from figures worked out by hand, and one tiny run of it all."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools" / "demo"))

import documented  # noqa: E402
import report  # noqa: E402
from trainings import threads_of  # noqa: E402

RUN = ROOT / "tools" / "demo" / "run.py"


def arm(name, plan, flops, by_size, wall_clock, agvm=None):
    return report.Arm(
        name=name,
        config=f"configs/{name}.py",
        epochs=2,
        plan=plan,
        train_flops=flops,
        wall_clock=wall_clock,
        cpu_time=2 * wall_clock,
        train_time=wall_clock / 4,
        metrics_by_size=by_size,
        curve=[(2, {metric: values[64] for metric, values in by_size.items()})],
        agvm=agvm or {},
    )


AGVM = {
    "phi/backbone": [(10, 0.9), (20, 0.5), (30, 0.4)],
    "phi/neck": [(10, 0.9), (20, 0.5), (30, 0.2)],
    "phi/rpn_head": [(10, 0.9), (20, 0.5), (30, 0.6)],
    "mu/backbone": [(10, 1.0), (20, 1.0), (30, 1.0)],
    "mu/neck": [(10, 1.0), (20, 1.1), (30, 1.25)],
    "mu/rpn_head": [(10, 1.0), (20, 1.0), (30, 0.75)],
}


def task():
    return report.Task(
        name="detection",
        metrics=["box mAP", "mask mAP"],
        base_size=64,
        arms=[
            arm(
                "SSc-FBS",
                [[(64, 64, 4)] * 2, [(64, 64, 4)] * 2],
                [80e12, 80e12],
                {"box mAP": {32: 40.0, 64: 80.0}, "mask mAP": {32: 20.0, 64: 50.0}},
                100.0,
                AGVM,
            ),
            arm(
                "MSc-VBS",
                [[(32, 32, 8)], [(32, 32, 3), (64, 64, 5)]],
                [20e12, 60e12],
                {"box mAP": {32: 70.0, 64: 76.0}, "mask mAP": {32: 30.0, 64: 52.0}},
                60.0,
            ),
        ],
        pictures={"a.png": "A picture"},
    )


def test_figures_by_hand():
    content = report.assemble([task()], dict(seed=0))
    found = content["tasks"]["detection"]
    assert found["baseline"] == "SSc-FBS"
    assert found["test_sizes"] == [32, 64]
    first, second = found["arms"]
    assert (first["iterations"], first["images"]) == (4, 16)
    assert (second["iterations"], second["images"]) == (3, 16)
    assert (first["train_flops"], second["train_flops"]) == (160e12, 80e12)
    assert first["metrics"]["box mAP"] == dict(
        at_base_size=80.0, mean_over_sizes=60.0, by_size={"32": 40.0, "64": 80.0}
    )
    assert second["metrics"]["box mAP"]["mean_over_sizes"] == 73.0
    assert second["metrics"]["mask mAP"]["mean_over_sizes"] == 41.0
    assert second["ratio"] == dict(
        iterations=0.75, train_flops=0.5, wall_clock=0.6, cpu_time=0.6, train_time=0.6
    )
    assert set(first["ratio"].values()) == {1.0}
    metrics = {"box mAP": 76.0, "mask mAP": 52.0}
    assert second["curve"] == [dict(epoch=2, train_flops=80e12, metrics=metrics)]
    # The last third of three measurements is the last.
    assert first["agvm"] == dict(
        phi=dict(backbone=0.4, neck=0.2, rpn_head=0.6),
        mu=dict(backbone=1.0, neck=1.25, rpn_head=0.75),
    )
    assert "agvm" not in second


def test_markdown_has_the_figures():
    text = report.to_markdown(report.assemble([task()], dict(seed=0)))
    rows = [
        [c.strip() for c in line.strip("|").split("|")] for line in text.split("\n")
    ]
    first = ["MSc-VBS", "2", "3", "16", "80.00", "15", "60", "120"]
    assert [*first, "76.0", "73.0", "52.0", "41.0"] in rows
    second = ["MSc-VBS", "0.75", "0.50", "0.60", "0.60", "0.60"]
    assert [*second, "-4.0", "+13.0", "+2.0", "+6.0"] in rows
    assert ["MSc-VBS", "70.0", "76.0"] in rows
    assert ["MSc-VBS", "30.0", "52.0"] in rows
    assert "![A picture](a.png)" in text
    assert ["neck", "0.20", "1.25"] in rows
    assert (
        "phi was 0.40 in the backbone and from 0.20 (neck) to 0.60 (rpn_head)" in text
    )
    assert "from 0.75 (rpn_head) to 1.25 (neck)." in text
    assert "little to align" not in text


@pytest.mark.parametrize("page", ["README.md", "docs/demo.md"])
@pytest.mark.parametrize("name", ["classification", "detection"])
def test_readme_has_the_table_of_the_documented_figures(name, page):
    table = documented.readme_table(documented.load()[name])
    assert table in (ROOT / page).read_text()


def test_spread_over_seeds():
    # Mean 3; deviations -2, 0, 2: the variance over two degrees of freedom is 4.
    assert documented.spread([1.0, 3.0, 5.0]) == "3.0 ± 2.0"
    assert documented.spread([3.25]) == "3.2"


def run_as_documented():
    """A run's content with the documented settings and figures of its own."""
    task = documented.load()["detection"]
    arms = [
        dict(
            name=one["name"],
            epochs=one["epochs"],
            images=one["epochs"] * task["train_images"],
            metrics={
                metric: dict(at_base_size=1.04, mean_over_sizes=2.0)
                for metric in one["metrics"]
            },
        )
        for one in task["arms"]
    ]
    return dict(
        arms=arms, metrics=["box mAP", "mask mAP"], test_sizes=task["test_sizes"]
    )


def test_own_figures_beside_the_documented():
    content = run_as_documented()
    header, first, *rest = documented.beside("detection", content, 0)
    assert header[2:4] == ["this run, seed 0", "documented, seed 0"]
    assert first == ["SSc-FBS", "box mAP at 128 px", "1.0", "39.3", "39.1 ± 0.2"]
    assert len(rest) == 11  # three arms of two metrics, at two kinds of sizes
    # A seed that is not documented, and a run of other settings.
    assert documented.beside("detection", content, 5)[1][3] == "-"
    content["arms"][1]["epochs"] = 2
    assert documented.beside("detection", content, 0) == []


def test_small_multipliers_are_called_so():
    one = report.assemble([task()], {})["tasks"]["detection"]["arms"][0]
    one["agvm"]["mu"] = dict(backbone=1.0, neck=1.1, rpn_head=0.9)
    assert "At 4 images a batch there is little to align" in report.describe_agvm(one)


def test_phi_is_drawn_as_a_running_mean():
    panels = report.agvm_panels(AGVM, window=2)
    phi, mu = panels.values()
    assert [x for x, _ in phi["neck"]] == [20, 30]
    assert [y for _, y in phi["neck"]] == pytest.approx([0.7, 0.35])
    assert mu["neck"] == AGVM["mu/neck"]
    # Fewer measurements than the window: no line, and no error.
    assert report.agvm_panels(AGVM, window=4)
    assert all("(mean of 2 measurements)" in key for key in list(panels)[:1])


def test_an_arm_comes_back_from_json():
    for one in task().arms:
        assert report.arm_from_json(report.arm_to_json(one)) == one


def test_reports_are_written_whole(tmp_path):
    content = report.assemble([task()], dict(seed=0))
    report.write_report(tmp_path, content)
    assert json.loads((tmp_path / "report.json").read_text()) == content
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report.json", "report.md"]


@pytest.mark.parametrize(
    ("most", "jobs", "threads"),
    [("", 3, 2), ("", 20, 1), ("1", 3, 1), ("6", 3, 2), ("0", 3, 2), ("4,2", 3, 2)],
)
def test_threads_are_shared_and_no_more_than_allowed(monkeypatch, most, jobs, threads):
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setenv("OMP_NUM_THREADS", most)
    assert threads_of(jobs) == threads


def run(*args, **kwargs):
    return subprocess.run(
        [sys.executable, str(RUN), *args],
        capture_output=True,
        text=True,
        timeout=560,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        **kwargs,
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--epochs", "0"], "--epochs must be at least 1, but got 0"),
        (["--train-images", "5"], "--train-images must be at least 12, but got 5"),
        (["--test-sizes", "8"], "--test-sizes must be at least 16, but got [8]"),
        (["--det-images", "4", "0"], "--det-images must be at least 1, but got [4, 0]"),
        (["--det-epochs", "0"], "--det-epochs must be at least 1, but got 0"),
        (["--jobs", "0"], "--jobs must be at least 1, but got 0"),
        (["--tasks", "pose"], "invalid choice: 'pose'"),
    ],
)
def test_bad_input(options, message, tmp_path):
    result = run(*options, "--work-dir", str(tmp_path / "demo"))
    assert result.returncode == 2
    assert message in result.stderr
    assert result.stdout == ""
    assert not (tmp_path / "demo").exists()


def test_refuses_a_folder_of_others(tmp_path):
    (tmp_path / "scenes").mkdir()
    (tmp_path / "scenes" / "thesis.txt").write_text("mine")
    result = run("--work-dir", str(tmp_path), "--epochs", "1")
    assert result.returncode == 2
    assert result.stderr.strip().splitlines()[-1].startswith("error: root=")


def check_pictures(folder, names):
    text = (folder / "report.md").read_text()
    for name in names:
        image = cv2.imread(str(folder / name))
        assert image is not None
        assert min(image.shape[:2]) > 100
        assert np.std(image) > 1
        assert name in text


@pytest.mark.timeout(600)
def test_the_whole_classification(tmp_path):
    pytest.importorskip("mmpretrain")
    pytest.importorskip("matplotlib")
    options = ["--tasks", "classification", "--epochs", "2"]
    options += ["--train-images", "96", "--val-images", "24"]
    options += ["--det-images", "2", "1", "--test-sizes", "32", "64"]
    options += ["--work-dir", str(tmp_path), "--json"]
    first = run(*options)
    assert first.returncode == 0, first.stderr
    content = json.loads(first.stdout)
    assert content == json.loads((tmp_path / "report.json").read_text())
    assert list(content["tasks"]) == ["classification"]
    found = content["tasks"]["classification"]
    assert [one["name"] for one in found["arms"]] == ["SSc-FBS", "MSc-VBS", "MSc-VBSWC"]
    baseline = found["arms"][0]
    for one in found["arms"]:
        # Every image once an epoch, whatever its size.
        assert one["images"] == 2 * 96
        assert one["epochs"] == 2
        assert 0 < one["train_time"] < one["wall_clock"]
        values = one["metrics"]["top-1 (%)"]
        assert set(values["by_size"]) == {"32", "64"}
        assert all(0 <= value <= 100 for value in values["by_size"].values())
        assert [point["epoch"] for point in one["curve"]] == [1, 2]
        last = one["curve"][-1]
        assert last["train_flops"] == pytest.approx(one["train_flops"])
        # The last validation is that of the checkpoint that is evaluated.
        assert last["metrics"]["top-1 (%)"] == pytest.approx(values["at_base_size"])
        log = tmp_path / Path(one["config"]).stem / "train.log"
        assert "Epoch(train)" in log.read_text()
    assert found["arms"][2]["train_flops"] < baseline["train_flops"]
    check_pictures(tmp_path, found["pictures"])

    # Images of the other task are none of this one's business.
    options[options.index("--det-images") + 1] = "3"
    again = run(*options)
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("already trained") == 3
    repeated = json.loads(again.stdout)
    repeated["about"] = content["about"]
    assert repeated == content

    # Other test sizes need no other training, and give the same at those of before.
    options[options.index("--test-sizes") + 1] = "48"
    other = run(*options)
    assert other.returncode == 0, other.stderr
    assert other.stderr.count("already trained") == 3
    for one, before in zip(
        json.loads(other.stdout)["tasks"]["classification"]["arms"], found["arms"]
    ):
        values = one["metrics"]["top-1 (%)"]
        assert set(values["by_size"]) == {"48", "64"}
        assert values["at_base_size"] == before["metrics"]["top-1 (%)"]["at_base_size"]
        for key in ("wall_clock", "cpu_time", "train_flops"):
            assert one[key] == before[key]


@pytest.mark.timeout(600)
def test_the_whole_detection(tmp_path):
    pytest.importorskip("mmdet")
    pytest.importorskip("matplotlib")
    options = ["--tasks", "detection", "--det-epochs", "2", "--det-images", "16", "4"]
    options += ["--train-images", "12", "--val-images", "12"]
    options += ["--det-test-sizes", "64", "--work-dir", str(tmp_path), "--json"]
    done = run(*options)
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    assert list(content["tasks"]) == ["detection"]
    found = content["tasks"]["detection"]
    assert found["test_sizes"] == [64, 128]
    names = ["SSc-FBS", "SSc-FBS short", "MSc-VBSWC"]
    assert [one["name"] for one in found["arms"]] == names
    for one, epochs in zip(found["arms"], (2, 1, 2)):  # 10 of 15, and as a share of 2
        assert (one["epochs"], one["images"]) == (epochs, epochs * 16)
        assert list(one["metrics"]) == ["box mAP", "mask mAP"]
        for name, values in one["metrics"].items():
            assert set(values["by_size"]) == {"64", "128"}
            assert all(0 <= value <= 100 for value in values["by_size"].values())
            assert one["curve"][-1]["metrics"][name] == pytest.approx(
                values["at_base_size"], abs=0.051
            )  # mmdet rounds to a tenth
        assert [point["epoch"] for point in one["curve"]] == [1, 2][:epochs]
    baseline, short, curriculum = found["arms"]
    # The models differ, and with them how many proposals hit an object.
    assert short["ratio"]["train_flops"] == pytest.approx(0.5, abs=0.05)
    assert 0.2 < curriculum["ratio"]["train_flops"] < 1
    assert 0 < curriculum["ratio"]["iterations"] <= 1
    assert "detection_examples.png" in found["pictures"]
    check_pictures(tmp_path, found["pictures"])
    assert not list(tmp_path.glob("resnet18*"))


def trainings_of(folder):
    """Process numbers of the trainings whose work directory lies in ``folder``."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if any(c.endswith("train.py") for c in command) and any(
            c.startswith(str(folder)) for c in command
        ):
            found.append(int(path.parent.name))
    return found


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_demo_ends_its_trainings(tmp_path, number):
    process = subprocess.Popen(
        [sys.executable, RUN, "--work-dir", tmp_path, "--epochs", "50"]
        + ["--tasks", "classification"]
        + ["--train-images", "48", "--val-images", "24", "--det-images", "2", "2"],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        # A background job would ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        # Both run at once; the test's timeout ends a demo that starts none.
        while process.poll() is None and len(trainings_of(tmp_path)) < 2:
            time.sleep(0.2)
        assert process.poll() is None and len(trainings_of(tmp_path)) >= 2
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "interrupted" in err and "Traceback" not in err
    deadline = time.monotonic() + 30
    while trainings_of(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert trainings_of(tmp_path) == []
    assert not (tmp_path / "report.json").exists()
