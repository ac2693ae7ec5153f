"""Write the tables and metafiles of the zoo from the kept costs.

    python tools/misc/zoo_tables.py            # write README tables and metafiles
    python tools/misc/zoo_tables.py --count    # predict first what is missing or stale
    python tools/misc/zoo_tables.py --check    # write nothing; exit code 1 if stale

``--count resnet dino`` counts only configs with these words in their names. Costs are
kept in ``docs/results/zoo.json``, the published figures are in
``tools/misc/zoo_published.yml``.
"""

from __future__ import annotations

import argparse
import os.path as osp
import sys
from typing import Any, Dict, List, Mapping, Optional

import yaml

# The checkout that this file lies in, installed or not.
sys.path.insert(0, osp.dirname(osp.dirname(osp.dirname(osp.abspath(__file__)))))

from mms_plugin import cli
from mms_plugin.utils.files import write_atomically
from mms_plugin.utils.si_prefix import si_prefix
from mms_plugin.utils.tables import markdown_table
from tools.misc.zoo_costs import (
    CONFIGS,
    ROOT,
    ZooName,
    parse_name,
    read_costs,
    stale,
    update_costs,
    zoo_configs,
)

PUBLISHED = osp.join(ROOT, "tools", "misc", "zoo_published.yml")
BEGIN = "<!-- table: python tools/misc/zoo_tables.py -->"
END = "<!-- end of table -->"

DATA = dict(
    ade20k="ADE20K",
    cifar10="CIFAR-10",
    cifar100="CIFAR-100",
    coco="COCO",
    in1k="ImageNet-1k",
    nuclei="2018 Data Science Bowl",
)
ARCHITECTURES = dict(
    cascade_mask_rcnn="Cascade Mask R-CNN",
    convnext="ConvNeXt",
    deeplabv3="DeepLabV3",
    deit="DeiT",
    dino="DINO",
    efficientnet="EfficientNet",
    faster_rcnn="Faster R-CNN",
    mask_rcnn="Mask R-CNN",
    mobilenet_v2="MobileNetV2",
    mobilenet_v3="MobileNetV3",
    panoptic_fpn="Panoptic FPN",
    regnet="RegNet",
    resnet="ResNet",
    retinanet="RetinaNet",
    rtmdet="RTMDet",
    sem_fpn="Semantic FPN",
    seresnet="SE-ResNet",
    swin="Swin Transformer",
)
RECIPES = {
    "fbs": ["SSc-FBS"],
    "vbs": ["MSc-VBS"],
    "vbs-cur": ["MSc-VBSWC"],
    "agvm": ["AGVM"],
    "vbs-cur-agvm": ["MSc-VBSWC", "AGVM"],
}
PAPERS = {
    "MSc-VBS": dict(
        URL="https://arxiv.org/abs/2309.04502",
        Title="On the Efficacy of Multi-scale Data Samplers for Vision Applications",
    ),
    "AGVM": dict(
        URL="https://arxiv.org/abs/2210.11078",
        Title="Large-batch Optimization for Dense Visual Predictions",
    ),
}
HEADER = "# Written by tools/misc/zoo_tables.py; edit the configs instead.\n"


def folder_of(file: str) -> str:
    """Return a config's folder in ``configs/``."""
    return osp.basename(osp.dirname(file))


def baseline_of(name: str, names: List[str]) -> Optional[str]:
    """Return the config of one size and plain optimizer to compare a config with.

    It has the same model, data and epochs. Of several, one with other batches has the
    same GPUs and images; a large batch has the smallest batch of the same schedule.
    Trainings that count iterations have one baseline, whatever their length.
    """
    parts = parse_name(name)
    # LAMB and LARS are rivals of AdamW.
    schedule = parts.schedule.replace("lamb", "adamw").replace("lars", "adamw")

    def is_candidate(found: ZooName) -> bool:
        if (found.model, found.data, found.recipe) != (parts.model, parts.data, "fbs"):
            return False
        if "ra4" in schedule + found.schedule:
            return found.schedule == schedule
        return found.length == parts.length or parts.length.endswith("k")

    def rank(other: str) -> Any:
        found = parse_name(other)
        same = (found.gpus, found.batch) == (parts.gpus, parts.batch)
        return (
            parts.recipe in ("vbs", "vbs-cur") and not same,
            found.schedule != schedule,
            found.total_batch,
            other,
        )

    candidates = [other for other in names if is_candidate(parse_name(other))]
    return min(candidates, key=rank) if candidates else None


