"""Every config of the zoo: its name, model, plan and kept cost; the written tables."""

import re
from collections import Counter
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

pytest.importorskip("mmdet")
pytest.importorskip("mmpretrain")
pytest.importorskip("mmseg")
yaml = pytest.importorskip("yaml")

from mms_plugin import cli  # noqa: E402
from mms_plugin.analysis import (  # noqa: E402
    build_model,
    model_flops,
    training_cost,
)
from mms_plugin.multi_scale.sizes import parse_sizes  # noqa: E402
from mms_plugin.recipes import apply_recipes  # noqa: E402
from tools.misc import zoo_costs, zoo_tables  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
FILES = zoo_costs.zoo_configs()
NAMES = list(FILES)
COSTS = zoo_costs.read_costs()

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore:.*is empty.*:UserWarning"),
]
same_versions = pytest.mark.skipif(
    COSTS["about"]["versions"] != zoo_costs.versions(),
    reason="the costs are kept for other versions of the libraries",
)


@pytest.fixture(scope="module")
def configs():
    """Return all configs, loaded once."""
    return {name: Config.fromfile(file) for name, file in FILES.items()}


def sampler_of(config):
    sampler = config.train_dataloader.get("batch_sampler") or {}
    return sampler if sampler.get("type") == "MultiScaleVariableBatchSampler" else None


def hook_of(config):
    hooks = config.get("custom_hooks") or []
    found = [hook for hook in hooks if hook.type == "ResolutionCurriculumHook"]
    return found[0] if found else None


def test_the_zoo_has_what_it_promises():
    """The families and recipes that the zoo is made of."""
    assert len(NAMES) >= 90
    parts = [zoo_costs.parse_name(name) for name in NAMES]
    have = {(part.model, part.recipe, part.data) for part in parts}
    triples = {
        "in1k": """resnet18 resnet34 resnet50 resnet101 resnet152 seresnet50
        regnetx-12gf mobilenet-v2 mobilenet-v3-large efficientnet-b0 efficientnet-b1
        efficientnet-b2 efficientnet-b3 swin-tiny swin-small convnext-tiny
        deit-small""",
        "cifar10": "resnet18 resnet50",
        "cifar100": "resnet18 resnet50",
        "coco": """mask-rcnn-r50-fpn mask-rcnn-r101-fpn mask-rcnn-mobilenet-v2-fpn
        mask-rcnn-efficientnet-b3-fpn mask-rcnn-swin-t-fpn faster-rcnn-r50-fpn
        retinanet-r18-fpn retinanet-r50-fpn cascade-mask-rcnn-r50-fpn dino-4scale-r50
        rtmdet-s""",
        "ade20k": "deeplabv3-r50",
    }
    for data, models in triples.items():
        for model in models.split():
            for recipe in ("fbs", "vbs", "vbs-cur"):
                assert (model, recipe, data) in have, (model, recipe, data)
    large = {
        (part.model, part.schedule.rpartition("-")[0], part.total_batch)
        for part in parts
        if part.recipe == "agvm"
    }
    for batch in (256, 512, 1024, 1536):
        assert ("faster-rcnn-r50-fpn", "", batch) in large
        assert ("faster-rcnn-r50-fpn", "adamw", batch) in large
    for batch in (256, 512, 1024):
        assert ("mask-rcnn-r50-fpn", "", batch) in large
    assert ("retinanet-r18-fpn", "adamw", 10240) in large
    assert {("panoptic-fpn-r50", "", 512), ("sem-fpn-r50", "", 256)} <= large
    both = [part for part in parts if part.recipe == "vbs-cur-agvm"]
    assert 256 in {part.total_batch for part in both}


