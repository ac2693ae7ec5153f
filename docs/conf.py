"""Settings of the documentation site; ``make docs`` builds it.

The pages are Markdown that reads well on a code host too. What Markdown itself lacks
here is added by MyST: formulas, the navigation (``index.md``) and the API reference.
"""

import os
import re
import sys
from pathlib import Path
from typing import Any, List

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from mms_plugin.version import __version__  # noqa: E402

project = "mms_plugin"
author = "the authors of mms_plugin"
project_copyright = "the authors of mms_plugin, Apache-2.0"
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx.ext.mathjax",
]
exclude_patterns = ["results"]
# Pages whose text is that of files outside this folder, where others expect them.
BORROWED = {
    "changelog": [ROOT / "CHANGELOG.md"],
    "contributing": [ROOT / "CONTRIBUTING.md"],
    "zoo": [ROOT / "configs/README.md", *sorted(ROOT.glob("configs/*/README.md"))],
}
# A page that is not there, or has nothing to borrow, is left out of the navigation.
left_out = [page for page, files in BORROWED.items() if not files[0].exists()]
if not (ROOT / "docs/datasets.md").exists():
    left_out.append("datasets")
exclude_patterns += [f"{page}.md" for page in left_out]

myst_enable_extensions = ["dollarmath"]
# Anchors of headings are those of GitHub, so that a link works in both places.
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings name the types where they matter
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_custom_sections = [("Errors", "Raises")]

html_theme = "furo"
html_title = f"mms_plugin {__version__}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
if "MMS_MATHJAX" in os.environ:  # a copy of MathJax, for a look without a network
    mathjax_path = os.environ["MMS_MATHJAX"]


def page_of(file: Path) -> str:
    """Return the page that shows a file, with its anchor; empty if none does."""
    if file.parent == ROOT / "docs" and file.suffix == ".md":
        return file.name
    for page, files in BORROWED.items():
        if file in files and page not in left_out:
            title = file.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
            anchor = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
            return f"{page}.md" if file == files[0] else f"{page}.md#{anchor}"
    return ""


def site_links(text: str, folder: Path) -> str:
    """Return Markdown whose links lead to pages of the site.

    A file that is on no page keeps its text, and its path follows as code.

    Args:
        text: Markdown of a file.
        folder: The folder that its relative links start from.
    """

    def replace(link: "re.Match[str]") -> str:
        label, target, anchor = link.group(1), link.group(2), link.group(3) or ""
        file = (folder / target).resolve()
        if "://" in target or not target or not file.exists():
            return link.group(0)
        page = page_of(file / "README.md" if file.is_dir() else file)
        if page:
            return f"[{label}]({page if '#' in page else page + anchor})"
        if folder == ROOT / "docs" and file.is_relative_to(folder):
            return link.group(0)  # a picture, a file to download
        return f"{label} (`{file.relative_to(ROOT)}`)"

    return re.sub(r"(?<!!)\[([^\]]*)\]\(([^)#\s]*)(#[^)\s]*)?\)", replace, text)


def change_source(app: Any, page: str, source: List[str]) -> None:
    """Fill in what a page borrows, and let links lead to pages of the site."""
    if page in BORROWED:
        texts = []
        for file in BORROWED[page]:
            app.env.note_dependency(str(file))
            text = site_links(file.read_text(encoding="utf-8"), file.parent)
            # The others one level below the first file's title; code stays.
            parts = re.split(r"(^```.*?^```)", text, flags=re.M | re.S)
            if texts:
                parts[::2] = [
                    re.sub(r"^#(?=#* )", "##", part, flags=re.M) for part in parts[::2]
                ]
            texts.append("".join(parts))
        source[0] = "\n\n".join(texts)
    else:
        source[0] = site_links(source[0], ROOT / "docs")
    if page == "index":
        lines = source[0].splitlines()
        source[0] = "\n".join(
            line
            for line in lines
            if not line.endswith(tuple(f"<{p}>" for p in left_out))
        )


def setup(app: Any) -> None:
    """Connect what changes a page before it is parsed."""
    app.connect("source-read", change_source)