def method_of(name: str, names: List[str]) -> str:
    """Return ``'AGVM'`` for large batches and their baselines, else ``'MSc-VBS'``."""
    parts = parse_name(name)
    if "agvm" in parts.recipe:
        return "AGVM"
    if parts.recipe != "fbs":
        return "MSc-VBS"
    for other in names:
        found = parse_name(other)
        if (found.model, found.data, found.recipe) == (parts.model, parts.data, "vbs"):
            same = (found.gpus, found.batch) == (parts.gpus, parts.batch)
            if same and (found.schedule == parts.schedule or found.length[-1] == "k"):
                return "MSc-VBS"
    return "AGVM"


# ------------------------------------------------------------------- README tables


def read_published() -> Any:
    """Return the published figures, and which configs we have trained."""
    with open(PUBLISHED, encoding="utf-8") as stream:
        return yaml.safe_load(stream)


def table(names: List[str], costs: Mapping, published: Mapping) -> str:
    """Return the table of a folder's configs."""
    rows = [
        [
            "config",
            "epochs",
            "batch",
            "iterations",
            "training FLOPs",
            "of `fbs`",
            "published, not by us",
            "trained by us",
        ]
    ]
    every = list(costs["configs"])
    for name in names:
        parts, cost = parse_name(name), costs["configs"][name]
        figure = published["figures"].get(name)
        results = published["trained"].get(name)
        rows.append(
            [
                f"[{name}]({name}.py)",
                f"{cost['epochs'] or ''}",
                f"{parts.gpus} x {parts.batch}",
                f"{cost['iterations']:,}",
                flops_text(cost),
                ratio_text(name, every, costs),
                "" if figure is None else f"{figure[0]} ({figure[1]})",
                "not yet" if results is None else f"[yes](../../{results})",
            ]
        )
    lines = [markdown_table(rows, text_columns=(0, 6, 7)), ""]
    used = {published["figures"][n][1] for n in names if n in published["figures"]}
    notes = [
        "Batch: GPUs x images at the base size. Iterations and FLOPs are predicted by "
        "`training_cost.py`",
        'with `--world-size` of that many GPUs; no training was run. "of `fbs`": the '
        "FLOPs as a share of those",
        "of the `fbs` config of the same model, data and epochs.",
    ]
    if any("ratio" in str(costs["configs"][n]["assumptions"]) for n in names):
        notes.append("Images that keep their ratio count as 4:3 photographs.")
    if any(costs["configs"][name]["train_flops"] is None for name in names):
        notes.append("FLOPs that cannot be counted here are compared by their pixels.")
    lines += notes
    if used:
        lines += ["", "Published figures:", ""]
        lines += [f"- {key}: {published['sources'][key]}." for key in sorted(used)]
    return "\n".join(lines)


def flops_text(cost: Mapping) -> str:
    """Return the FLOPs of a training for a reader."""
    if cost["train_flops"] is None:
        return "not counted"
    factor, prefix = si_prefix(cost["train_flops"])
    return f"{cost['train_flops'] / factor:.4g} {prefix}FLOPs"


def ratio_text(name: str, names: List[str], costs: Mapping) -> str:
    """Return the FLOPs as a share of the baseline's; empty without a baseline."""
    baseline = baseline_of(name, names)
    if baseline is None or baseline == name:
        return ""
    cost, other = costs["configs"][name], costs["configs"][baseline]
    if cost["train_flops"] is None or other["train_flops"] is None:
        return f"{cost['train_pixels'] / other['train_pixels']:.3f} of the pixels"
    return f"{cost['train_flops'] / other['train_flops']:.3f}"


