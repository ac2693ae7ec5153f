"""The Python and the commands of the documentation run as they are written."""

import ast
import importlib
import io
import re
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest
from documentation import (
    NAMES,
    ROOT,
    commands,
    load_batches,
    snippets,
    write_coco,
    write_images,
)
from mmengine.config import Config
from mmengine.dataset import Compose, DefaultSampler
from mmengine.evaluator import Evaluator
from mmengine.hub import get_config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATA_SAMPLERS, HOOKS, PARAM_SCHEDULERS, DefaultScope
from torch import nn

from mms_plugin import recipes
from mms_plugin.commands import mms, training_cost

SNIPPETS = [(name, i) for name in NAMES for i in range(len(snippets(name)))]


class Detector(nn.Module):
    """The modules that snippets of optimizer wrappers name."""

    def __init__(self):
        super().__init__()
        for name in ("backbone", "neck", "rpn_head", "head"):
            setattr(self, name, nn.Linear(2, 2))


def toy_data(config, folder):
    """Put made-up files under the dataset of a config, and return its scope."""
    sizes = [(60, 80), (80, 60)] * 20
    dataset = config
    while "dataset" in dataset:
        dataset = dataset["dataset"]
    if dataset.type == "CocoDataset":
        write_coco(folder, sizes)
        dataset.data_root = f"{folder}/"
        return "mmdet"
    names = write_images(folder / "train" / "a", sizes)
    if dataset.type == "ImageNet":
        (folder / "train.txt").write_text("".join(f"a/{name} 0\n" for name in names))
        dataset.update(data_root=str(folder), split="train", ann_file="train.txt")
    else:
        dataset.data_prefix = str(folder / "train")
    return "mmpretrain"


def load(value, folder):
    """Load every batch of a data loader's first epoch, each with the planned images."""
    if "dataset" not in value or "batch_sampler" not in value:
        if "sampler" in value:
            DATA_SAMPLERS.build(dict(value.sampler, dataset=range(100)))
        return
    scope = toy_data(value.dataset, folder)
    config = Config(dict(train_dataloader=value))
    sampler, batches = load_batches(config, scope)
    planned = [number for _, _, number in sampler.plan(0)]
    assert [len(batch["inputs"]) for batch in batches] == planned


def run_pipeline(value, folder):
    if any("LoadAnnotations" in str(step) or "Mosaic" in str(step) for step in value):
        pytest.importorskip("mmdet")
        with DefaultScope.overwrite_default_scope("mmdet"):
            Compose(value)
        return
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        Compose(value)(dict(img=np.zeros((64, 64, 3)), target_size=(32, 48)))


def build_hooks(value, folder):
    for hook in value.values() if isinstance(value, dict) else value:
        HOOKS.build(hook)


def build_optimizer(value, folder):
    model = Detector()
    wrapper = build_optim_wrapper(model, value)
    assert set(wrapper.agvm.multipliers) <= {*dict(model.named_children()), "rest"}


def build_schedulers(value, folder):
    optimizer = build_optim_wrapper(
        Detector(), dict(optimizer=dict(type="SGD", lr=0.1))
    )
    for scheduler in value:
        PARAM_SCHEDULERS.build(dict(scheduler, optimizer=optimizer))


def build_sampler(value, folder):
    inner = DefaultSampler(range(100), seed=0)
    sampler = DATA_SAMPLERS.build(dict(value, sampler=inner, batch_size=8))
    assert sum(len(batch) for batch in sampler) == 100


def build_evaluator(value, folder):
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        Evaluator(value)


BUILDERS = dict(
    train_dataloader=load,
    pipeline=run_pipeline,
    custom_hooks=build_hooks,
    default_hooks=build_hooks,
    optim_wrapper=build_optimizer,
    param_scheduler=build_schedulers,
    batch_sampler=build_sampler,
    test_evaluator=build_evaluator,
)
# Loaded with the config; nothing to build without a runner.
PLAIN = {"_base_", "custom_imports", "model", "train_cfg", "warmup_iters"}


def assigned(text):
    """Return the names that a config sets at its top level."""
    nodes = [node for node in ast.parse(text).body if isinstance(node, ast.Assign)]
    return [target.id for node in nodes for target in node.targets]


@pytest.mark.parametrize(("name", "number"), SNIPPETS)
def test_python_runs(name, number, tmp_path, monkeypatch):
    text = snippets(name)[number]
    pytest.importorskip("mmdet")
    pytest.importorskip("mmpretrain")
    monkeypatch.chdir(tmp_path)
    if re.search(r"^(import|from) ", text, flags=re.M):
        (tmp_path / "my_config.py").write_text(
            '_base_ = "mmpretrain::resnet/resnet18_8xb32_in1k.py"\n'
        )
        with redirect_stdout(io.StringIO()):
            exec(compile(text, name, "exec"), {"__name__": "snippet"})
        return
    names = assigned(text)
    assert names
    assert set(names) <= {*BUILDERS, *PLAIN}
    config = Config.fromstring(text, ".py")
    for key in names:
        if key in BUILDERS and not (key == "train_dataloader" and "_base_" in names):
            folder = tmp_path / key
            folder.mkdir()
            BUILDERS[key](config[key], folder)


