"""What the recipe makes of configs; nothing of the libraries is imported."""

import copy

import pytest
from mmengine.config import Config
from single_scale_configs import (
    CLASSIFY,
    DETECT,
    classification,
    detection,
    pipeline_of,
    twin,
    with_transform,
)

from mms_plugin.recipes import RecipeError, vbs_recipe


class TestWhatChanges:
    @pytest.mark.parametrize("kind", [dict, Config])
    def test_classification(self, kind):
        before = kind(classification())
        untouched = copy.deepcopy(before)
        after = vbs_recipe(before)
        # The input is as it was, and shares nothing with the output.
        assert dict(before) == dict(untouched)
        after["train_dataloader"]["sampler"]["shuffle"] = False
        assert before["train_dataloader"]["sampler"]["shuffle"] is True
        assert isinstance(after, kind)

        new = [*CLASSIFY]
        new[1] = twin(dict(type="RandomResizedCrop", backend="pillow"))
        loader = after["train_dataloader"]
        assert loader["batch_size"] == 32 and loader["num_workers"] == 2
        assert loader["batch_sampler"] == dict(
            type="MultiScaleVariableBatchSampler",
            base_size=224,
            sizes=[128, 160, 192, 224, 256, 288, 320],
        )
        assert loader["dataset"] == dict(
            type="MultiScaleDataset", dataset=dict(type="ImageNet", pipeline=new)
        )
        assert list(after["train_pipeline"]) == new
        for key in ("model", "val_dataloader", "train_cfg", "default_scope"):
            assert after[key] == untouched[key]
        assert after["custom_imports"] == dict(
            imports=["mms_plugin"], allow_failed_imports=False
        )
        assert after["custom_hooks"] == [dict(type="MultiScaleSamplerHook")]

    def test_detection_at_a_bound(self):
        after = vbs_recipe(detection())
        sampler = after["train_dataloader"]["batch_sampler"]
        assert sampler["base_size"] == (800, 1333)
        assert sampler["sizes"][0] == (416, 693)
        assert sampler["group_by_aspect_ratio"] is True
        assert pipeline_of(after)[2] == twin(dict(type="Resize", keep_ratio=True))

    def test_a_bound_has_no_orientation(self):
        resize = dict(type="Resize", scale=(800, 1333), keep_ratio=True)
        after = vbs_recipe(detection(with_transform(2, resize)))
        assert after["train_dataloader"]["batch_sampler"]["base_size"] == (800, 1333)
        # An exact size has one: mmcv writes (width, height).
        resize = dict(type="Resize", scale=(640, 512), keep_ratio=False)
        after = vbs_recipe(detection(with_transform(2, resize)))
        assert after["train_dataloader"]["batch_sampler"]["base_size"] == (512, 640)

    def test_curriculum(self):
        hooks = [dict(type="EMAHook")]
        after = vbs_recipe(
            classification(custom_hooks=hooks),
            dict(schedule="cosine", end=0.5),
            start_sizes=[128],
        )
        assert after["custom_hooks"] == [
            dict(type="EMAHook"),
            dict(
                type="ResolutionCurriculumHook",
                lr_scaling="sqrt",
                schedule="cosine",
                end=0.5,
                start_sizes=[128],
            ),
        ]
        assert hooks == [dict(type="EMAHook")]
        after = vbs_recipe(classification(custom_hooks=None), True)
        (hook,) = after["custom_hooks"]
        assert hook == dict(type="ResolutionCurriculumHook", lr_scaling="sqrt")
        after = vbs_recipe(classification(), dict(lr_scaling="none"))
        (hook,) = after["custom_hooks"]
        assert hook == dict(type="ResolutionCurriculumHook", lr_scaling="none")

    def test_options_reach_the_sampler(self):
        options = dict(
            sizes=[128, 256],
            base_size=256,
            weights=[1, 2],
            variable_batch=True,
            group_by_aspect_ratio=False,
            drop_last=True,
            seed=7,
        )
        after = vbs_recipe(detection(), **options)
        assert after["train_dataloader"]["batch_sampler"] == dict(
            type="MultiScaleVariableBatchSampler", **options
        )
        after = vbs_recipe(detection(), cost_model=dict(alpha=1.0, beta=9.0))
        sampler = after["train_dataloader"]["batch_sampler"]
        assert sampler["cost_model"] == dict(alpha=1.0, beta=9.0)
        with pytest.raises(ValueError, match="cost_model"):
            vbs_recipe(detection(), cost_model=dict(gamma=1.0))
        after = vbs_recipe(detection(), sizes=[64, 128], batch_sizes=[9, 2])
        assert after["train_dataloader"]["batch_sampler"]["batch_sizes"] == [9, 2]

    @pytest.mark.parametrize("where", ["loader", "batch_sampler"])
    def test_drop_last_moves_to_the_batch_sampler(self, where):
        config = detection()
        loader = config["train_dataloader"]
        (loader if where == "loader" else loader["batch_sampler"])["drop_last"] = True
        after = vbs_recipe(config)["train_dataloader"]
        assert after["batch_sampler"]["drop_last"] is True
        assert "drop_last" not in after

    def test_imports_are_kept(self):
        config = classification(custom_imports=dict(imports="mine"))
        assert vbs_recipe(config)["custom_imports"]["imports"] == ["mine", "mms_plugin"]

    def test_a_dataset_shared_with_validation(self):
        config = classification()
        config["val_dataloader"]["dataset"] = config["train_dataloader"]["dataset"]
        after = vbs_recipe(config)
        assert after["val_dataloader"]["dataset"]["pipeline"] == CLASSIFY

    def test_report(self):
        lines = []
        vbs_recipe(detection(), True, report=lines.append)
        assert any(
            line.startswith(
                "train_dataloader.batch_sampler: AspectRatioBatchSampler -> "
                "MultiScaleVariableBatchSampler(base_size=(800, 1333)"
            )
            for line in lines
        )
        assert (
            "train_dataloader.dataset.pipeline[2]: Resize(scale=(1333, 800)) -> "
            "Resize at the batch's size" in lines
        )
        assert (
            "train_dataloader.dataset: CocoDataset -> MultiScaleDataset(CocoDataset)"
            in lines
        )
        # floor(4 * 800 * 1333 / (416 * 693)) = 14, floor(4 * ... / (992 * 1653)) = 2
        (batches,) = (line for line in lines if line.startswith("images per rank"))
        assert "416x693: 14," in batches and batches.endswith("992x1653: 2")
        assert not any("note" in line for line in lines)

    def test_schedules_by_iteration_in_a_training_by_epoch(self):
        config = classification()
        config["param_scheduler"] = [
            dict(type="LinearLR", start_factor=0.1, by_epoch=False, end=500),
            dict(type="MultiStepLR", by_epoch=False, milestones=[700, 950]),
            dict(type="ConstantLR", by_epoch=False, factor=0.5, begin=9, end=10**9),
            dict(type="CosineAnnealingLR", T_max=5),
        ]
        lines = []
        vbs_recipe(config, report=lines.append)
        (line,) = [line for line in lines if "counts iterations" in line]
        assert line.startswith("warning: param_scheduler[1]")
        assert "milestones=[700, 950]" in line

    def test_square_sizes_around_a_base_that_is_not(self):
        def warnings(**options):
            lines = []
            vbs_recipe(detection(), report=lines.append, **options)
            return [line for line in lines if line.startswith("warning: sizes")]

        (line,) = warnings(sizes=[416, 800])
        assert line == (
            "warning: sizes: all are square, but the base size is 800x1333; with its "
            "proportions they are sizes=[(416, 693), (800, 1333)]"
        )
        assert len(warnings(sizes=dict(min=416, max=800, num=2))) == 1
        assert warnings(sizes=[(416, 693), (800, 1333)]) == warnings() == []
        assert warnings(sizes=[416, 800], base_size=800) == []

    def test_notes(self):
        config = detection(train_cfg=dict(by_epoch=False, max_iters=9000))
        config["train_dataloader"]["batch_size"] = 1
        lines = []
        vbs_recipe(config, sizes=[400, 800], base_size=400, report=lines.append)
        notes = [line for line in lines if line.startswith("note: ")]
        # One image of 800 has the pixels of four of 400, and is a batch of one all the
        # same; the mean of one image at either size is one.
        assert "4.00 times the pixels" in notes[0]
        assert "max_iters=9000 is kept, while" in notes[1]
        assert "1 images on average" in notes[1]