def with_table(readme: str, text: str) -> str:
    """Return a README with its table replaced.

    Raises:
        ValueError: The README has no place for the table.
    """
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"a README of the zoo must have {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"


# ------------------------------------------------------------------------ metafiles


def techniques(config: Mapping) -> List[str]:
    """Return what a config trains with, in the words of the libraries' metafiles."""
    optimizer = str(config["optim_wrapper"]["optimizer"]["type"]).rpartition(".")[2]
    found = [dict(SGD="SGD with Momentum", Lamb="LAMB").get(optimizer, optimizer)]
    model = config["model"]
    augments = (model.get("train_cfg") or {}).get("augments") or []
    found += [augment["type"] for augment in augments]
    loss = (model.get("head") or {}).get("loss") or {}
    if loss.get("type") == "LabelSmoothLoss":
        found.append("Label Smoothing")
    hooks = [hook["type"] for hook in config.get("custom_hooks") or []]
    if "EMAHook" in hooks:
        found.append("EMA")
    if config["train_dataloader"]["sampler"]["type"] == "RepeatAugSampler":
        found.append("Repeated Augmentation")
    return found


def metafile(folder: str, configs: Mapping[str, Mapping], names: List[str]) -> str:
    """Return the metafile of a folder."""
    collections: Dict[str, Dict[str, Any]] = {}
    models: List[Dict[str, Any]] = []
    for name, config in configs.items():
        parts, method = parse_name(name), method_of(name, names)
        collection = f"{method} {ARCHITECTURES[folder]} on {DATA[parts.data]}"
        collections[collection] = dict(
            Name=collection,
            Metadata={
                "Training Data": DATA[parts.data],
                "Architecture": [ARCHITECTURES[folder]],
            },
            Paper=PAPERS[method],
            README=f"configs/{folder}/README.md",
        )
        models.append(
            {
                "Name": name,
                "In Collection": collection,
                "Metadata": {
                    "Training Data": DATA[parts.data],
                    **length_of(config),
                    "Batch Size": parts.total_batch,
                    "Training Techniques": RECIPES[parts.recipe] + techniques(config),
                },
                "Config": f"configs/{folder}/{name}.py",
            }
        )
    content = dict(Collections=list(collections.values()), Models=models)
    return HEADER + yaml.dump(content, sort_keys=False, Dumper=_NoAliases, width=88)


def length_of(config: Mapping) -> Dict[str, int]:
    """Return the epochs or the iterations of a config, as metafiles name them."""
    loop = config["train_cfg"]
    if "max_epochs" in loop:
        return dict(Epochs=loop["max_epochs"])
    return dict(Iterations=loop["max_iters"])


class _NoAliases(yaml.SafeDumper):
    """Write what is twice in the content twice."""

    def ignore_aliases(self, data: Any) -> bool:
        """Return True: aliases are for no reader of metafiles."""
        return True


# ------------------------------------------------------------------------ the files


