"""A budget on the libraries' own configs, against what training_cost.py counts."""

import json

import pytest
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import DefaultScope

from mms_plugin.analysis import (
    build_model,
    config_plan,
    cost_ratios,
    model_flops,
    read_times,
    training_cost,
)
from mms_plugin.hooks.resolution_curriculum_hook import ResolutionCurriculumHook
from mms_plugin.recipes import RecipeError, apply_recipes

RESNET = "mmpretrain::resnet/resnet50_8xb32_in1k.py"
SWIN = "mmpretrain::swin_transformer/swin-tiny_16xb64_in1k.py"
MASK_RCNN = "mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py"
SAMPLES = 20_000


def library_config(path):
    pytest.importorskip(path.split("::")[0])
    config = get_config(path)
    if config.train_cfg.max_epochs > 12:
        config.train_cfg.max_epochs = 12
    return config


def converted(config, lines=None, samples=SAMPLES, **options):
    def note(name, line):
        if lines is not None:
            lines.append(line)

    return apply_recipes(config, "vbs-cur", dict(num_samples=samples, **options), note)


def ratios(config, baseline, seconds=None, flops=True, samples=SAMPLES):
    with DefaultScope.overwrite_default_scope(config.default_scope):
        plans = [config_plan(each, samples) for each in (config, baseline)]
        model = None
        if flops:
            sizes = {size for plan in plans for size in plan.counted_as.values()}
            model = model_flops(build_model(config), sizes)
    costs = [training_cost(plan, model, seconds) for plan in plans]
    return cost_ratios(*costs)


@pytest.mark.parametrize("path, budget", [(RESNET, 0.65), (MASK_RCNN, 0.7)])
def test_flops_of_a_library_config(path, budget):
    config, lines = library_config(path), []
    text = config.pretty_text
    after = converted(config, lines, budget=budget)
    assert config.pretty_text == text
    found = ratios(after, config)
    assert found["train_flops"] == pytest.approx(budget, abs=0.005)
    predicted = next(line for line in lines if line.startswith("predicted cost"))
    assert f"{found['train_flops']:.3f} of the config's own training FLOPs" in predicted
    assert f"{found['iterations']:.3f} of its iterations" in predicted
    assert "by the plan of the training" in predicted
    base = after.train_dataloader.batch_sampler.base_size
    (hook,) = [h for h in after.custom_hooks if h.type == "ResolutionCurriculumHook"]
    assert list(hook.end_sizes) == [base] or hook.end_sizes == [tuple(base)]
    assert 0 <= hook.begin <= hook.end <= 0.91
    # More updates than the recipe's own sizes give for as many FLOPs.
    assert found["iterations"] > 0.95 * budget - 0.05


def test_a_model_that_the_recipe_changes():
    """Swin's feature map at 128 is smaller than its window, which must be padded."""
    config = library_config(SWIN)
    after = converted(config, budget=0.65, sizes=[128, 224])
    assert after.model.backbone.pad_small_map
    assert ratios(after, config)["train_flops"] == pytest.approx(0.65, abs=0.005)


def test_time_of_a_device(tmp_path):
    """A large overhead per iteration: time falls with the iterations."""
    times = dict(sizes=[], cost_model=dict(overhead=0.05, alpha=1e-8, beta=0.0))
    path = tmp_path / "times.json"
    path.write_text(json.dumps(times))
    config, lines = library_config(RESNET), []
    after = converted(config, lines, budget=0.7, times=str(path))
    seconds = read_times(times).at
    found = ratios(after, config, seconds, flops=False)
    assert found["seconds"] == pytest.approx(0.7, abs=0.005)
    told = next(line for line in lines if line.startswith("predicted cost"))
    assert "of the config's own time" in told


