"""Configs that are multi-scale already, and trainings that count iterations."""

import copy

import pytest

from mms_plugin.recipes import RecipeError, vbs_recipe

SCALES = [(480, 1333), (640, 1333), (800, 1333)]
LOAD = [dict(type="LoadImageFromFile"), dict(type="LoadAnnotations", with_bbox=True)]
PACK = [dict(type="RandomFlip", prob=0.5), dict(type="PackDetInputs")]
CHOICE = dict(type="RandomChoiceResize", scales=SCALES, keep_ratio=True)
CROP = dict(
    type="RandomCrop",
    crop_type="absolute_range",
    crop_size=(384, 600),
    allow_negative_crop=True,
)
FIRST = dict(
    type="RandomChoiceResize", scales=[(400, 4200), (600, 4200)], keep_ratio=True
)
RESIZED = dict(
    type="MultiScaleTransform", transform=dict(type="Resize", keep_ratio=True)
)


def config(*transforms, test=(1333, 800), **others):
    evaluation = dict(
        dataset=dict(
            type="CocoDataset",
            pipeline=[dict(type="Resize", scale=test, keep_ratio=True)],
        )
    )
    return dict(
        dict(
            default_scope="mmdet",
            model=dict(type="DETR"),
            train_dataloader=dict(
                batch_size=4,
                sampler=dict(type="DefaultSampler", shuffle=True),
                dataset=dict(type="CocoDataset", pipeline=[*LOAD, *transforms, *PACK]),
            ),
            val_dataloader=evaluation if test else None,
            train_cfg=dict(by_epoch=True, max_epochs=12),
        ),
        **others,
    )


def recipe(before, **options):
    return vbs_recipe(before, check_model=False, **options)


def pipeline_of(after):
    return after["train_dataloader"]["dataset"]["dataset"]["pipeline"][2:-2]


def sampler_of(after):
    return after["train_dataloader"]["batch_sampler"]


def test_its_own_scales_are_the_samplers():
    before = config(CHOICE)
    untouched = copy.deepcopy(before)
    lines = []
    after = recipe(before, report=lines.append)
    assert before == untouched
    assert pipeline_of(after) == [RESIZED]
    # The base is the test's; the others have its proportions: 480 * 1333 / 800 = 799.8.
    assert sampler_of(after)["base_size"] == (800, 1333)
    assert sampler_of(after)["sizes"] == [(480, 800), (640, 1066), (800, 1333)]
    assert any(
        line.startswith("train_dataloader.dataset.pipeline[2]: RandomChoiceResize(")
        and line.endswith("-> Resize at the batch's size")
        for line in lines
    )


def test_exact_scales_are_taken_as_they_are():
    exact = dict(CHOICE, keep_ratio=False, scales=[(640, 320), (800, 480)])
    sizes = sampler_of(recipe(config(exact, test=(640, 320))))["sizes"]
    # (width, height) in the config, (height, width) in the sampler.
    assert sizes == [(320, 640), (480, 800)]


def test_sizes_are_laid_out_within_a_range():
    between = dict(
        type="RandomResize", scale=[(1333, 640), (1333, 800)], keep_ratio=True
    )
    after = recipe(config(between))
    assert pipeline_of(after) == [RESIZED]
    shorts = [min(size) for size in sampler_of(after)["sizes"]]
    assert shorts == [640, 672, 704, 736, 768, 800]
    square = dict(type="RandomResize", scale=[(320, 320), (608, 608)], keep_ratio=True)
    sizes = sampler_of(recipe(config(square, test=(608, 608))))["sizes"]
    assert (sizes[0], sizes[-1], len(sizes)) == (320, 608, 10)


def test_branches_of_a_random_choice_stay():
    choice = dict(type="RandomChoice", transforms=[[CHOICE], [FIRST, CROP, CHOICE]])
    lines = []
    after = recipe(config(choice), report=lines.append)
    # The last resize of each follows the batch; what comes before keeps its range.
    assert pipeline_of(after) == [
        dict(type="RandomChoice", transforms=[[RESIZED], [FIRST, CROP, RESIZED]])
    ]
    assert [min(size) for size in sampler_of(after)["sizes"]] == [480, 640, 800]
    place = "train_dataloader.dataset.pipeline[2].transforms[1][0]: RandomChoiceResize"
    assert any(line.startswith(place) and "stays" in line for line in lines)