def changed(config, path, value):
    """The config with a value at a dotted path, or without it."""
    config = copy.deepcopy(config)
    *parents, last = path.split(".")
    inner = config
    for key in parents:
        inner = inner[key]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return config


LOADER = "train_dataloader"


@pytest.mark.parametrize(
    "epochs, options, by_epoch",
    [
        (1, {}, False),
        (3, {}, False),
        (4, {}, False),  # the last epoch begins at 0.75, the sizes grow until 0.8
        (5, {}, None),
        (3, dict(end=0.6), None),
        (3, dict(by_epoch=True), True),
    ],
)
def test_short_trainings_reach_the_largest_sizes(epochs, options, by_epoch):
    config = classification(train_cfg=dict(by_epoch=True, max_epochs=epochs))
    curriculum = dict(start_sizes=[128, 160], **options)
    converted = vbs_recipe(config, curriculum, check_model=False)
    hook = converted["custom_hooks"][-1]
    assert hook.get("by_epoch") is by_epoch


class TestRefused:
    @pytest.mark.parametrize(
        "path, value, place, words",
        [
            (LOADER, ..., LOADER, "must be a data loader's config"),
            (f"{LOADER}.batch_size", ..., f"{LOADER}.batch_size", "is missing"),
            (f"{LOADER}.sampler", ..., f"{LOADER}.sampler", "is missing"),
            (f"{LOADER}.dataset", ..., f"{LOADER}.dataset", "is missing"),
            (f"{LOADER}.dataset", [1], f"{LOADER}.dataset", "must be a dataset's"),
            (
                f"{LOADER}.dataset.pipeline",
                ...,
                f"{LOADER}.dataset.pipeline",
                "is missing, and no dataset=.* write MultiScaleDataset and",
            ),
            (
                f"{LOADER}.batch_sampler",
                dict(sizes=[40, 64]),
                f"{LOADER}.batch_sampler",
                "has no type: .* is an option of the recipe",
            ),
            (
                f"{LOADER}.dataset.pipeline",
                "train_pipeline",
                f"{LOADER}.dataset.pipeline",
                "must be a list of transforms",
            ),
            (
                f"{LOADER}.dataset.pipeline",
                [],
                f"{LOADER}.dataset",
                "no transform sets a size .* none at all",
            ),
            (
                f"{LOADER}.dataset.pipeline",
                [DETECT[0], DETECT[3]],
                f"{LOADER}.dataset",
                "it has LoadImageFromFile, RandomFlip",
            ),
            (
                f"{LOADER}.dataset.pipeline",
                [len],
                f"{LOADER}.dataset.pipeline[0]",
                "must be a transform's config",
            ),
            (
                f"{LOADER}.sampler.type",
                "GroupMultiSourceSampler",
                f"{LOADER}.sampler",
                "a fixed share of each source",
            ),
            (
                f"{LOADER}.batch_sampler",
                dict(type="MyBatchSampler"),
                f"{LOADER}.batch_sampler",
                "MyBatchSampler makes batches in its own way",
            ),
            (
                "model.backbone",
                dict(type="VisionTransformer", img_size=224),
                "model.backbone.img_size",
                "VisionTransformer is built for 224 pixels",
            ),
            (
                "model.backbone",
                dict(type="mmpretrain.VGG", num_classes=10),
                "model.backbone",
                "fully connected",
            ),
            (
                "model.head",
                dict(gen=dict(type="SSDAnchorGenerator", input_size=300)),
                "model.head.gen.input_size",
                "SSDAnchorGenerator",
            ),
            (
                "model.head",
                dict(gen=dict(type="AnchorGenerator", strides=[550 / 69, 550 / 35])),
                "model.head.gen.strides",
                "no whole numbers",
            ),
        ],
    )
    def test_with_its_place(self, path, value, place, words):
        with pytest.raises(RecipeError, match=words) as error:
            vbs_recipe(changed(detection(), path, value))
        assert error.value.place == place

    @pytest.mark.parametrize("curriculum", [False, True])
    @pytest.mark.parametrize("config", [classification, detection])
    def test_what_is_converted_already(self, config, curriculum):
        once = vbs_recipe(config())
        with pytest.raises(RecipeError, match="batch_sampler: is .* already"):
            vbs_recipe(once, curriculum)
        del once["train_dataloader"]["batch_sampler"]
        with pytest.raises(RecipeError, match="has the hook of the batch sampler"):
            vbs_recipe(once, curriculum)
        once["custom_hooks"] = [dict(type="ResolutionCurriculumHook")]
        with pytest.raises(RecipeError, match="the config has a curriculum already"):
            vbs_recipe(once, curriculum)
        del once["custom_hooks"]
        with pytest.raises(RecipeError, match="is a MultiScaleDataset already"):
            vbs_recipe(once, curriculum)
        once["train_dataloader"]["dataset"] = once["train_dataloader"]["dataset"][
            "dataset"
        ]
        with pytest.raises(RecipeError, match="is MultiScaleTransform already"):
            vbs_recipe(once, curriculum)

    @pytest.mark.parametrize(
        "options, words",
        [
            (dict(sizes=[128, "a"]), r"sizes\[1\]"),
            (dict(base_size=0), "base_size"),
            (dict(sizes=[128, 224], weights=[1]), "weights"),
            (dict(sizes=[128, 224], batch_sizes=[1, 2, 3]), "batch_sizes"),
            (dict(start_sizes=[128]), "start_sizes belong to the curriculum"),
            (dict(curriculum=True, start_sizes=[32]), "start_sizes must lie within"),
            (dict(curriculum=dict(schedule="fast")), "schedule must be one of"),
        ],
    )
    def test_arguments_are_named(self, options, words):
        with pytest.raises(ValueError, match=words):
            vbs_recipe(classification(), **options)

    def test_no_other_size(self):
        crop = dict(type="RandomResizedCrop", scale=8)
        config = classification(with_transform(1, crop, CLASSIFY))
        with pytest.raises(RecipeError, match=r"name them: sizes=\[...\]"):
            vbs_recipe(config)
        after = vbs_recipe(config, sizes=[6, 8])
        assert after["train_dataloader"]["batch_sampler"]["sizes"] == [6, 8]

    def test_the_check_of_the_model_can_be_left_out(self):
        config = classification()
        config["model"]["backbone"] = dict(type="DeiT3", img_size=224)
        after = vbs_recipe(config, check_model=False)
        assert after["model"] == config["model"]
