"""The documentation site builds without a warning and holds what it should."""

import os
import re
import subprocess
import sys

import pytest
from documentation import ROOT

import mms_plugin

pytest.importorskip("sphinx")
pytest.importorskip("myst_parser")
pytest.importorskip("furo")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built as `make docs` builds it, in a folder of its own."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going"]
    done = subprocess.run(
        [*command, "-d", folder / "doctrees", ROOT / "docs", folder / "html"],
        env=dict(os.environ, PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return folder / "html"


def read(site, page):
    return (site / page).read_text(encoding="utf-8")


def test_every_page_is_in_the_navigation(site):
    home = read(site, "index.html")
    pages = {page.stem for page in ROOT.glob("docs/*.md")} - {"index"}
    built = {page for page in pages if (site / f"{page}.html").exists()}
    assert built == pages
    linked = set(re.findall(r'class="reference internal" href="(\w+)\.html"', home))
    assert built <= linked


def test_the_reference_has_every_public_name(site):
    reference = read(site, "api.html")
    names = set(mms_plugin.__all__) - {"__version__"}
    described = set(re.findall(r'id="mms_plugin\.(\w+)"', reference))
    assert names <= described
    # From the docstrings, with their arguments.
    assert "Images per rank at" in re.sub(r"<[^>]+>", "", reference)


def test_formulas_and_pictures_are_there(site):
    for page in ("msc_vbs", "agvm"):
        text = read(site, f"{page}.html")
        assert 'class="math notranslate' in text
        pictures = re.findall(r'src="(_images/[^"]+)"', text)
        assert pictures
        assert all((site / picture).exists() for picture in pictures)
