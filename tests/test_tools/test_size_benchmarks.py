"""The benchmarks of time by size and of the sampler: what they count, not how fast."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytest.importorskip("mmpretrain")
cv2 = pytest.importorskip("cv2")
np = pytest.importorskip("numpy")

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "tools" / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import sampler_speed  # noqa: E402
import size_times  # noqa: E402


def run_benchmark(script, *arguments, cwd):
    return subprocess.run(
        [sys.executable, "-W", "ignore", str(BENCHMARKS / script), *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        timeout=280,
    )


# ------------------------------------------------------------------------ size_times


@pytest.mark.parametrize("height, width", [(375, 500), (500, 375), (224, 224)])
@pytest.mark.parametrize("side", [32, 60, 112, 187, 188, 224, 600])
def test_reduced_files_have_no_side_below_the_target(height, width, side):
    factor = size_times.reduction(height, width, side)
    if factor > 1:
        assert min(height, width) // factor >= side
    if factor < 8:
        assert min(height, width) // (2 * factor) < side


def test_every_decoder_gives_the_picture_at_the_size():
    (data,) = size_times.made_photographs(1)
    full = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert full.shape == (375, 500, 3)
    target = cv2.resize(full, (64, 64), interpolation=cv2.INTER_AREA).astype(float)
    ways = size_times.decoders()
    assert {"cv2", "cv2 reduced", "pillow", "pillow reduced"} <= set(ways)
    for name, decode in ways.items():
        image = decode(data, 64)
        assert image.shape == (64, 64, 3), name
        # Nearer to the picture than to itself with its colors swapped.
        error = np.abs(image - target).mean()
        assert error < 15 and error < np.abs(image[..., ::-1] - target).mean(), name


def test_a_training_at_the_base_size_costs_what_an_image_costs():
    timed = size_times.TimedModel("", 64, (64,), 16, {})
    mix = size_times.training_mix(timed, None, False)
    assert set(mix) == {(64, 16)}
    cost = size_times.per_image(mix, lambda side, images: images * side**2)
    assert cost == 64**2


def test_pixels_of_an_image_follow_from_the_mix():
    timed = size_times.TimedModel("", 64, (32, 64), 16, {})
    mix = size_times.training_mix(timed, None, False)
    assert set(mix) == {(32, 64), (64, 16)}
    # Both iterations have the same pixels and come equally often.
    cost = size_times.per_image(mix, lambda side, images: images * side**2)
    assert cost == pytest.approx(2 * 16 * 64**2 / (64 + 16), rel=0.01)
    grown = size_times.training_mix(timed, None, True)
    assert size_times.per_image(grown, lambda s, n: n * s**2) == pytest.approx(
        cost, rel=0.01
    )
    levelled = size_times.training_mix(timed, [20, 16], False)
    assert set(levelled) == {(32, 20), (64, 16)}


def test_size_times_smoke_run(tmp_path):
    output = tmp_path / "out.json"
    done = run_benchmark(
        "size_times.py", "--smoke", "--json", "--output", "out.json", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout)
    assert json.loads(output.read_text()) == result
    assert list(tmp_path.iterdir()) == [output]
    model = result["iterations"]["smoke"]
    assert [row["side"] for row in model["sizes"]] == [32, 48, 64]
    assert [row["images"] for row in model["sizes"]] == [9, 4, 2]
    training = model["trainings"]["MSc-VBSWC, pixel rule"]
    assert (
        0
        < training["flops_ratio"]
        < model["trainings"]["MSc-VBS, pixel rule"]["flops_ratio"]
    )
    assert training["gap"] == training["time_ratio"] - training["flops_ratio"]
    for part in ("loading", "decoding"):
        assert [row["side"] for row in result[part]] == [32, 64]


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--repeats", "0"], "--repeats must be at least 1"),
        (["--images", "nowhere"], "--images nowhere is no folder"),
        (["--device", "cuda", "--clock", "cpu"], "--clock cpu does not count"),
    ],
)
def test_size_times_bad_input(arguments, words, tmp_path):
    done = run_benchmark("size_times.py", *arguments, cwd=tmp_path)
    assert done.returncode == 2 and words in done.stderr and not done.stdout


# --------------------------------------------------------------------- sampler_speed


@pytest.mark.parametrize("pickled", [False, True])
def test_the_sampler_and_its_peers_give_as_many_indices(pickled):
    medians, skipped = sampler_speed.compare(3000, 16, 2, pickled)
    exact = [arm for arm in medians if arm not in sampler_speed.INEXACT]
    assert {"baseline", "ours", "ours-curriculum"} <= set(exact)
    assert {medians[arm]["images"] for arm in exact} == {3000}
    # Fewer iterations at many sizes than at one, fewest at small ones.
    iterations = [
        medians[arm]["iterations"] for arm in ("ours-curriculum", "ours", "baseline")
    ]
    assert iterations == sorted(set(iterations))
    assert medians["baseline"]["seconds_ratio"] == 1.0
    assert {"timm", "timm-progressive"} <= {*medians, *skipped}


def test_a_missing_timm_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    monkeypatch.delitem(sys.modules, "timm_scheduled_sampler", raising=False)
    monkeypatch.setattr(sampler_speed.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install --no-deps"):
        sampler_speed.measure("timm", 100, 8)


@pytest.mark.skipif(find_spec("timm") is None, reason="timm is not installed")
def test_timms_budget_is_ours():
    found = sampler_speed.measure("timm", 3000, 16)
    assert found["images"] == 3000


def test_sampler_speed_smoke_run_and_bad_input(tmp_path):
    done = run_benchmark("sampler_speed.py", "--smoke", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout)
    arms = set(sampler_speed.ARMS)
    assert set(result) - {"skipped"} | set(result["skipped"]) == arms
    assert list(tmp_path.iterdir()) == []
    wrong = run_benchmark("sampler_speed.py", "--rounds", "0", cwd=tmp_path)
    assert wrong.returncode == 2 and "must be at least 1" in wrong.stderr
