"""What the papers print for the very cell that a configuration fills."""

from __future__ import annotations

from pathlib import Path

from yacs.config import CfgNode as CN

from dassl.engine import TRAINER_REGISTRY
from dassl.utils.errors import UserError
from promptshift.results import papers
from promptshift.results.layout import Setting, layout_of, tables_of


def method_name(cfg: CN, trainer: str = "") -> str:
    """The trainer's own name (`trainer` instead, where given), and the method it builds on where its block names one.

    DPC on CoOp is `DPC_CoOp`: rows of tables and folders of runs are called so.
    """
    registered = TRAINER_REGISTRY.get(trainer or cfg.TRAINER.NAME)
    block = cfg.TRAINER.get(getattr(registered, "BLOCK", ""), {})
    return "_".join(filter(None, (trainer or registered.__name__, block.get("BACKBONE", ""))))


def setting_of(cfg: CN) -> Setting:
    """What a configuration asks for, as far as the place of its result in a table depends on it."""
    from datasets._image_facts import find_facts

    try:
        dataset = find_facts(cfg.DATASET.NAME).name
    except UserError:  # a dataset in no table
        dataset = cfg.DATASET.NAME
    data, folder = cfg.DATASET, Path(cfg.OUTPUT_DIR)
    sources, targets = tuple(data.SOURCE_DOMAINS), tuple(data.TARGET_DOMAINS)
    return Setting(dataset, sources, targets, data.SUBSAMPLE_CLASSES, data.NUM_SHOTS, cfg.TEST.SPLIT, folder)


def published_cells(cfg: CN) -> list[tuple[papers.PaperRow, str]]:
    """Published rows of this configuration's method, protocol and backbone, each with the column that it fills.

    None for part of a dataset.
    """
    layout, setting = layout_of(cfg.PROTOCOL), setting_of(cfg)
    if cfg.DATASET.get("PARTIAL"):  # no number of all images is to be compared with
        return []
    rows = papers.find(
        trainer=method_name(cfg),
        protocol=tables_of(cfg.PROTOCOL),
        dataset=layout.published(setting),
        backbone=cfg.MODEL.BACKBONE.NAME,
    )
    column = layout.column(setting)
    return [(row, column) for row in rows if row.values.get(column) is not None]


def expected_accuracy(cfg: CN) -> float | None:
    """The accuracy (percent) that a paper prints for this cell, None where none or more than one is printed."""
    values = {row.values[column] for row, column in published_cells(cfg)}
    return values.pop() if len(values) == 1 else None


def published_lines(cfg: CN, accuracy: float) -> list[str]:
    """A line for every number that a paper prints for this cell, beside the accuracy (percent) that was reached."""
    return [
        f"* published for {row.method}, {column}: {row.values[column]:g}"
        + (f" ± {row.std[column]:g}" if row.std.get(column) is not None else "")
        + f" % ({row.source}); this run less that: {accuracy - row.values[column]:+.2f}"
        for row, column in published_cells(cfg)
    ]