@pytest.mark.parametrize("samples", [257, 500, 1500])
def test_the_last_tenth_is_at_the_base_size_with_few_samples_too(tmp_path, samples):
    """By their plan, growth until 0.9 costs more than the budget."""
    path = tmp_path / "times.json"
    model = dict(overhead=0.05, alpha=1e-8, beta=0.0)
    path.write_text(json.dumps(dict(sizes=[], cost_model=model)))
    options = dict(budget=0.5661, times=str(path), sizes=[160], check_model=False)
    lines = []
    after = converted(library_config(RESNET), lines, samples, **options)
    (hook,) = [h for h in after.custom_hooks if h.type == "ResolutionCurriculumHook"]
    assert 0 <= hook.begin < hook.end <= 0.9
    predicted = next(line for line in lines if line.startswith("predicted cost"))
    assert 0.57 < float(predicted.split()[2]) < 0.6


def test_time_of_images_that_keep_their_ratio(tmp_path):
    """The time of a batch goes by its size, within which the images have theirs."""
    path = tmp_path / "times.json"
    model = dict(overhead=0.0, alpha=1e-6, beta=0.0)
    path.write_text(json.dumps(dict(sizes=[], cost_model=model)))
    config = library_config(MASK_RCNN)
    options = dict(budget=0.7, times=str(path), check_model="names")
    plan = config_plan(converted(config, **options), SAMPLES)
    counts = [item for epoch in plan.epochs for item in epoch.images.items()]
    pixels = sum(images * size[0] * size[1] for size, images in counts)
    assert pixels / (12 * SAMPLES * 800 * 1333) == pytest.approx(0.7, abs=0.005)


def test_pixels_in_place_of_flops():
    config, lines = library_config(RESNET), []
    after = converted(config, lines, budget=0.7, estimate="pixels")
    found = ratios(after, config, flops=False)
    assert found["train_pixels"] == pytest.approx(0.7, abs=0.005)
    # How long a single size is drawn: all of some epochs, and a part of two others.
    (note,) = [line for line in lines if "a single size is drawn" in line]
    share = int(note.partition("note: in ")[2].partition("%")[0]) / 100
    epochs = config_plan(after, SAMPLES).epochs
    whole = sum(len(epoch.images) == 1 for epoch in epochs)
    assert whole / len(epochs) <= share <= (whole + 2) / len(epochs)


def test_few_samples_are_met_by_their_own_plan():
    """500 images in batches of 32: whole batches shift the cost, which is corrected."""
    config, lines = library_config(RESNET), []
    after = converted(config, lines, samples=500, budget=0.7, estimate="pixels")
    found = ratios(after, config, flops=False, samples=500)
    assert found["train_pixels"] == pytest.approx(0.7, abs=0.02)


def test_given_sizes_are_kept_and_the_base_is_added():
    config = library_config(RESNET)
    after = converted(config, budget=0.75, estimate="pixels", sizes=[96, 160])
    assert list(after.train_dataloader.batch_sampler.sizes) == [96, 160, 224]
    found = ratios(after, config, flops=False)
    assert found["train_pixels"] == pytest.approx(0.75, abs=0.005)


def test_samples_need_not_be_known():
    config, lines = library_config(RESNET), []
    config.train_dataloader.dataset = dict(
        type="CustomDataset",
        data_root="nowhere",
        pipeline=config.train_dataloader.dataset.pipeline,
    )
    apply_recipes(
        config,
        "vbs-cur",
        dict(budget=0.7, estimate="pixels"),
        lambda name, line: lines.append(line),
    )
    assert any("for a training of many samples" in line for line in lines)


def test_smaller_sizes_reach_smaller_budgets():
    config = library_config(RESNET)
    with pytest.raises(ValueError, match="budget=0.2 cannot be reached.*128x128") as e:
        converted(config, budget=0.2, estimate="pixels")
    least = float(str(e.value).split("at least ")[1].split()[0])
    after = converted(config, budget=least + 0.01, estimate="pixels")
    found = ratios(after, config, flops=False)
    assert found["train_pixels"] == pytest.approx(least + 0.01, abs=0.005)
    smaller = converted(config, budget=0.2, estimate="pixels", sizes=[64, 96, 128, 224])
    found = ratios(smaller, config, flops=False)
    assert found["train_pixels"] == pytest.approx(0.2, abs=0.005)


