"""Installs `promptshift` and `dassl`, and the command `promptshift`.

An installation from the checkout (`pip install -e .`) uses trainers/, datasets/, configs/, papers/ and scripts/ where
they stand. A wheel has them inside the promptshift package: at the top of site-packages, `datasets` and `clip` would
hide other well-known packages.
"""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

HOUSE = ("trainers", "datasets", "configs", "papers", "scripts", "clip")


class BuildWithHouse(build_py):
    """Copies what stands beside the packages into promptshift/_house, where `promptshift.paths.checkout` finds it."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        house = Path(self.build_lib, "promptshift", "_house")
        shutil.rmtree(house, ignore_errors=True)  # of an earlier build
        for name in HOUSE:
            shutil.copytree(name, house / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))


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
    package_data={"promptshift": ["py.typed"], "promptshift.mini": ["*.npz", "*.md"]},
    cmdclass={"build_py": BuildWithHouse},
    entry_points={"console_scripts": ["promptshift = promptshift.cli:main"]},
    install_requires=[
        "torch>=2.6",  # everything; 2.6 is the first that loads weights only by default
        "torchvision",  # image transforms, ImageNet backbones of the fine-tuning baseline
        "open_clip_torch",  # CLIP weights and tokenizers; OpenAI's own package does not import today
        "yacs",  # configuration files in Dassl's grammar
        "gdown",  # datasets that live on Google Drive
        "tabulate",  # result tables
        "tqdm",  # progress bars
        "rich",  # live tables of running jobs
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
        "slurm": ["submitit>=1.5"],  # jobs in a Slurm queue
        "ray": ["ray"],  # jobs on a Ray cluster
        "test": [
            "pytest",
            "pytest-xdist",  # several processes
            "ruff",
            "hypothesis",  # files that nobody thought of, for the readers of what other people send
            "submitit>=1.5",  # its local executor is quick; tests marked slurm and ray need a cluster
        ],
    },
)
