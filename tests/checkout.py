"""Copies of the checkout, for tests that build it."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def tracked(*paths):
    """Files of the checkout that git tracks or would; skips where there is no git."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", *paths],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    if listed.returncode:
        pytest.skip("not a git checkout")
    names = set(listed.stdout.splitlines())
    return {name for name in names if (ROOT / name).exists()}


def copy_checkout(folder):
    """Copy what a build needs into a new folder, links as links."""
    for name in tracked(
        "mms_plugin", "configs", "tools", "model-index.yml", "setup.py",
        "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE",
    ):  # fmt: skip
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)
    return folder