def test_random_apply_before_a_resize():
    apply = dict(type="RandomApply", transforms=[FIRST, CROP], prob=0.5)
    after = recipe(config(apply, CHOICE))
    assert pipeline_of(after) == [apply, RESIZED]
    alone = config(dict(type="RandomApply", transforms=[CHOICE], prob=0.5))
    with pytest.raises(RecipeError, match="not every image passes through it"):
        recipe(alone)


def test_sizes_before_a_crop_are_drawn_relative_to_it():
    edges = dict(
        type="RandomChoiceResize",
        scales=[256, 512, 1024],
        resize_type="ResizeShortestEdge",
        max_size=2048,
    )
    crop = dict(type="RandomCrop", crop_size=(512, 512), cat_max_ratio=0.75)
    before = config(edges, crop)
    before["default_scope"] = "mmseg"
    after = recipe(before)
    assert sampler_of(after)["base_size"] == 512
    choice, cut = pipeline_of(after)
    assert choice["type"] == "RandomChoice"
    options = dict(size_arg=("scale", "max_size"), order="hw")
    # 256 of 512 and 2048 of 512, and so on.
    assert choice["transforms"] == [
        [
            dict(
                type="MultiScaleTransform",
                transform=dict(type="ResizeShortestEdge"),
                **options,
                size_ratio=[ratio, 4.0],
            )
        ]
        for ratio in (0.5, 1.0, 2.0)
    ]
    assert cut["transform"] == dict(type="RandomCrop", cat_max_ratio=0.75)


class TestIterations:
    BY_ITERATION = dict(
        train_cfg=dict(type="IterBasedTrainLoop", max_iters=1000, val_interval=100),
        param_scheduler=[
            dict(type="PolyLR", begin=0, end=1000, by_epoch=False),
            dict(type="MultiStepLR", milestones=[500, 900], by_epoch=False),
        ],
        default_hooks=dict(checkpoint=dict(type="X", by_epoch=False, interval=100)),
    )

    def before(self):
        resize = dict(type="Resize", scale=(400, 400), keep_ratio=False)
        return config(resize, **copy.deepcopy(self.BY_ITERATION))

    def test_the_images_stay_the_same(self):
        lines = []
        after = recipe(
            self.before(), sizes=[200, 400], keep="images", report=lines.append
        )
        # 16 images at 200 and 4 at 400: 10 on average, where there were 4.
        assert after["train_cfg"]["max_iters"] == 400
        assert after["train_cfg"]["val_interval"] == 40
        assert after["param_scheduler"][0]["end"] == 400
        assert after["param_scheduler"][1]["milestones"] == [200, 360]
        assert after["default_hooks"]["checkpoint"]["interval"] == 40
        assert "train_cfg.max_iters: 1000 -> 400" in lines

    def test_a_curriculum_counts(self):
        options = dict(sizes=[200, 400], start_sizes=[200], keep="images")
        after = vbs_recipe(self.before(), dict(end=0.5), check_model=False, **options)
        # Half of the training at 200 only: (16 + 10) / 2 images on average.
        assert after["train_cfg"]["max_iters"] == pytest.approx(1000 * 4 / 13, abs=2)

    @pytest.mark.parametrize("options", [{}, dict(keep="iterations")])
    def test_else_the_iterations_stay(self, options):
        before = self.before()
        lines = []
        after = recipe(before, sizes=[200, 400], report=lines.append, **options)
        for key in ("train_cfg", "param_scheduler", "default_hooks"):
            assert after[key] == before[key]
        assert any("keep='images' lowers it" in line for line in lines)

    def test_epochs_have_nothing_to_keep(self):
        lines = []
        recipe(config(CHOICE), keep="images", report=lines.append)
        assert any("keep='images' has no effect" in line for line in lines)

    def test_unknown(self):
        with pytest.raises(ValueError, match="keep must be 'images' or 'iterations'"):
            recipe(self.before(), keep="updates")
