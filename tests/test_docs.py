"""The documentation: links, names of files, commands and snippets are right."""

import ast
import re

import pytest
from documentation import (
    NAMES,
    ROOT,
    first_with,
    load_batches,
    snippets,
    write_coco,
    write_images,
)
from mmengine.config import Config
from mmengine.registry import HOOKS


def anchors(page):
    """Return the anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    found = set()
    for heading in re.findall(r"^#+ (.+)$", text, flags=re.M):
        heading = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        found.add(re.sub(r"[^\w\- ]", "", heading).replace(" ", "-"))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name):
    page = ROOT / name
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert not broken


@pytest.mark.parametrize("name", NAMES)
def test_named_files_exist(name):
    pattern = r"(?<![\w./-])((?:tools|docs|configs|tests|mms_plugin)/[\w./-]*\w\.\w+)"
    named = set(re.findall(pattern, (ROOT / name).read_text()))
    assert not {path for path in named if not (ROOT / path).exists()}


@pytest.mark.parametrize("name", NAMES)
def test_options_in_commands_exist(name):
    text = (ROOT / name).read_text().replace("\\\n", " ")
    wrong = []
    for script, arguments in re.findall(r"python (tools/\S+\.py)([^\n`#]*)", text):
        # Of the script, or of what the commands or the benchmarks share.
        files = [ROOT / script, *ROOT.glob("mms_plugin/c*/*.py")]
        if script.startswith("tools/benchmarks/"):
            files.append(ROOT / "tools/benchmarks/lab/arguments.py")
        if "parse_known_args" in files[0].read_text():  # hands options on
            files += ROOT.glob("tools/analysis_tools/*.py")
        source = "".join(file.read_text() for file in files)
        for option in re.findall(r"(?<!\S)--[a-z][a-z-]+", arguments):
            if f'"{option}"' not in source:
                wrong.append((script, option))
    assert not wrong


@pytest.mark.parametrize("name", NAMES)
def test_python_snippets_are_python(name):
    for text in snippets(name):
        ast.parse(text)


def test_architecture_names_what_exists():
    defined = set()
    for file in ROOT.glob("mms_plugin/**/*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ClassDef):
                defined.add(node.name)
                methods = [n for n in node.body if isinstance(n, ast.FunctionDef)]
                defined |= {f"{node.name}.{method.name}" for method in methods}
            elif isinstance(node, ast.FunctionDef):
                defined.add(node.name)
    rows = re.findall(
        r"^\| +\d+ \| (.+?) \|", (ROOT / "docs/architecture.md").read_text(), re.M
    )
    rows += re.findall(
        r"^\| (`\w+Halves`) \|", (ROOT / "docs/architecture.md").read_text(), re.M
    )
    named = {name for row in rows for name in re.findall(r"`([\w.]+)`", row)}
    assert len(named) > 20
    assert named - {"__getitem__"} <= defined


def test_architecture_names_every_folder():
    text = (ROOT / "docs/architecture.md").read_text()
    folders = {file.parent.name for file in ROOT.glob("mms_plugin/*/__init__.py")}
    assert folders <= set(re.findall(r"^\| `(\w+)` \|", text, flags=re.M))


@pytest.mark.parametrize("page", ["README.md", "docs/msc_vbs.md"])
def test_the_config_of_a_classifier_loads_batches(page, tmp_path):
    config = Config.fromstring(first_with(page, "train_dataloader"), ".py")
    names = write_images(tmp_path / "train", [(60, 80)] * 100)
    (tmp_path / "train.txt").write_text("".join(f"{name} 0\n" for name in names))
    dataset = config.train_dataloader.dataset.dataset
    dataset.update(data_root=str(tmp_path), split="train", ann_file="train.txt")
    sampler, batches = load_batches(config, "mmpretrain")
    got = [(*b["inputs"][0].shape[1:], len(b["inputs"])) for b in batches]
    assert got == sampler.plan(0)
    assert len(set(got)) > 1
    for hook in config.custom_hooks:
        HOOKS.build(hook)


def detection_config(tmp_path, pipeline=None):
    pytest.importorskip("mmdet")
    text = first_with("docs/detection.md", "train_dataloader")
    config = Config.fromstring(text, ".py")
    # Small, so that it is quick: the configs' own sizes make no difference here.
    config.train_dataloader.batch_sampler.update(base_size=128, sizes=[96, 128, 160])
    dataset = config.train_dataloader.dataset.dataset
    dataset.data_root = str(tmp_path) + "/"
    if pipeline is not None:
        dataset.pipeline = pipeline
    return config


def test_the_config_of_a_detector_loads_batches(tmp_path):
    write_coco(tmp_path, [(80, 120), (120, 80)] * 10)
    sampler, batches = load_batches(detection_config(tmp_path), "mmdet")
    plan = sampler.plan(0)
    assert [len(batch["inputs"]) for batch in batches] == [n for _, _, n in plan]
    for (height, width, _), batch in zip(plan, batches):
        shapes = {tuple(image.shape[1:]) for image in batch["inputs"]}
        assert len({h > w for h, w in shapes}) == 1
        assert {max(shape) for shape in shapes} == {max(height, width)}
        assert all(len(s.gt_instances.masks) == 1 for s in batch["data_samples"])


def pipeline_with(word):
    return Config.fromstring(first_with("docs/detection.md", word), ".py").pipeline


def test_the_pipeline_with_jitter_gives_the_size(tmp_path):
    write_coco(tmp_path, [(80, 120), (120, 80)] * 10)
    config = detection_config(tmp_path, pipeline_with("RandomResize"))
    sampler, batches = load_batches(config, "mmdet")
    for (height, width, _), batch in zip(sampler.plan(0), batches):
        assert {tuple(x.shape[1:]) for x in batch["inputs"]} == {(height, width)}


def test_the_pipeline_with_mosaic_gives_the_size(tmp_path):
    write_coco(tmp_path, [(80, 120), (120, 80)] * 10)
    config = detection_config(
        tmp_path,
        [dict(type="LoadImageFromFile"), dict(type="LoadAnnotations", with_bbox=True)],
    )
    wrapper = config.train_dataloader.dataset
    wrapper.dataset = dict(
        type="MultiImageMixDataset",
        dataset=wrapper.dataset,
        pipeline=pipeline_with("MultiScaleMosaic"),
    )
    sampler, batches = load_batches(config, "mmdet")
    for (height, width, _), batch in zip(sampler.plan(0), batches):
        assert {tuple(x.shape[1:]) for x in batch["inputs"]} == {(height, width)}


def test_the_iterations_that_are_printed_are_in_the_table(capsys):
    page = "docs/msc_vbs.md"
    exec(compile(first_with(page, "total_batches"), page, "exec"), {})
    fixed, multi_scale, curriculum = map(int, capsys.readouterr().out.split())
    row = (
        f"| {fixed:,} | {multi_scale:,} ({multi_scale / fixed:.2f}) "
        f"| {curriculum:,} ({curriculum / fixed:.2f}) |"
    )
    assert row in (ROOT / page).read_text()
