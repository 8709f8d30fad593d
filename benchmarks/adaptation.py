"""Adapting 16 images together against one at a time: TPT, PromptAlign and PromptSync with the mini backbone."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.timing import Row, compare
from dassl.engine import build_trainer
from dassl.talk import quiet
from promptshift.adapting.trainer import AdaptingTrainer
from promptshift.mini import MINI_DG, render_world
from promptshift.modeling.prototypes import SourcePrototypes
from promptshift.paths import checkout
from promptshift.runs.config import build_cfg

_IMAGES, _ALONE = 16, 8  # adapted together; one at a time, whose time is scaled
_TRAINERS = ("TPT", "PromptAlign", "PromptSync")


def adaptation_rows(device: str) -> list[Row]:
    """A row per trainer: seconds an image, views already read; logits of both ways are compared.

    Images are random, and so are the source statistics and prototypes, which costs the same as true ones.
    """
    with tempfile.TemporaryDirectory() as folder:
        render_world(MINI_DG, Path(folder) / "mini_dg", per_class=2)
        return [_row(name, folder, device) for name in _TRAINERS]


def _row(name: str, folder: str, device: str) -> Row:
    with quiet():  # the trainer's own talk
        trainer = _trainer(name, folder, device)
    size = trainer.clip.image_size
    views = torch.randn(_IMAGES, trainer.options.VIEWS, 3, size, size, generator=torch.Generator().manual_seed(0))

    def one_at_a_time() -> Tensor:
        return torch.cat([trainer.adapt(view)[0] for view in views[:_ALONE].split(1)])

    row = compare(
        f"{name}, {_IMAGES} images together, an image",
        one_at_a_time,
        lambda: trainer.adapt(views)[0],
        3,
        share=_ALONE / _IMAGES,
        tolerance=1e-3,
    )
    return Row(row.what, row.plain / _IMAGES, row.ours / _IMAGES, row.ratio, row.difference)


def _trainer(name: str, folder: str, device: str) -> AdaptingTrainer:
    configs = checkout() / "configs"
    cfg, _ = build_cfg(
        [
            "--trainer",
            name,
            "--root",
            folder,
            "--seed",
            "1",
            "--target-domains",
            "sketch",
            "--dataset-config-file",
            str(configs / "datasets/mini.yaml"),
            "--config-file",
            str(configs / f"trainers/{name}/mini.yaml"),
            "--output-dir",
            folder,
            "USE_CUDA",
            str(device.startswith("cuda")),
        ]
    )
    torch.manual_seed(0)
    trainer = build_trainer(cfg)
    trainer.set_model_mode("eval")
    if name != "TPT":
        trainer.source, trainer.source_template = _random_source(trainer), trainer.template
    return trainer


def _random_source(trainer: AdaptingTrainer) -> SourcePrototypes:
    tower, classes = trainer.tower, trainer.num_classes
    shape = (tower.layers, tower.visual.positional_embedding.shape[0] + trainer.options.N_CTX, tower.width)

    def unit(*size: int) -> Tensor:
        return torch.nn.functional.normalize(torch.randn(*size, trainer.clip.embed_dim), dim=-1)

    return SourcePrototypes(
        torch.randn(shape), torch.rand(shape), unit(classes), unit(2, classes), unit(classes), {}
    ).to(trainer.device)
