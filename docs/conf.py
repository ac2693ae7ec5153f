"""Settings of the documentation site; ``make docs`` builds it.

The pages are Markdown that reads well on a code host too. What Markdown itself lacks
here is added by MyST: formulas, the navigation (``index.md``) and the API reference.
"""

import os
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
# What the pages of the navigation stand on. A page without it is left out.
needed = {"changelog": ROOT / "CHANGELOG.md", "datasets": ROOT / "docs" / "datasets.md"}
left_out = [page for page, file in needed.items() if not file.exists()]
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


def drop_left_out(app: Any, page: str, source: List[str]) -> None:
    """Take the pages that are left out from the navigation."""
    if page == "index":
        lines = source[0].splitlines()
        source[0] = "\n".join(line for line in lines if line not in left_out)


def setup(app: Any) -> None:
    """Connect what changes a page before it is parsed."""
    app.connect("source-read", drop_left_out)
