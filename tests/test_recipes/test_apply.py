"""Recipes by their names."""

import pytest
from single_scale_configs import classification

from mms_plugin.recipes import RECIPES, apply_recipes, option_names, vbs_recipe


def test_options_reach_the_recipe():
    by_iteration = classification(
        train_cfg=dict(type="IterBasedTrainLoop", max_iters=1000)
    )
    options = dict(keep="images", check_model=False, sizes=[112, 224])
    lines = []
    after = apply_recipes(
        by_iteration, "vbs", options, lambda *line: lines.append(line)
    )
    # 128 images at 112 and 32 at 224: 80 on average, where there were 32.
    assert after["train_cfg"]["max_iters"] == 400
    assert after == vbs_recipe(by_iteration, **options)
    assert ("vbs", "train_cfg.max_iters: 1000 -> 400") in lines


@pytest.mark.parametrize("recipes", ["vbs-cur+agvm", ["vbs-cur", "agvm"]])
def test_each_recipe_gets_its_options(recipes):
    before = classification(optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1)))
    options = dict(end=0.5, interval=3, check_model=False)
    names = []
    after = apply_recipes(before, recipes, options, lambda name, _: names.append(name))
    (hook,) = after["custom_hooks"]
    assert hook == dict(type="ResolutionCurriculumHook", lr_scaling="sqrt", end=0.5)
    assert after["optim_wrapper"]["agvm"] == dict(start_iter=100, interval=3)
    assert list(dict.fromkeys(names)) == ["vbs-cur", "agvm"]
    assert "custom_hooks" not in before


def test_the_number_of_samples_may_be_for_agvm_only():
    """Without a budget vbs-cur has no use for it; by itself it refuses it."""
    sgd = dict(optimizer=dict(type="SGD", lr=0.1))
    before = classification(
        optim_wrapper=sgd, auto_scale_lr=dict(base_batch_size=256), param_scheduler=[]
    )
    options = dict(batch_size=512, num_samples=20_000, check_model=False)
    after = apply_recipes(before, "vbs-cur+agvm", options)
    assert after["optim_wrapper"]["accumulative_counts"] == 512 // 32
    with pytest.raises(ValueError, match="num_samples=9 needs budget=B"):
        apply_recipes(before, "vbs-cur", dict(num_samples=9))


def test_options_of_several_recipes_may_be_for_one_of_them():
    """With agvm: of the other, unless batch_size makes it use them too."""
    before = classification(
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1)),
        train_cfg=dict(type="IterBasedTrainLoop", max_iters=1000),
    )
    options = dict(check_model=False, sizes=[112, 224])
    after = apply_recipes(before, "vbs+agvm", dict(keep="images", **options))
    assert after["train_cfg"]["max_iters"] == 400
    counts = dict(num_samples=20_000, world_size=2)
    budget = dict(budget=0.7, estimate="pixels")
    after = apply_recipes(before, "vbs-cur+agvm", {**options, **budget, **counts})
    assert after["optim_wrapper"]["agvm"] == dict(start_iter=100)
    for recipes in ("vbs+agvm", "vbs-cur+agvm"):
        with pytest.raises(ValueError, match="num_samples=9 needs batch_size=N"):
            apply_recipes(before, recipes, dict(num_samples=9, **options))


def test_sizes_are_checked_with_the_images_that_agvm_leaves_a_rank():
    before = classification(
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1)),
        auto_scale_lr=dict(base_batch_size=256),
        param_scheduler=[],
    )
    options = dict(batch_size=64, world_size=8, num_samples=20_000, check_model=False)
    lines = []
    after = apply_recipes(
        before, "vbs+agvm", dict(options, sizes=[112, 224]), lambda *x: lines.append(x)
    )
    assert after["train_dataloader"]["batch_size"] == 8
    assert [line for _, line in lines].count(
        "train_dataloader.batch_size: 32 -> 8"
    ) == 1
    (told,) = [line for _, line in lines if "images per rank and batch" in line]
    assert "batch_size=8 at the base size): 112x112: 32, 224x224: 8" in told
    with pytest.raises(ValueError, match="for 32 images per rank.*gives 8 to each of"):
        own = dict(sizes=[112, 224], batch_sizes=[128, 32])
        apply_recipes(before, "vbs+agvm", {**options, **own})
    assert before["train_dataloader"]["batch_size"] == 32


def test_unknown_names():
    with pytest.raises(ValueError, match="'vsb' is not one of vbs, vbs-cur, agvm"):
        apply_recipes(classification(), "vbs+vsb")
    with pytest.raises(ValueError, match="no option 'end' .vbs-cur has it.; its"):
        apply_recipes(classification(), "vbs", dict(end=0.5))
    with pytest.raises(ValueError, match="no option 'siezs' .did you mean 'sizes'.."):
        apply_recipes(classification(), "vbs", dict(siezs=[128, 224]))
    with pytest.raises(ValueError, match="vbs-cur is vbs with a curriculum"):
        apply_recipes(classification(), "vbs+vbs-cur")


def test_names_of_options():
    assert set(RECIPES) == {"vbs", "vbs-cur", "agvm"}
    assert "sizes" in option_names("vbs") and "budget" not in option_names("vbs")
    assert {"sizes", "start_sizes", "end", "budget"} <= set(option_names("vbs-cur"))
    assert {"interval", "batch_size"} <= set(option_names("agvm"))
    for name in RECIPES:
        assert len(set(option_names(name))) == len(option_names(name))
        assert "report" not in option_names(name)
