"""The pages of the documentation, and what lies in them, for the tests."""

import json
import re
import shlex
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    [ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("configs/**/README.md")]
)
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]

LOOP = re.compile(r"\bfor (\w+) in ([^;\n]+); do\b")


def snippets(page):
    """Return the Python of this package; other libraries' is fenced as ``py``."""
    text = (ROOT / page).read_text()
    return re.findall(r"^```python\n(.*?)^```", text, flags=re.M | re.S)


def first_with(page, word):
    return next(text for text in snippets(page) if word in text)


def shell_blocks(page):
    """Return the text of each block of commands, fenced as shell or indented."""
    text = (ROOT / page).read_text()
    fenced = re.findall(r"^```(?:shell|bash)\n(.*?)^```", text, flags=re.M | re.S)
    plain = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    indented = re.findall(r"(?:(?<=\n\n)|\A)((?: {4}\S.*\n)+)", plain)
    # An indented block may hold a formula or what a command printed.
    word = r" +(?:[A-Z_]+=\S+ )*(?:python|bash|make|mms|pip|pytest|mim)\b"
    return fenced + [block for block in indented if re.match(word, block)]


def expand_loops(block):
    """Return a block of commands with its ``for`` loops written out."""
    loops = LOOP.findall(block)
    body = re.sub(r"(?m)^\s*done(; done)*;?\s*$", "", LOOP.sub("", block))
    written = []
    for values in product(*(names.split() for _, names in loops)):
        text = body
        for (variable, _), value in zip(loops, values):
            text = re.sub(rf"\$\{{?{variable}\b\}}?", value, text)
        written.append(text)
    return "\n".join(written)


def commands(page):
    """Return each command of a page as the list of its words, without variables."""
    found = []
    for block in shell_blocks(page):
        text = expand_loops(block).replace("\\\n", " ")
        for line in text.splitlines():
            if re.match(r"export |\w+=\$\(", line):  # sets a variable only
                continue
            words = shlex.split(line, comments=True)
            while words and re.match(r"[A-Z_]+=", words[0]):
                words = words[1:]
            if ">" in words:
                words = words[: words.index(">")]
            if words:
                found.append(words)
    return found


def write_images(folder, sizes):
    """Write JPEGs of ``(height, width)``, and return their names."""
    cv2 = pytest.importorskip("cv2")
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i, (height, width) in enumerate(sizes):
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{i}.jpg"), image)
    return [f"{i}.jpg" for i in range(len(sizes))]


def write_coco(root, sizes):
    """Write a dataset of COCO's form, with one square object an image."""
    names = write_images(root / "train2017", sizes)
    images, annotations = [], []
    for i, (name, (height, width)) in enumerate(zip(names, sizes)):
        images.append(dict(id=i, file_name=name, height=height, width=width))
        polygon = [10, 10, 50, 10, 50, 50, 10, 50]
        annotations.append(
            dict(
                id=i + 1,
                image_id=i,
                category_id=1,
                bbox=[10, 10, 40, 40],
                area=1600,
                iscrowd=0,
                segmentation=[polygon],
            )
        )
    (root / "annotations").mkdir()
    (root / "annotations" / "instances_train2017.json").write_text(
        json.dumps(
            dict(
                images=images,
                annotations=annotations,
                categories=[dict(id=1, name="person")],
            )
        )
    )


def load_batches(config, scope):
    """Return the batch sampler and all batches of a train data loader."""
    config.train_dataloader.num_workers = 0
    pytest.importorskip(scope)
    with DefaultScope.overwrite_default_scope(scope):
        loader = Runner.build_dataloader(config.train_dataloader, seed=0)
        return loader.batch_sampler, list(loader)
