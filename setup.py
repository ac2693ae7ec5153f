"""Build script: ``pip install -e .`` or ``pip install -e .[cls,det]``."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent


def read_version() -> str:
    """Read the version without importing the package (torch may be absent)."""
    text = (ROOT / "mms_plugin" / "version.py").read_text(encoding="utf-8")
    match = re.search(r'^__version__ = "([^"]+)"$', text, flags=re.MULTILINE)
    if match is None:
        raise RuntimeError('mms_plugin/version.py holds no line __version__ = "..."')
    return match.group(1)


def read_readme() -> str:
    readme = ROOT / "README.md"
    return readme.read_text(encoding="utf-8") if readme.is_file() else ""


setup(
    name="mms_plugin",
    version=read_version(),
    description=(
        "Multi-scale variable-batch sampling with a resolution curriculum, and "
        "AGVM, for MMEngine, MMPreTrain and MMDetection"
    ),
    long_description=read_readme(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["mms_plugin", "mms_plugin.*"]),
    package_data={"mms_plugin": ["py.typed", "evaluation/imagenet_wnids.txt"]},
    include_package_data=False,
    zip_safe=False,
    python_requires=">=3.8",
    install_requires=["mmengine>=0.10.0,<1.0", "torch>=2.0", "numpy"],
    extras_require={
        "cls": ["mmcv>=2.0.0,<2.3", "mmpretrain>=1.0.0,<2.0"],
        "det": ["mmcv>=2.0.0,<2.3", "mmdet>=3.0.0,<4.0"],
        "seg": ["mmcv>=2.0.0,<2.2", "mmsegmentation>=1.0.0,<2.0", "ftfy", "regex"],
        "corruptions": ["imagecorruptions-imaug>=1.1.5"],
        "dev": [
            "hypothesis",
            "matplotlib",
            "mypy",
            "pytest",
            "pytest-timeout",
            "ruff",
            "tensorboard",
            "torchmetrics",
        ],
        "docs": ["sphinx", "myst-parser", "sphinx-rtd-theme"],
    },
    classifiers=[
        "License :: OSI Approved :: Apache Software License",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
)
