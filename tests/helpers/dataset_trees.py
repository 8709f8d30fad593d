"""Tiny image trees and configurations for the dataset tests."""

import io
import json
from pathlib import Path

from PIL import Image
from yacs.config import CfgNode

from dassl.config import get_cfg_default
from dassl.data.datasets import DatasetBase, build_dataset
from datasets._image_facts import IMAGE_SETS
from promptshift.paths import load_plugins

load_plugins()

PACS = ("art_painting", "cartoon", "photo", "sketch")
SYNSETS = {f"n{index:08}": name for index, name in enumerate(("tench", "great white shark", "hen"), start=1)}


def png_bytes() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 30, 60)).save(buffer, "png")
    return buffer.getvalue()


PNG = png_bytes()


def write_images(folder: Path, count: int, suffix: str = ".png") -> None:
    """`count` images called 000.png, 001.png, ... (the bytes are PNG whatever the suffix)."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        (folder / f"{index:03}{suffix}").write_bytes(PNG)


def make_pacs(root: Path, classes: tuple[str, ...] = ("dog", "horse", "person"), count: int = 10) -> Path:
    for domain in PACS:
        for name in classes:
            write_images(root / "PACS" / "images" / domain / name, count)
    return root / "PACS"


def make_split_set(root, name="Caltech101", classes=("ant", "bee", "cat"), per_part=6):
    """A dataset in `split_zhou_*` layout: every class has `per_part` train, val and test images."""
    facts = IMAGE_SETS[name]
    folder = root / facts.folder
    split = {"train": [], "val": [], "test": []}
    for label, classname in enumerate(classes):
        write_images(folder / facts.images / classname, 3 * per_part, ".jpg")
        for index in range(3 * per_part):
            part = ("train", "val", "test")[index // per_part]
            split[part].append([f"{classname}/{index:03}.jpg", label, classname])
    (folder / f"split_zhou_{name}.json").write_text(json.dumps(split))
    return folder


def make_imagenet(root, train=8, val=3):
    folder = root / "imagenet"
    for synset in SYNSETS:
        write_images(folder / "images" / "train" / synset, train, ".JPEG")
        write_images(folder / "images" / "val" / synset, val, ".JPEG")
    (folder / "classnames.txt").write_text("".join(f"{synset} {name}\n" for synset, name in SYNSETS.items()))
    return folder


def make_cfg(root: Path, name: str, sources: tuple = (), targets: tuple = (), **options: object) -> CfgNode:
    cfg = get_cfg_default()
    cfg.DATASET.update(
        {
            "ROOT": str(root),
            "NAME": name,
            "SOURCE_DOMAINS": sources,
            "TARGET_DOMAINS": targets,
            "DOWNLOAD": False,
            **options,
        }
    )
    cfg.SEED = 1
    return cfg


def build(root: Path, name: str, sources: tuple = (), targets: tuple = (), **options: object) -> DatasetBase:
    return build_dataset(make_cfg(root, name, sources, targets, **options))


def write_split(folder: Path, code: str, train: list, val: list) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{code}_train_val_split.json"
    path.write_text(json.dumps({"train": train, "val": val, "test": val}))
    return path


def paths(data: list) -> list[str]:
    return [item.impath for item in data]