@pytest.mark.parametrize("name", NAMES)
def test_the_name_says_what_the_config_does(name, configs):
    parts, config = zoo_costs.parse_name(name), configs[name]
    folder = Path(FILES[name]).parent.name
    assert parts.model.replace("-", "_").startswith(folder)
    loader = config.train_dataloader
    assert loader.batch_size == parts.batch
    assert config.auto_scale_lr.base_batch_size == parts.total_batch
    kind = parts.length[-1]
    if kind == "e":
        assert config.train_cfg.max_epochs == int(parts.length[:-1])
    else:
        assert kind == "k"
        assert config.train_cfg.max_iters == 1000 * int(parts.length[:-1])
        ends = [s.end for s in config.param_scheduler if s.type == "PolyLR"]
        assert ends == [config.train_cfg.max_iters]
    multi_scale = parts.recipe.startswith("vbs")
    assert (sampler_of(config) is not None) == multi_scale
    hook = hook_of(config)
    assert (hook is not None) == multi_scale
    grows = multi_scale and hook.get("schedule") != "constant"
    assert grows == ("-cur" in parts.recipe)
    wrapper = config.optim_wrapper.get("type", "")
    assert ("AGVM" in wrapper) == ("agvm" in parts.recipe)
    sampler = loader.sampler
    assert ("ra4" in parts.schedule) == (sampler.type == "RepeatAugSampler")
    if "ra4" in parts.schedule:
        assert sampler.num_repeats == 4
    for word, kind in dict(adamw="AdamW", lamb="Lamb", lars="LARS").items():
        if word in parts.schedule:
            assert config.optim_wrapper.optimizer.type.endswith(kind)


@pytest.mark.parametrize("name", NAMES)
def test_a_leaf_states_only_what_differs(name):
    tree = Path(FILES[name]).read_text()
    body = re.sub(r'^""".*?"""\n', "", tree, flags=re.S)
    assert "_base_ = " in body


@pytest.mark.parametrize("name", [n for n in NAMES if "_vbs" in n and "agvm" not in n])
def test_recipes_of_a_model_differ_in_nothing_else(name, configs):
    """MSc-VBS is the baseline with other batches, MSc-VBSWC has the same batches."""
    fbs = zoo_tables.baseline_of(name, NAMES)
    assert fbs is not None
    ours, other = configs[name], configs[fbs]
    changed = {"train_dataloader", "train_pipeline", "train_dataset", "custom_hooks"}
    changed |= {"max_iters"}  # of trainings that count iterations
    if zoo_costs.parse_name(name).data in ("ade20k", "nuclei"):
        changed |= {"train_cfg", "param_scheduler", "default_hooks", "model"}
    if name.startswith("deeplabv3"):  # no search for algorithms at each size
        own, base = dict(ours.env_cfg), dict(other.env_cfg)
        assert (own.pop("cudnn_benchmark"), base.pop("cudnn_benchmark")) == (
            False,
            True,
        )
        assert own == base
        changed |= {"env_cfg"}
    if name.startswith("rtmdet"):  # parts of its pipelines
        changed |= {"resize", "pad", "mix_up", "load", "crop_to_pad"}
        changed |= {"multi_scale_pipeline", "multi_scale_pipeline_stage2"}
        changed |= {"train_pipeline_stage2"}
    for key in (set(ours) | set(other)) - changed:
        assert ours.get(key) == other.get(key), key
    loaders = [dict(c.train_dataloader) for c in (ours, other)]
    for loader in loaders:
        for key in ("batch_sampler", "dataset"):
            loader.pop(key, None)
    assert loaders[0] == loaders[1]
    hooks = [
        [h for h in c.get("custom_hooks") or [] if h.type != "ResolutionCurriculumHook"]
        for c in (ours, other)
    ]
    assert [h.type for h in hooks[0]] == [h.type for h in hooks[1]]


LIKE_THE_RECIPE = [
    name
    for name in NAMES
    if "_vbs_" in name
    and not name.startswith(("efficientnet", "mobilenet"))  # published sizes
    and "agvm" not in name
    and "nuclei" not in name  # its batches are by a cost model
]


