"""Installs `promptshift` and `dassl`; trainers/, datasets/, configs/ and scripts/ are used from the checkout."""

import re
from pathlib import Path

from setuptools import find_packages, setup

VERSION = re.search(r'__version__ = "(.+)"', Path("promptshift/__init__.py").read_text()).group(1)

setup(
    name="promptshift",
    version=VERSION,
    description="CLIP prompt learning under shift: one registered Dassl-style trainer per paper",
    long_description=Path("README.md").read_text(),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.10",
    packages=find_packages(include=["promptshift*", "dassl*"]),
    package_data={"promptshift.mini": ["*.npz", "*.md"]},
    install_requires=[
        "torch>=2.6",  # everything; 2.6 is the first that loads weights only by default
        "torchvision",  # image transforms, ImageNet backbones of the fine-tuning baseline
        "open_clip_torch",  # CLIP weights and tokenizers; OpenAI's own package does not import today
        "yacs",  # configuration files in Dassl's grammar
        "gdown",  # datasets that live on Google Drive
        "tabulate",  # result tables
        "tqdm",  # progress bars
        "scikit-learn",  # macro F1, k-means, logistic regression, t-SNE
        "scipy",  # Hungarian matching, paired tests
        "matplotlib",  # figures
        "tensorboard",  # training curves; needs no pkg_resources (checked with setuptools 84)
        "numpy",  # arrays between all of them
        "pillow",  # images, and the renderer of the embedded world
        "pyyaml",  # published numbers, stored configurations
        "safetensors",  # feature caches and weight files that cannot hold code
        "filelock",  # one writer per shared stage, on every platform
    ],
    extras_require={
        "test": [
            "pytest",
            "pytest-xdist",  # several processes
            "ruff",
            "hypothesis",  # files that nobody thought of, for the readers of what other people send
        ]
    },
)
