"""For tools that look for it; pyproject.toml says all."""

from setuptools import setup

setup()
