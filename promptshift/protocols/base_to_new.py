"""Base-to-new generalization: train on half of the classes, test on that half and on the other (arXiv 2203.05557).

Base are the first ceil(n/2) classes; 16 images of each are trained on. Each half is tested with its own class names
alone. H = 2BN/(B+N), of the means over seeds (arXiv 2203.05557, section 4.1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from promptshift.launch.jobs import Job
from promptshift.protocols.registry import Plan, register
from promptshift.protocols.request import Request, refuse_keys
from promptshift.protocols.seed_table import AVERAGE, mean_cell, notes, paper_cells
from promptshift.protocols.trained import (
    EVALUATION_OPTIONS,
    in_order,
    start,
    trains_itself,
    with_shots,
)
from promptshift.results import papers
from promptshift.results.record import Record
from promptshift.results.statistics import harmonic_mean, mean, population_std
from promptshift.results.tables import Cell, Measured, Table
from promptshift.runs.published import method_name

COLUMNS = ("Base", "New", "H")
HALVES = {"Base": "base", "New": "new"}  # column -> DATASET.SUBSAMPLE_CLASSES
_TAKEN = dict.fromkeys(("DATASET.SUBSAMPLE_CLASSES", "TEST.SPLIT"), "train.py (the protocol tests both halves)")


@register("base_to_new", takes=("also", "weights"))
def base_to_new(request: Request) -> Plan:
    """Returns, for each dataset and seed, the jobs that train on base, test on base and test on new.

    A trainer that is trained tests base at the end of its training; the others evaluate both halves.

    Raises:
        UserError: a dataset has domains or nothing to train on.
    """
    refuse_keys(request.options, _TAKEN)
    parts = [with_shots(part) for part in request.datasets]
    jobs = in_order([job for part in parts for seed in part.seeds for job in _jobs(part, seed)])
    names = "all" if len(parts) > 3 else "+".join(part.dataset_file.stem for part in parts)
    folder = request.root / "base2new" / "tables" / names / request.method / request.config_file.stem
    return Plan(jobs, folder, lambda records: base_to_new_table(parts, jobs, records))


def folder_of(request: Request, kind: str, seed: int) -> Path:
    """Returns upstream's folder of a run; `kind` is train_base, test_base or test_new."""
    place = request.root / "base2new" / kind / request.dataset_file.stem / f"shots_{request.cfg.DATASET.NUM_SHOTS}"
    return place / request.method / request.config_file.stem / f"seed{seed}"


def _jobs(request: Request, seed: int) -> list[Job]:
    """Returns the jobs of one dataset and seed."""

    def train(trained: Request) -> Job:
        own = trained.trainer == request.trainer
        name = f"{request.dataset} {'base' if own else trained.trainer} seed {seed}"
        cell = (request.dataset, "Base" if own else trained.trainer)
        return trained.job(
            name, folder_of(trained, "train_base", seed), cell, seed, options=["DATASET.SUBSAMPLE_CLASSES", "base"]
        )

    begin = start(request, seed, train)
    columns = ("New",) if trains_itself(request) else ("Base", "New")
    tests = [
        request.job(
            f"{request.dataset} {half} seed {seed}",
            folder_of(request, f"test_{half}", seed),
            (request.dataset, column),
            seed,
            begin.flags,
            ["DATASET.SUBSAMPLE_CLASSES", half, *EVALUATION_OPTIONS],
            begin.after,
            bool(request.weights),
        )
        for column, half in HALVES.items()
        if column in columns
    ]
    return [begin.job, *tests] if begin.job else tests


def base_to_new_table(parts: Sequence[Request], jobs: Sequence[Job], records: Mapping[str, Record]) -> Table:
    """Returns Base, New and H of each dataset, of their average where there are several, and the papers' rows."""
    rows, published = [], []
    for part in parts:
        rows.append(
            (
                _label(parts, part.dataset, f"{part.method} (this checkout)"),
                *_cells([accuracies(jobs, records, part.dataset)]),
            )
        )
        found = _published(part, part.dataset)
        rows += [(_label(parts, part.dataset, row[0]), *row[1:]) for row in map(_paper_row, found)]
        published += found
    if len(parts) > 1:
        rows.append(
            (
                f"{AVERAGE}: {parts[0].method} (this checkout)",
                *_cells([accuracies(jobs, records, part.dataset) for part in parts]),
            )
        )
        found = _published(parts[0], AVERAGE)
        rows += [(f"{AVERAGE}: {row[0]}", *row[1:]) for row in map(_paper_row, found)]
        published += found
    first = parts[0]
    return Table(
        header=("accuracy (%)", *COLUMNS),
        rows=tuple(rows),
        caption=f"{first.protocol}: {first.method} on {', '.join(part.dataset for part in parts)}, {first.backbone}, "
        f"{first.config_file.stem}.yaml",
        notes=(
            "Base, New: half of the classes each, tested with its own class names. H = 2BN/(B+N) of the means; its "
            "spread is that of H per seed.",
            *notes(first, jobs, records, published),
        ),
    )


def accuracies(jobs: Sequence[Job], records: Mapping[str, Record], dataset: str) -> dict[str, dict[int, float | None]]:
    """Returns column (Base, New) -> seed -> accuracy of one dataset, None where the job did not finish."""
    found: dict[str, dict[int, float | None]] = {column: {} for column in HALVES}
    for job in jobs:
        if job.cell[0] == dataset and job.cell[1] in HALVES:
            record = records.get(job.name)
            found[job.cell[1]][job.seed] = record["metrics"]["accuracy"] if record else None
    return found


def _cells(of_datasets: list[dict[str, dict[int, float | None]]]) -> list[Cell]:
    """Returns Base, New and H of the mean over datasets."""
    cells: list[Cell] = []
    per_seed: dict[str, list[float]] = {}
    for column in HALVES:
        seeds = of_datasets[0][column]
        values = [[accuracy[column][seed] for accuracy in of_datasets] for seed in seeds]
        whole = [mean(row) for row in values if None not in row]
        cells.append(mean_cell(whole, len(seeds)))
        if len(whole) == len(seeds):
            per_seed[column] = whole
    return [*cells, _harmonic(**per_seed) if len(per_seed) == len(HALVES) else "missing"]


def _harmonic(Base: Sequence[float], New: Sequence[float]) -> Measured:  # noqa: N803 - the columns' names
    """Returns H of the means with the spread of H per seed."""
    each = [harmonic_mean([b], [n]) for b, n in zip(Base, New, strict=True)]
    return Measured(harmonic_mean(Base, New), population_std(each) if len(each) > 1 else None)


def _label(parts: Sequence[Request], dataset: str, label: str) -> str:
    return label if len(parts) == 1 else f"{dataset}: {label}"


def _published(request: Request, dataset: str) -> list[papers.PaperRow]:
    return papers.find(
        trainer=method_name(request.cfg), protocol=request.protocol, dataset=dataset, backbone=request.backbone
    )


def _paper_row(row: papers.PaperRow) -> tuple[Cell, ...]:
    return paper_cells(row, COLUMNS)