@pytest.mark.parametrize(
    "options, words",
    [
        (dict(budget=0), "budget must be a share .* above 0 and at most 1, but got 0"),
        (dict(budget=1.2), "budget must be a share .* but got 1.2"),
        (dict(budget=-0.5), "budget must be a share"),
        (dict(budget="half"), "budget must be a share .* but got 'half'"),
        (dict(budget=float("nan")), "budget must be a share"),
        (dict(budget=True), "budget must be a share"),
        (dict(budget=0.7, end=0.5), "end=0.5 must be left out with budget"),
        (dict(budget=0.7, start_sizes=[128]), "start_sizes=.* must be left out"),
        (dict(budget=0.7, by_epoch=True), "by_epoch=True must be left out"),
        (dict(budget=0.7, estimate="guess"), "estimate must be 'pixels'"),
        (dict(budget=0.7, times="nowhere.json"), "times='nowhere.json' cannot be read"),
        (dict(budget=0.7, times=3), "times must be a file .* but got 3"),
        (dict(budget=0.7, sizes=[160, 320]), "must not be above the base size, 224"),
        (dict(budget=0.7, sizes=[224]), "there is no size below the base size"),
        (dict(budget=0.7, positive_rois=-1), "positive_rois must be an integer"),
        (dict(budget=0.7, world_size=0), "world_size must be an integer"),
        (dict(times="x.json"), "times='x.json' needs budget=B"),
        (dict(estimate="pixels"), "estimate='pixels' needs budget=B"),
        (dict(world_size=8), "world_size=8 needs budget=B"),
    ],
)
def test_bad_input(options, words):
    with pytest.raises(ValueError, match=words) as error:
        apply_recipes(library_config(RESNET), "vbs-cur", options)
    assert "\n" not in str(error.value)


def test_vbs_without_the_curriculum_has_no_budget():
    with pytest.raises(ValueError, match="recipe vbs has no option 'budget'"):
        apply_recipes(library_config(RESNET), "vbs", dict(budget=0.7))


def test_the_written_config_grows_as_reported(tmp_path):
    config = library_config(RESNET)
    after = converted(config, budget=0.65, estimate="pixels")
    after.dump(tmp_path / "written.py")
    again = Config.fromfile(tmp_path / "written.py")
    (hook,) = [h for h in again.custom_hooks if h.type == "ResolutionCurriculumHook"]
    arguments = {key: value for key, value in hook.items() if key != "type"}
    curriculum = ResolutionCurriculumHook(**arguments).curriculum
    assert curriculum.growth(arguments["end"]) == 1.0


def by_iterations():
    config = library_config(RESNET)
    config.train_cfg = dict(by_epoch=False, max_iters=4000, val_interval=1000)
    config.train_dataloader.sampler = dict(type="InfiniteSampler", shuffle=True)
    return config


def test_a_training_that_counts_iterations():
    """Its iterations are lowered so that the images stay the same."""
    config, lines = by_iterations(), []
    after = converted(config, lines, budget=0.7, estimate="pixels")
    assert after.train_cfg.max_iters < 4000
    found = ratios(after, config, flops=False)
    assert found["train_pixels"] == pytest.approx(0.7, abs=0.01)
    assert found["images"] == pytest.approx(1.0, abs=0.01)
    told = next(line for line in lines if line.startswith("predicted cost"))
    assert "by the plan of the training" in told


def test_iterations_that_are_kept_save_nothing():
    with pytest.raises(RecipeError, match="train_cfg: counts iterations"):
        converted(by_iterations(), budget=0.7, estimate="pixels", keep="iterations")


def test_a_config_of_several_sizes_is_compared_with_its_base():
    config = library_config("mmdet::mask_rcnn/mask-rcnn_r50_fpn_ms-poly-3x_coco.py")
    lines = []
    converted(config, lines, budget=0.7, estimate="pixels", check_model=False)
    assert any("taken to be that of a training at 800x1333" in line for line in lines)
    assert any(line.startswith("predicted cost: 0.70") for line in lines)