def pages(costs: Mapping, configs: Mapping[str, Mapping]) -> Dict[str, str]:
    """Return all files that are written, by path.

    Args:
        costs: As in ``docs/results/zoo.json``.
        configs: Loaded configs of the zoo by name.
    """
    published = read_published()
    files = zoo_configs()
    folders: Dict[str, List[str]] = {}
    for name, file in files.items():
        folders.setdefault(folder_of(file), []).append(name)
    unknown = sorted({*published["figures"], *published["trained"]} - set(files))
    if unknown:
        raise ValueError(f"{PUBLISHED} names configs that do not exist: {unknown}")
    found: Dict[str, str] = {}
    for folder, names in folders.items():
        names = sorted(names, key=lambda name: order(parse_name(name)))
        readme = osp.join(CONFIGS, folder, "README.md")
        with open(readme, encoding="utf-8") as stream:
            found[readme] = with_table(stream.read(), table(names, costs, published))
        chosen = {name: configs[name] for name in names}
        text = metafile(folder, chosen, list(files))
        found[osp.join(CONFIGS, folder, "metafile.yml")] = text
    imports = [f"  - configs/{folder}/metafile.yml" for folder in sorted(folders)]
    index = "\n".join(["Import:", *imports]) + "\n"
    found[osp.join(ROOT, "model-index.yml")] = index
    readme = osp.join(CONFIGS, "README.md")
    with open(readme, encoding="utf-8") as stream:
        found[readme] = with_table(stream.read(), overview(folders))
    return found


def overview(folders: Mapping[str, List[str]]) -> str:
    """Return the table of all folders."""
    rows = [["folder", "data", "recipes", "configs"]]
    for folder, names in sorted(folders.items()):
        parts = [parse_name(name) for name in names]
        data = sorted({DATA[part.data] for part in parts})
        recipes = [r for r in RECIPES if any(part.recipe == r for part in parts)]
        rows.append(
            [
                f"[{ARCHITECTURES[folder]}]({folder}/README.md)",
                ", ".join(data),
                ", ".join(f"`{recipe}`" for recipe in recipes),
                f"{len(names)}",
            ]
        )
    total = sum(len(names) for names in folders.values())
    rows.append(["all", "", "", f"{total}"])
    return markdown_table(rows, text_columns=(0, 1, 2))


def order(parts: ZooName) -> Any:
    """Return the place of a config in its folder's table."""
    depth = "".join(character for character in parts.model if character.isdigit())
    return (
        parts.data not in ("in1k", "coco"),
        parts.data,
        int(depth or 0),
        parts.model,
        parts.schedule,
        parts.total_batch,
        list(RECIPES).index(parts.recipe),
    )


def out_of_date(costs: Mapping, configs: Mapping[str, Mapping]) -> List[str]:
    """Return the written files that differ from what would be written."""
    found = []
    for path, text in pages(costs, configs).items():
        current = ""
        if osp.exists(path):
            with open(path, encoding="utf-8") as stream:
                current = stream.read()
        if current != text:
            found.append(osp.relpath(path, ROOT))
    return found


def load_configs(folder: Optional[str] = None) -> Dict[str, Any]:
    """Return the configs of the zoo, or those of one folder, loaded, by name."""
    return {
        name: cli.load_config(file)
        for name, file in zoo_configs().items()
        if folder in (None, folder_of(file))
    }


def smoke(folder: str = "mobilenet_v2") -> None:
    """Print the table and the metafile of one folder."""
    configs = load_configs(folder)
    published = read_published()
    print(table(list(configs), read_costs(), published))
    print(metafile(folder, configs, list(zoo_configs())))


def parse_args(argv: List[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--count",
        nargs="*",
        metavar="NAME",
        help="predict the costs that are missing or stale, of all configs or of those "
        "with one of these words in their name",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--check", action="store_true", help="write nothing; exit code 1 if stale"
    )
    what.add_argument(
        "--smoke", action="store_true", help="print what one folder has; write nothing"
    )
    return parser.parse_args(argv)


def main(argv: List[str]) -> int:
    """Run the command."""
    args = parse_args(argv)
    if args.smoke:
        smoke()
        return 0
    configs = load_configs()
    if args.count is not None:
        update_costs(configs, args.count)
    costs = read_costs()
    missing = stale(costs, configs)
    if missing:
        print("costs are stale, run with --count: " + ", ".join(missing))
        return 1
    if args.check:
        old = out_of_date(costs, configs)
        for path in old:
            print(f"{path} is out of date: run tools/misc/zoo_tables.py")
        return 1 if old else 0
    for path, text in pages(costs, configs).items():
        write_atomically(text.encode(), path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
