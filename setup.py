"""Build script: ``pip install -e .`` or ``pip install -e .[cls,det]``.

MMEngine is a requirement of the extras only: pip would put it over onedl-mmengine,
which has the same import name. Importing the package without either names both.
"""

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
    python_requires=">=3.9",
    install_requires=["torch>=2.1", "numpy"],
    extras_require={
        "mmengine": ["mmengine>=0.10.3,<1.0"],
        # mmpretrain before 1.2 and every mmdet refuse newer versions of mmcv.
        "cls": [
            "mmengine>=0.10.3,<1.0",
            "mmcv>=2.0.0,<2.3",
            "mmpretrain>=1.2.0,<2.0",
        ],
        "det": ["mmengine>=0.10.3,<1.0", "mmcv>=2.0.0,<2.2", "mmdet>=3.2.0,<4.0"],
        "seg": [
            "mmengine>=0.10.3,<1.0",
            "mmcv>=2.0.0,<2.2",
            "mmsegmentation>=1.2.0,<2.0",
            "ftfy",
            "regex",
        ],
        "onedl-cls": [
            "onedl-mmengine>=0.10.12,<1.0",
            "onedl-mmcv>=2.3.6,<2.4",
            "onedl-mmpretrain>=1.3.6,<2.0",
        ],
        "onedl-det": [
            "onedl-mmengine>=0.10.12,<1.0",
            "onedl-mmcv>=2.3.6,<2.4",
            "onedl-mmdetection>=3.5.1,<4.0",
        ],
        "corruptions": ["imagecorruptions-imaug>=1.1.5"],
        "dev": [
            "hypothesis",
            "matplotlib",
            "mypy",
            "pytest",
            "pytest-timeout",
            "pytest-xdist",
            "ruff",
            "tensorboard",
            "torchmetrics",
        ],
        "docs": ["sphinx", "myst-parser", "sphinx-rtd-theme"],
    },
    classifiers=[
        "License :: OSI Approved :: Apache Software License",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.9",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
)