@pytest.mark.parametrize("name", LIKE_THE_RECIPE)
def test_the_recipe_gives_the_same_batches(name, configs):
    """``--recipe vbs`` of the baseline gives the transforms and sizes of our config."""
    baseline = configs[zoo_tables.baseline_of(name, NAMES)]
    cli.enter_scope(baseline)
    options = dict(check_model=False)
    if name.startswith("dino"):  # its baseline has lost the sizes of mmdet's config
        mmdet = cli.load_config("mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py")
        loader = apply_recipes(mmdet, "vbs", options).train_dataloader
        options["sizes"] = loader.batch_sampler.sizes
    made = apply_recipes(baseline, "vbs", options)
    loaders = [made.train_dataloader, configs[name].train_dataloader]
    kinds, sizes = [], []
    for loader in loaders:
        assert loader.dataset.type == "MultiScaleDataset"
        kinds.append(
            [
                (t.type, t.get("transform", {}).get("type"), t.get("size_ratio"))
                for t in loader.dataset.dataset.pipeline
            ]
        )
        sizes.append(set(sampler_sizes(loader)))
    assert kinds[0] == kinds[1]
    assert sizes[0] == sizes[1]


def sampler_sizes(loader):
    """Return the sizes that a batch sampler's config lays out."""
    return parse_sizes(loader.batch_sampler.sizes)


class TestCosts:
    @same_versions
    def test_they_are_kept_for_these_configs(self, configs):
        assert zoo_costs.stale(COSTS, configs) == []
        assert set(COSTS["configs"]) == set(NAMES)

    @same_versions
    def test_the_written_files_are_current(self, configs):
        assert zoo_tables.out_of_date(COSTS, configs) == []

    @pytest.mark.parametrize("name", NAMES)
    def test_a_short_training_costs_what_the_kept_flops_say(self, name, configs):
        """The plan of one epoch has the kept sizes, and a cost by them."""
        kept = COSTS["configs"][name]
        flops = zoo_costs.flops_of(COSTS["models"][kept["model"]])
        config = Config(configs[name].to_dict())
        if "max_epochs" in config.train_cfg:
            config.train_cfg.max_epochs = 1
        else:
            config.train_cfg.max_iters = 2000
        plan = zoo_costs.plan_of(name, config)
        cost = training_cost(plan, flops)
        images = cost.images / len(plan.epochs) if kept["epochs"] else None
        if images:
            assert kept["images"] == pytest.approx(images * kept["epochs"], rel=1e-6)
        if flops is None:
            assert kept["train_flops"] is None
            return
        highest = max(flops.per_image.values())
        assert 0 < cost.flops <= cost.images * highest
        assert 0 < kept["train_flops"] <= kept["images"] * highest

    def test_the_savings_are_those_of_the_method(self):
        """ResNet-50's kept ratios against the mean of the pixels, by hand."""
        costs = COSTS["configs"]
        fbs = costs["resnet50_fbs_8xb128-600e_in1k"]
        vbs = costs["resnet50_vbs_8xb128-600e_in1k"]
        sides = range(128, 321, 32)
        mean = sum(int(128 * 224**2 / s**2) for s in sides) / len(sides) / 128
        assert vbs["iterations"] / fbs["iterations"] == pytest.approx(
            1 / mean, rel=0.01
        )
        ratio = vbs["train_flops"] / fbs["train_flops"]
        assert ratio == pytest.approx(1 / mean, rel=0.01)


# One name of each network: all others differ in recipe only.
UNIQUE = {}
for _name, _kept in COSTS["configs"].items():
    UNIQUE.setdefault(_kept["model"], _name)


@pytest.mark.parametrize("name", sorted(UNIQUE.values()))
def test_the_model_is_built(name, configs):
    config = configs[name]
    cli.enter_scope(config)
    try:
        with torch.device("meta"):
            model = build_model(config)
    except (RuntimeError, NotImplementedError):  # it reads a tensor as it is made
        model = build_model(config)
    assert any(parameter.requires_grad for parameter in model.parameters())


