"""Tiny image trees and configurations for the dataset tests."""

import io
import json
from pathlib import Path

from PIL import Image
from yacs.config import CfgNode

from dassl.config import get_cfg_default
from dassl.data.datasets import DatasetBase, build_dataset

PACS = ("art_painting", "cartoon", "photo", "sketch")


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