def check_config(name):
    """A config that is named is there: of this project or of a library."""
    if "::" in name:
        library = name.split("::")[0]
        pytest.importorskip(library)
        get_config(name)
    elif name.startswith("configs/"):
        assert (ROOT / name).is_file(), name
    else:
        # The user's own, or a placeholder.
        assert re.match(r"(work_dirs/\w+/)?[\w.$]+$", name), name


def check_arguments(module, words):
    """The command reads its arguments; configs, recipes and options are known."""
    read = importlib.import_module(f"mms_plugin.commands.{module}").parse_args(words)
    for key in ("config", "baseline", "test_data"):
        if getattr(read, key, None):
            check_config(getattr(read, key))
    chosen = (getattr(read, "recipe", None) or "").split("+")
    known = set()
    for recipe in filter(None, chosen):
        assert recipe in recipes.RECIPES
        known |= set(recipes.option_names(recipe))
    options = getattr(read, "recipe_options", None) or {}
    assert {key.split(".")[0] for key in options} <= known


DOORS = {
    "tools/train.py": "train",
    "tools/test.py": "test",
    **{
        f"tools/analysis_tools/{name}.py": name
        for name in (
            "browse_batches",
            "calibrate_batch_sizes",
            "plot_training",
            "reliability",
            "training_cost",
        )
    },
}
MODULES = {"pytest", "mim", "sphinx", "mms_plugin"}
OTHERS = {"cd", "git", "lint-imports", "mim", "docker", "source"}


def check_python(words):
    if words[0] == "-m":
        assert words[1] in MODULES
        return
    script = words[0]
    if script.startswith("$MMDET/"):
        mmdet = pytest.importorskip("mmdet")
        assert (Path(mmdet.__file__).parent / script[len("$MMDET/") :]).is_file()
        return
    assert (ROOT / script).is_file()
    if script in DOORS:
        check_arguments(DOORS[script], words[1:])


def check_bash(words):
    script, *rest = words
    assert (ROOT / script).is_file()
    if script == "tools/dist_train.sh":
        assert rest[1].isdigit()
        check_arguments("train", [rest[0], *rest[2:]])
    elif script == "tools/dist_test.sh":
        assert rest[2].isdigit()
        check_arguments("test", [*rest[:2], *rest[3:]])
    elif script == "tools/slurm_train.sh":
        check_arguments("train", [rest[2], *rest[4:]])


def check_make(words):
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.M)
    assert set(words) <= set(targets)


def check_mms(words):
    check_arguments(mms.COMMANDS[words[0]][0], words[1:])


def check_torchrun(words):
    assert words[:1] == ["--nproc-per-node"] and words[1].isdigit()
    assert words[2:4] == ["-m", "mms_plugin"]
    check_mms(words[4:])


def check_pip(words):
    extras = [extra for word in words for extra in re.findall(r"\[(\w[\w,-]*)\]", word)]
    metadata = "".join(
        (ROOT / file).read_text() for file in ("setup.py", "pyproject.toml")
    )
    for extra in ",".join(extras).split(","):
        assert not extra or re.search(rf'^\s*"?{extra}"?\s*[:=]', metadata, flags=re.M)


CHECKS = {
    "python": check_python,
    ".venv/bin/python": check_python,
    "bash": check_bash,
    "make": check_make,
    "mms": check_mms,
    "torchrun": check_torchrun,
    "pip": check_pip,
}


@pytest.mark.parametrize("name", NAMES)
def test_commands_are_right(name, capsys):
    for words in commands(name):
        if words[0] in CHECKS:
            try:
                CHECKS[words[0]](words[1:])
            except SystemExit:
                pytest.fail(f"{' '.join(words)}: {capsys.readouterr().err}")
        else:
            assert words[0] in OTHERS, words


@pytest.mark.parametrize("name", ["docs/get_started.md", "docs/batch_256_on_8_gpus.md"])
def test_the_printed_lines_are_those_of_the_command(name, capsys):
    """The first cost command of the page prints what the page shows of it."""
    pytest.importorskip("mmdet")
    pytest.importorskip("mmpretrain")
    script = "tools/analysis_tools/training_cost.py"
    words = next(words for words in commands(name) if words[1] == script)
    shown = re.search(r"^```text\n(.*?)^```", (ROOT / name).read_text(), re.M | re.S)
    training_cost.main(words[2:])
    printed = "".join(capsys.readouterr()).splitlines()
    assert set(shown.group(1).splitlines()) <= set(printed)
