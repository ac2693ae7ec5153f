"""What the recipe makes of configs; nothing of the libraries is imported."""

import copy

import pytest
from mmengine.config import Config

from mms_plugin.recipes import RecipeError, vbs_recipe

CLASSIFY = [
    dict(type="LoadImageFromFile"),
    dict(type="RandomResizedCrop", scale=224, backend="pillow"),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackInputs"),
]
DETECT = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="Resize", scale=(1333, 800), keep_ratio=True),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackDetInputs"),
]


CONSTANT = dict(type="ResolutionCurriculumHook", schedule="constant")


def classification(pipeline=CLASSIFY, **others):
    return dict(
        dict(
            default_scope="mmpretrain",
            model=dict(type="ImageClassifier", backbone=dict(type="ResNet")),
            train_pipeline=pipeline,
            train_dataloader=dict(
                batch_size=32,
                num_workers=2,
                sampler=dict(type="DefaultSampler", shuffle=True),
                dataset=dict(type="ImageNet", pipeline=pipeline),
            ),
            val_dataloader=dict(batch_size=32, dataset=dict(pipeline=pipeline)),
            train_cfg=dict(by_epoch=True, max_epochs=100),
        ),
        **others,
    )


def detection(pipeline=DETECT, dataset=None, **others):
    return dict(
        dict(
            default_scope="mmdet",
            model=dict(
                type="MaskRCNN",
                data_preprocessor=dict(type="DetDataPreprocessor", pad_size_divisor=32),
            ),
            train_dataloader=dict(
                batch_size=4,
                sampler=dict(type="DefaultSampler", shuffle=True),
                batch_sampler=dict(type="AspectRatioBatchSampler"),
                dataset=dataset or dict(type="CocoDataset", pipeline=pipeline),
            ),
            train_cfg=dict(type="EpochBasedTrainLoop", max_epochs=12),
        ),
        **others,
    )


def twin(transform, **options):
    return dict(type="MultiScaleTransform", transform=transform, **options)


def with_transform(index, transform, pipeline=DETECT):
    return [*pipeline[:index], transform, *pipeline[index + 1 :]]


def pipeline_of(config):
    return config["train_dataloader"]["dataset"]["dataset"]["pipeline"]


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
        assert after["custom_hooks"] == [CONSTANT]

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
                schedule="cosine",
                end=0.5,
                start_sizes=[128],
            ),
        ]
        assert hooks == [dict(type="EMAHook")]
        after = vbs_recipe(classification(custom_hooks=None), True)
        assert after["custom_hooks"] == [dict(type="ResolutionCurriculumHook")]

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

    def test_a_data_set_shared_with_validation(self):
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