@same_versions
@pytest.mark.parametrize(
    "name",
    [
        "resnet18_vbs_8xb16-200e_cifar10",
        "mobilenet-v2_vbs_4xb256-300e_in1k",
        "retinanet-r18-fpn_vbs_8xb4-12e_coco",
        "deit-small_vbs_4xb256-300e_in1k",
    ],
)
def test_the_kept_flops_are_those_of_the_model(name, configs):
    kept = zoo_costs.flops_of(COSTS["models"][COSTS["configs"][name]["model"]])
    size = min(kept.per_image)
    cli.enter_scope(configs[name])
    counted = model_flops(build_model(configs[name]), [size])
    assert counted.per_image[size] == kept.per_image[size]


class TestModelIndex:
    @pytest.fixture(scope="class")
    def models(self):
        index = yaml.safe_load((ROOT / "model-index.yml").read_text())
        models, collections = [], []
        for name in index["Import"]:
            metafile = yaml.safe_load((ROOT / name).read_text())
            models += metafile["Models"]
            collections += metafile["Collections"]
        names = [collection["Name"] for collection in collections]
        assert max(Counter(names).values()) == 1
        assert all(model["In Collection"] in names for model in models)
        assert all((ROOT / c["README"]).is_file() for c in collections)
        return models

    def test_lists_every_config(self, models):
        listed = [model["Config"] for model in models]
        files = [str(Path(file).relative_to(ROOT)) for file in FILES.values()]
        assert sorted(listed) == sorted(files)

    def test_agrees_with_the_configs(self, models):
        for model in models:
            parts = zoo_costs.parse_name(model["Name"])
            assert Path(model["Config"]).stem == model["Name"]
            metadata = model["Metadata"]
            assert metadata["Batch Size"] == parts.total_batch
            if parts.length.endswith("e"):
                assert metadata["Epochs"] == int(parts.length[:-1])
            else:
                assert metadata["Iterations"] == 1000 * int(parts.length[:-1])

    def test_the_index_format_is_read_by_its_own_library(self):
        modelindex = pytest.importorskip("modelindex.load_model_index")
        index = modelindex.load(str(ROOT / "model-index.yml"))
        index.build_models_with_collections()
        assert len(index.models) == len(NAMES)


class TestNames:
    def test_parts(self):
        parts = zoo_costs.parse_name("faster-rcnn-r50-fpn_agvm_16xb16-adamw-12e_coco")
        assert parts == (
            "faster-rcnn-r50-fpn", "agvm", 16, 16, "adamw-12e", "coco"
        )  # fmt: skip
        assert (parts.total_batch, parts.length) == (256, "12e")

    def test_another_form_is_refused(self):
        with pytest.raises(ValueError, match="resnet50_8xb32_in1k must be named"):
            zoo_costs.parse_name("resnet50_8xb32_in1k")

    @pytest.mark.parametrize(
        "name, baseline",
        [
            ("resnet50_vbs_8xb128-600e_in1k", "resnet50_fbs_8xb128-600e_in1k"),
            (
                "resnet50_vbs_8xb128-ra4-600e_in1k",
                "resnet50_fbs_8xb128-ra4-600e_in1k",
            ),
            (
                "faster-rcnn-r50-fpn_agvm_64xb16-16e_coco",
                "faster-rcnn-r50-fpn_fbs_2xb16-16e_coco",
            ),
            (
                "faster-rcnn-r50-fpn_fbs_96xb16-lamb-12e_coco",
                "faster-rcnn-r50-fpn_fbs_2xb16-adamw-12e_coco",
            ),
            (
                "deeplabv3-r50_vbs_4xb4-50k_ade20k",
                "deeplabv3-r50_fbs_4xb4-80k_ade20k",
            ),
            ("panoptic-fpn-r50_agvm_32xb16-16e_coco", None),
        ],
    )
    def test_baseline(self, name, baseline):
        assert zoo_tables.baseline_of(name, NAMES) == baseline


def test_a_readme_needs_a_place_for_its_table():
    with pytest.raises(ValueError, match="must have <!-- table"):
        zoo_tables.with_table("# Nothing", "| a |")
