"""Published numbers as data: the reader of `papers/*.yaml`.

One file per paper:

    paper: SPG                          short name
    arxiv: "2404.19286"
    title: ...
    trainers:                           row name -> names of the registered trainers it stands for
                                        (of DPC on CoOp: DPC_CoOp)
      SPG: [SPG, SPG_CGAN]
    facts:                              claims that are no table row: [what, value, where]
      - [gain of ..., "+0.65", abstract]
    tables:
      - source: Table 7                 where the paper prints it
        printed_in: MaPLe (arXiv ...)   optional: who prints it, when that is not this paper
        protocol: multi_source          name of a protocol
        dataset: PACS                   DATASET.NAME; "all" when the columns are datasets; "average": mean of CoOp's 11
        ablation: context length        optional: what the rows vary; such rows are found only when asked for
        note: ...                       optional: anything a reader of the numbers must know
        columns: [art_painting, cartoon, photo, sketch, average]
        rows:
          RN50:                         backbone, OpenAI's spelling
            SPG: [92.8, 93.8, 99.5, 85.1, 92.8]
        datasets: {PACS: {RN50: ...}}   instead of dataset and rows: the rows of several datasets with equal columns

A value is percent, "92.8 ± 0.2" with the spread the paper prints, or null where nothing is published; a
row that is null altogether is blank in every column. Columns are full domain names, dataset names or, for
base_to_new, "Base", "New" and "H"; "average" is the printed average, which is not always the arithmetic mean of the
printed columns.
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

from dassl.utils.errors import UserError
from dassl.utils.yaml_reader import read_yaml
from promptshift.paths import checkout


@dataclasses.dataclass(frozen=True)
class PaperRow:
    """One published row.

    Attributes:
        method: the row's name in the paper.
        values: column name to percent, None where nothing is published.
        std: column name to the printed spread, None where none is printed.
        source: who prints it and where, e.g. "SPG (arXiv 2404.19286), Table 7".
        trainers: methods that the row stands for; empty for rows that are no trainer.
        protocol, dataset, backbone, ablation: as in the file; `ablation` is "" for main results.
        note: the table's note, "" without one.
    """

    method: str
    values: dict[str, float | None]
    std: dict[str, float | None]
    source: str
    trainers: tuple[str, ...]
    protocol: str
    dataset: str
    backbone: str
    ablation: str
    note: str


@dataclasses.dataclass(frozen=True)
class Paper:
    """One file of `papers/`: its rows and its facts (what, value, where)."""

    name: str
    arxiv: str
    title: str
    rows: tuple[PaperRow, ...]
    facts: tuple[tuple[str, str, str], ...]


def find(
    *,
    trainer: str | None = None,
    protocol: str | None = None,
    dataset: str | None = None,
    backbone: str | None = None,
    ablation: str = "",
    folder: str | Path | None = None,
) -> list[PaperRow]:
    """Return the published rows that match every given filter, in the order of files and tables.

    Args:
        trainer: registered trainer name, followed by the method it builds on (DPC_CoOp); None stands for any, as in
            the other filters.
        protocol: protocol name.
        dataset: DATASET.NAME, "all" for tables whose columns are datasets, "average" for means of CoOp's eleven.
        backbone: OpenAI's spelling.
        ablation: "" for main results, otherwise the ablation's name.
        folder: folder with the YAML files; the checkout's `papers/` when None.
    """
    return [
        row
        for paper in load_papers(folder)
        for row in paper.rows
        if trainer in (None, *row.trainers)
        and protocol in (None, row.protocol)
        and dataset in (None, row.dataset)
        and backbone in (None, row.backbone)
        and row.ablation == ablation
    ]


def load_papers(folder: str | Path | None = None) -> tuple[Paper, ...]:
    """Return every paper below `folder` (the checkout's `papers/` when None), sorted by file name.

    Raises:
        UserError: a file is not YAML or does not fit the schema; the line names the file and the place.
    """
    return _load(Path(folder) if folder else checkout() / "papers")


@functools.lru_cache(maxsize=4)
def _load(folder: Path) -> tuple[Paper, ...]:
    return tuple(_read_paper(path) for path in sorted(folder.glob("*.yaml")))


def _read_paper(path: Path) -> Paper:
    """Read one file of `papers/`."""
    try:
        content = read_yaml(path)
        origin = f"{content['paper']} (arXiv {content['arxiv']})"
        rows = [row for table in content["tables"] for row in _rows(table, content["trainers"], origin)]
        facts = tuple((what, str(value), where) for what, value, where in content.get("facts", []))
        return Paper(content["paper"], content["arxiv"], content["title"], tuple(rows), facts)
    except KeyError as error:
        raise UserError(f"{path}: key {error} is missing; the schema stands in promptshift/results/papers.py") from None
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path} does not fit the schema of promptshift/results/papers.py: {error}") from None


def _rows(table: dict[str, Any], trainers: dict[str, list[str]], origin: str) -> list[PaperRow]:
    """Return the rows of one table.

    Raises:
        ValueError: a row is not as long as the list of columns, or a cell is no number.
    """
    sets = table["datasets"] if "datasets" in table else {table["dataset"]: table["rows"]}
    return [
        _row(table, dataset, backbone, str(method), cells, tuple(trainers.get(method, ())), origin)
        for dataset, backbones in sets.items()
        for backbone, methods in backbones.items()
        for method, cells in methods.items()
    ]


def _row(
    table: dict[str, Any],
    dataset: str,
    backbone: str,
    method: str,
    cells: list | None,
    trainers: tuple[str, ...],
    origin: str,
) -> PaperRow:
    columns = table["columns"]
    cells = [None] * len(columns) if cells is None else cells
    if len(cells) != len(columns):
        place = f"{table['source']}, {dataset}, {backbone}, {method}"
        raise ValueError(f"{place}: {len(cells)} values, {len(columns)} columns")
    pairs = dict(zip(columns, map(_value, cells), strict=True))
    return PaperRow(
        method=method,
        values={name: value for name, (value, _) in pairs.items()},
        std={name: std for name, (_, std) in pairs.items()},
        source=f"{table.get('printed_in', origin)}, {table['source']}",
        trainers=trainers,
        protocol=table["protocol"],
        dataset=dataset,
        backbone=backbone,
        ablation=table.get("ablation", ""),
        note=table.get("note", ""),
    )


def _value(cell: float | str | None) -> tuple[float | None, float | None]:
    """Return (value, spread) of a cell such as 92.8, "92.8 ± 0.2" or None."""
    if cell is None:
        return None, None
    value, _, std = str(cell).partition("±")
    return float(value), float(std) if std else None