class TestTransforms:
    def test_lsj(self):
        resize = dict(
            type="RandomResize",
            scale=(1024, 1024),
            ratio_range=(0.1, 2.0),
            keep_ratio=True,
        )
        crop = dict(
            type="RandomCrop",
            crop_type="absolute_range",
            crop_size=(1024, 1024),
            recompute_bbox=True,
        )
        config = detection([*DETECT[:2], resize, crop, *DETECT[3:]])
        pad = dict(type="BatchFixedSizePad", size=(1024, 1024), pad_mask=True)
        preprocessor = config["model"]["data_preprocessor"]
        preprocessor["batch_augments"] = [pad]
        after = vbs_recipe(config)
        assert pipeline_of(after)[2:4] == [
            twin({k: v for k, v in resize.items() if k != "scale"}),
            twin({k: v for k, v in crop.items() if k != "crop_size"}),
        ]
        assert after["train_dataloader"]["batch_sampler"]["base_size"] == 1024
        # Nothing is padded to 1024 at 512; the masks are still padded.
        assert after["model"]["data_preprocessor"] == dict(
            type="DetDataPreprocessor",
            pad_size_divisor=32,
            batch_augments=None,
            pad_mask=True,
        )
        pad["size"] = (2048, 2048)
        with pytest.raises(RecipeError, match="BatchFixedSizePad makes every batch"):
            vbs_recipe(config)

    def test_proportions_are_kept(self):
        pipeline = [
            CLASSIFY[0],
            dict(type="ResizeEdge", scale=256, edge="short"),
            dict(type="RandomCrop", crop_size=224),
            CLASSIFY[-1],
        ]
        after = vbs_recipe(classification(pipeline))
        assert after["train_dataloader"]["batch_sampler"]["base_size"] == 224
        assert pipeline_of(after)[1:3] == [
            twin(dict(type="ResizeEdge", edge="short"), size_ratio=256 / 224),
            twin(dict(type="RandomCrop")),
        ]
        pipeline[2] = dict(type="CenterCrop", crop_size=(128, 256))  # (width, height)
        after = vbs_recipe(classification(pipeline))
        assert after["train_dataloader"]["batch_sampler"]["base_size"] == (256, 128)
        assert pipeline_of(after)[1]["size_ratio"] == [1.0, 2.0]

    def test_a_crop_without_a_resize(self):
        crop = dict(type="RandomCrop", crop_size=32, padding=4)
        after = vbs_recipe(classification([crop, *CLASSIFY[2:]]))
        assert pipeline_of(after) == [crop, twin(dict(type="Resize")), *CLASSIFY[2:]]
        sampler = after["train_dataloader"]["batch_sampler"]
        assert (sampler["base_size"], sampler["sizes"]) == (32, [24, 32, 40])
        # mmdet: boxes would be scaled as well; that is the user's to say.
        crop = dict(type="RandomCrop", crop_size=(640, 640))
        with pytest.raises(RecipeError) as error:
            vbs_recipe(detection(with_transform(2, crop)))
        assert error.value.place == "train_dataloader.dataset.pipeline[2]"

    def test_a_crop_before_the_resize_chooses_a_part(self):
        crop = dict(type="RandomCenterCropPad", crop_size=(511, 511), ratios=(0.6, 1.3))
        resize = dict(type="Resize", scale=(511, 511), keep_ratio=False)
        after = vbs_recipe(detection([*DETECT[:2], crop, resize, DETECT[-1]]))
        assert pipeline_of(after)[2] == crop
        assert pipeline_of(after)[3]["type"] == "MultiScaleTransform"

    def test_without_a_size(self):
        pad = dict(type="Pad", size_divisor=32)
        crop = dict(type="RandomCrop", crop_type="relative", crop_size=(0.5, 0.5))
        after = vbs_recipe(detection([*DETECT[:3], pad, crop, DETECT[-1]]))
        assert pipeline_of(after)[3:5] == [pad, crop]

    def test_scope_of_the_transform(self):
        resize = dict(type="Resize", scale=(1333, 800), keep_ratio=True, _scope_="a")
        after = vbs_recipe(detection(with_transform(2, resize)))
        assert pipeline_of(after)[2] == dict(
            type="MultiScaleTransform",
            _scope_="a",
            transform=dict(type="Resize", keep_ratio=True),
        )

    @pytest.mark.parametrize(
        "transform, new, base",
        [
            (
                dict(type="mmdet.FixShapeResize", width=512, height=256),
                twin(dict(type="mmdet.FixShapeResize")),
                (256, 512),
            ),
            (
                dict(type="mmdet.ResizeShortestEdge", scale=800, max_size=1333),
                twin(
                    dict(type="mmdet.ResizeShortestEdge"),
                    size_arg=("scale", "max_size"),
                    order="hw",
                ),
                (800, 1333),
            ),
            (
                dict(type="mmdet.datasets.transforms.ResizeShortestEdge", scale=800),
                twin(dict(type="mmdet.datasets.transforms.ResizeShortestEdge")),
                800,
            ),
            (
                dict(type="torchvision/Resize", size=224),
                twin(dict(type="torchvision/Resize"), order="short"),
                224,
            ),
            (
                dict(type="torchvision/RandomResizedCrop", size=[224, 192]),
                twin(dict(type="torchvision/RandomResizedCrop")),
                (224, 192),
            ),
            (
                dict(type="MAERandomResizedCrop", size=224, scale=(0.2, 1.0)),
                twin(dict(type="MAERandomResizedCrop", scale=(0.2, 1.0))),
                224,
            ),
        ],
    )
    def test_by_library(self, transform, new, base):
        after = vbs_recipe(classification(with_transform(1, transform, CLASSIFY)))
        assert pipeline_of(after)[1] == new
        assert after["train_dataloader"]["batch_sampler"]["base_size"] == base

    def test_inside_others(self):
        inner = [dict(type="Resize", scale=(1333, 800), keep_ratio=True), DETECT[3]]
        outer = dict(type="ProposalBroadcaster", transforms=inner)
        after = vbs_recipe(detection([*DETECT[:2], outer, DETECT[-1]]))
        assert pipeline_of(after)[2] == dict(
            type="ProposalBroadcaster",
            transforms=[twin(dict(type="Resize", keep_ratio=True)), DETECT[3]],
        )
        views = dict(
            type="MultiView",
            num_views=[2, 6],
            transforms=[
                [dict(type="RandomResizedCrop", scale=96)],
                [dict(type="RandomResizedCrop", scale=224)],
            ],
        )
        after = vbs_recipe(classification([CLASSIFY[0], views, CLASSIFY[-1]]))
        crops = pipeline_of(after)[1]["transforms"]
        assert crops[0][0] == twin(dict(type="RandomResizedCrop"), size_ratio=96 / 224)
        assert crops[1][0] == twin(dict(type="RandomResizedCrop"))
        assert views["transforms"][0][0] == dict(type="RandomResizedCrop", scale=96)


