"""An epoch of SPG's second stage against one of DPSPG's: same images, fresh augmentation, the mini backbone."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

import torch

from benchmarks.timing import Row, clock
from dassl.engine import build_trainer
from dassl.talk import quiet
from promptshift.bases.generated_prompts import GeneratedPrompts
from promptshift.mini import MINI_DG, render_world
from promptshift.paths import checkout
from promptshift.runs.config import build_cfg

_PER_CLASS = 12  # images per class and domain: 480 training images in three source domains


def stage_two_rows(device: str) -> list[Row]:
    """One row: seconds of an epoch, reading and encoding of all its batches included; SPG reads two for each of its.

    The prompt labels are random numbers, which costs stage two the same as trained ones.
    """
    with tempfile.TemporaryDirectory() as folder:
        render_world(MINI_DG, Path(folder) / "mini_dg", per_class=_PER_CLASS)
        with quiet():  # the trainers' own talk
            spg, dpspg = (_trainer(name, folder, device) for name in ("SPG", "DPSPG"))
            _epoch(spg), _epoch(dpspg)  # warm-up
            pairs = [(clock(lambda: _epoch(spg))[1], clock(lambda: _epoch(dpspg))[1]) for _ in range(3)]
    slow, fast = (statistics.median(column) for column in zip(*pairs))
    ratio = statistics.median(a / b for a, b in pairs)
    return [Row("epoch of stage two: SPG (plain) against DPSPG (ours)", slow, fast, ratio, 0.0, "<= 2.2x")]


def _trainer(name: str, folder: str, device: str) -> GeneratedPrompts:
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
            "DATALOADER.TRAIN_X.FEATURE_VIEWS",
            "0",
            "USE_CUDA",
            str(device.startswith("cuda")),
        ]
    )
    trainer = build_trainer(cfg)
    shape = len(trainer.domain_names()), trainer.options.N_CTX, trainer.clip.text_width
    trainer.labels = {path: torch.randn(shape).to(trainer.device) for path in trainer.PATHS}
    return trainer


def _epoch(trainer: GeneratedPrompts) -> torch.Tensor:
    trainer.run_epoch()
    return torch.zeros(0)
