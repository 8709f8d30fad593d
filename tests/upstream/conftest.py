"""Copies of the checkout, plain and with a public repository's files over ours, and runs in them."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from helpers.mini_runs import small_mini_world

CHECKOUT, DRIVER = Path(__file__).resolve().parents[2], Path(__file__).with_name("driver.py")
# the mini world under the name of a data set that public files have a template for; ours has the same one
DATASET = '''"""Stands for Caltech101."""

from dassl.data.datasets import DATASET_REGISTRY


@DATASET_REGISTRY.register()
class Caltech101(DATASET_REGISTRY.get("MiniDG")):
    pass
'''
FOLDERS = {"KgCoOp": "KgCoOp/KgCoOp"}  # where a repository has its trainers/ in a folder


@pytest.fixture(scope="session")
def upstream():
    """upstream(repository) -> its folder below $UPSTREAM; the test is skipped where it is not there."""

    def find(repository):
        root = os.environ.get("UPSTREAM")
        if not root:
            pytest.skip("UPSTREAM is not set: clone the public repositories below a folder and name it there")
        folder = Path(root, FOLDERS.get(repository, repository))
        if not (folder / "trainers").is_dir():
            pytest.skip(f"{folder} has no trainers/: clone {repository} there")
        return folder

    return find


@pytest.fixture
def checkout(tmp_path):
    """checkout(name, *files, clip=None) -> a copy of the checkout with trainer files, and a clip/, over ours."""

    def copy(name, *files, clip=None):
        folder = tmp_path / name
        for part in ("promptshift", "dassl", "clip", "trainers", "datasets", "configs"):
            shutil.copytree(CHECKOUT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "datasets" / "caltech101.py").write_text(DATASET)
        (folder / "train.py").write_text((CHECKOUT / "train.py").read_text())
        for file in files:
            shutil.copy(file, folder / "trainers")
        if clip is not None:
            shutil.rmtree(folder / "clip")
            shutil.copytree(clip, folder / "clip", ignore=shutil.ignore_patterns("__pycache__"))
        return folder

    return copy


@pytest.fixture(scope="session")
def few_images(tmp_path_factory):
    """A data root with 4 images per class and domain: half precision is slow on a CPU."""
    return small_mini_world(tmp_path_factory.mktemp("few"), per_class=4)


@pytest.fixture
def trained(few_images, tmp_path):
    """trained(checkout, trainer, config, *options, weights=None) -> (losses as printed, result.json) of two epochs."""

    def run(checkout, trainer, config, *options, weights=None, flags=()):
        out = tmp_path / f"out-{checkout.name}"
        argv = [
            *("--root", few_images, "--output-dir", out, "--trainer", trainer, "--seed", 1, *flags),
            *("--dataset-config-file", "configs/datasets/mini.yaml", "--config-file", f"configs/trainers/{config}"),
            *("--source-domains", "photo", "--target-domains", "sketch", "DATASET.NAME", "Caltech101"),
            *(
                "DATASET.NUM_SHOTS",
                2,
                "DATALOADER.TRAIN_X.BATCH_SIZE",
                16,
                "DATALOADER.TRAIN_X.FEATURE_VIEWS",
                0,
                "OPTIM.MAX_EPOCH",
                2,
            ),
            *("TEST.FINAL_MODEL", "last_step", "TRAIN.PRINT_FREQ", 1, *options),
        ]
        places = {"START": str(tmp_path / "start.pt"), "OUTPUT": str(tmp_path / "output"), "HOME": str(tmp_path)}
        places |= {"WEIGHTS": str(weights)} if weights else {}
        command = [sys.executable, str(DRIVER), *map(str, argv)]
        done = subprocess.run(
            command, cwd=checkout, env=os.environ | places, capture_output=True, text=True, timeout=1200
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        losses = [line for line in done.stdout.splitlines() if line.startswith("epoch [")]
        printed = [float(re.search(r"(?<!_)loss ([\d.]+) \(", line)[1]) for line in losses]
        return printed, json.loads((out / "result.json").read_text())

    return run


@pytest.fixture(scope="session")
def vit_b16_widths(tmp_path_factory):
    """A random CLIP with ViT-B/16's widths (768, 512), which public files fix, two blocks a tower, 48 pixels."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape, std=0.02):
        return std * torch.randn(*shape, generator=generator)

    def tower(prefix, width):
        for i in range(2):
            block = f"{prefix}.resblocks.{i}"
            yield f"{block}.attn.in_proj_weight", draw(3 * width, width)
            yield f"{block}.attn.in_proj_bias", draw(3 * width)
            yield f"{block}.attn.out_proj.weight", draw(width, width)
            yield f"{block}.attn.out_proj.bias", draw(width)
            for norm in ("ln_1", "ln_2"):
                yield f"{block}.{norm}.weight", torch.ones(width)
                yield f"{block}.{norm}.bias", torch.zeros(width)
            yield f"{block}.mlp.c_fc.weight", draw(4 * width, width)
            yield f"{block}.mlp.c_fc.bias", draw(4 * width)
            yield f"{block}.mlp.c_proj.weight", draw(width, 4 * width)
            yield f"{block}.mlp.c_proj.bias", draw(width)

    state = dict(tower("visual.transformer", 768)) | dict(tower("transformer", 512))
    state |= {
        "visual.class_embedding": draw(768),
        "visual.positional_embedding": draw(10, 768),
        "visual.proj": draw(768, 512, std=0.03),
        "visual.conv1.weight": draw(768, 3, 16, 16),
        "positional_embedding": draw(77, 512),
        "text_projection": draw(512, 512, std=0.03),
        "token_embedding.weight": draw(49408, 512),
        "logit_scale": torch.tensor(3.0),
    }
    for name, width in (("visual.ln_pre", 768), ("visual.ln_post", 768), ("ln_final", 512)):
        state |= {f"{name}.weight": torch.ones(width), f"{name}.bias": torch.zeros(width)}
    path = tmp_path_factory.mktemp("weights") / "vit_b16_widths.pt"
    torch.save({name: value.half() for name, value in state.items()}, path)  # the precision that OpenAI ships
    return path