class TestManySizes:
    CHOICE = dict(
        type="RandomChoiceResize",
        scales=[(1333, 640), (1333, 800)],
        keep_ratio=True,
        backend="pillow",
    )
    RANGE = dict(type="RandomResize", scale=[(1333, 640), (1333, 800)], keep_ratio=True)

    @pytest.mark.parametrize("transform", [CHOICE, RANGE], ids=lambda t: t["type"])
    def test_refused_with_its_place(self, transform):
        dataset = dict(
            type="RepeatDataset",
            times=3,
            dataset=dict(type="CocoDataset", pipeline=with_transform(2, transform)),
        )
        with pytest.raises(RecipeError, match="base_size=") as error:
            vbs_recipe(detection(dataset=dataset))
        place = "train_dataloader.dataset.dataset.pipeline[2]"
        assert error.value.place == place and str(error.value).startswith(place)

    @pytest.mark.parametrize("transform", [CHOICE, RANGE], ids=lambda t: t["type"])
    def test_a_base_size_makes_it_a_resize(self, transform):
        config = detection(with_transform(2, transform))
        after = vbs_recipe(config, base_size=(800, 1333))
        kept = {k: transform[k] for k in ("keep_ratio", "backend") if k in transform}
        assert pipeline_of(after)[2] == twin(dict(type="Resize", **kept))
        same = vbs_recipe(detection())["train_dataloader"]["batch_sampler"]
        assert after["train_dataloader"]["batch_sampler"] == same

    def test_sync_random_resize_gives_its_range(self):
        resize = dict(type="Resize", scale=(640, 640), keep_ratio=True)
        config = detection(with_transform(2, resize))
        preprocessor = config["model"]["data_preprocessor"]
        preprocessor["batch_augments"] = [
            dict(type="Other"),
            dict(
                type="BatchSyncRandomResize",
                random_size_range=(480, 800),
                size_divisor=32,
                interval=10,
            ),
        ]
        after = vbs_recipe(config)
        assert after["train_dataloader"]["batch_sampler"]["sizes"] == list(
            range(480, 801, 32)
        )
        assert after["model"]["data_preprocessor"]["batch_augments"] == [
            dict(type="Other")
        ]
        assert len(preprocessor["batch_augments"]) == 2
        after = vbs_recipe(config, sizes=[320, 640])
        assert after["train_dataloader"]["batch_sampler"]["sizes"] == [320, 640]


class TestDatasets:
    def test_all_members_of_a_concatenation(self):
        members = [
            dict(type="VOC", pipeline=DETECT),
            dict(type="COCO", pipeline=DETECT),
        ]
        dataset = dict(
            type="RepeatDataset",
            times=2,
            dataset=dict(type="ConcatDataset", datasets=members),
        )
        after = vbs_recipe(detection(dataset=dataset))["train_dataloader"]["dataset"]
        assert after["type"] == "MultiScaleDataset"
        assert after["dataset"]["times"] == 2
        for member in after["dataset"]["dataset"]["datasets"]:
            assert member["pipeline"][2]["type"] == "MultiScaleTransform"
        assert members[0]["pipeline"] is DETECT

    def test_members_of_different_sizes(self):
        other = with_transform(2, dict(type="Resize", scale=(640, 640)))
        members = [dict(type="VOC", pipeline=DETECT), dict(type="COCO", pipeline=other)]
        dataset = dict(type="ConcatDataset", datasets=members)
        with pytest.raises(RecipeError, match="640x640, but .*datasets.0.*800x1333"):
            vbs_recipe(detection(dataset=dataset))

    def test_mosaic_and_the_hook_that_ends_it(self):
        outer = [
            dict(type="Mosaic", img_scale=(640, 640), pad_val=114.0),
            dict(type="RandomAffine", border=(-320, -320)),
            dict(type="MixUp", img_scale=(640, 640)),
            dict(type="Resize", scale=(640, 640), keep_ratio=True),
            dict(type="PackDetInputs"),
        ]
        dataset = dict(
            type="MultiImageMixDataset",
            dataset=dict(type="CocoDataset", pipeline=DETECT[:2]),
            pipeline=outer,
            skip_type_keys=["MixUp", "RandomFlip"],
        )
        hooks = [dict(type="YOLOXModeSwitchHook", num_last_epochs=15)]
        after = vbs_recipe(detection(dataset=dataset, custom_hooks=hooks))
        mixed = after["train_dataloader"]["dataset"]["dataset"]
        assert mixed["dataset"]["pipeline"] == DETECT[:2]
        assert mixed["pipeline"] == [
            dict(type="MultiScaleMosaic", pad_val=114.0),
            dict(type="MultiScaleRandomAffine", size_ratio=-0.5),
            dict(type="MultiScaleMixUp"),
            twin(dict(type="Resize", keep_ratio=True)),
            dict(type="PackDetInputs"),
        ]
        assert mixed["skip_type_keys"] == ["MultiScaleMixUp", "RandomFlip"]
        assert after["custom_hooks"][0]["skip_type_keys"] == [
            "MultiScaleMosaic", "MultiScaleRandomAffine", "MultiScaleMixUp",
        ]  # fmt: skip
        assert hooks == [dict(type="YOLOXModeSwitchHook", num_last_epochs=15)]

    def test_pipelines_that_hooks_switch_to(self):
        switched = [*DETECT[:3], DETECT[-1]]
        config = detection(
            custom_hooks=[
                dict(
                    type="PipelineSwitchHook", switch_epoch=9, switch_pipeline=switched
                ),
                dict(
                    type="SwitchRecipeHook",
                    schedule=[dict(action_epoch=3, train_pipeline=switched)],
                ),
            ],
            train_pipeline_stage2=switched,
        )
        after = vbs_recipe(config)
        new = with_transform(2, twin(dict(type="Resize", keep_ratio=True)), switched)
        hooks = after["custom_hooks"]
        assert hooks[0]["switch_pipeline"] == new
        assert hooks[1]["schedule"][0] == dict(action_epoch=3, train_pipeline=new)
        assert after["train_pipeline_stage2"] == new
        assert config["custom_hooks"][1]["schedule"][0]["train_pipeline"] is switched

    def test_a_hook_that_grows_the_size_itself(self):
        other = with_transform(1, dict(type="RandomResizedCrop", scale=256), CLASSIFY)
        schedule = [dict(action_epoch=9, pipeline=other)]
        hooks = [dict(type="SwitchRecipeHook", schedule=schedule)]
        with pytest.raises(RecipeError, match="256x256, but .* 224x224") as error:
            vbs_recipe(classification(custom_hooks=hooks))
        assert error.value.place == "custom_hooks[0].schedule[0].pipeline[1]"


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
                "is missing",
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
                "make-up by source",
            ),
            (
                f"{LOADER}.batch_sampler",
                dict(type="MyBatchSampler"),
                f"{LOADER}.batch_sampler",
                "MyBatchSampler makes batches in a way of its own",
            ),
            (
                "custom_hooks",
                [dict(type="PreciseBNHook")],
                "custom_hooks[0]",
                "PreciseBNHook: .*batch_size",
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

    @pytest.mark.parametrize(
        "transform, place, words",
        [
            (dict(type="MyResize", size=(64, 64)), "", r"MyResize\(size=.*by hand"),
            (dict(type="BEiTMaskGenerator", input_size=14), "", "input_size=14"),
            (
                dict(type="RandomChoice", transforms=[[DETECT[2]], [DETECT[3]]]),
                ".transforms[0][0]",
                "Resize sets a size inside RandomChoice",
            ),
            (
                dict(type="Albu", transforms=[dict(type="Resize", height=9, width=9)]),
                ".transforms[0]",
                "height=9",
            ),
            (
                dict(
                    type="TransformBroadcaster",
                    share_random_params=True,
                    transforms=[DETECT[2]],
                ),
                ".transforms[0]",
                "inside TransformBroadcaster",
            ),
            (
                dict(type="Resize", scale="large"),
                "",
                "Resize must have its size as a number of pixels",
            ),
        ],
    )
    def test_transforms(self, transform, place, words):
        with pytest.raises(RecipeError, match=words) as error:
            vbs_recipe(detection(with_transform(2, transform)))
        assert error.value.place == f"{LOADER}.dataset.pipeline[2]{place}"

    @pytest.mark.parametrize("curriculum", [False, True])
    @pytest.mark.parametrize("config", [classification, detection])
    def test_what_is_converted_already(self, config, curriculum):
        once = vbs_recipe(config())
        with pytest.raises(RecipeError, match="batch_sampler: is .* already"):
            vbs_recipe(once, curriculum)
        del once["train_dataloader"]["batch_sampler"]
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
