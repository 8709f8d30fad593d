"""The table of one trainer: one row over seeds, and below it what the paper printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from promptshift.launch.jobs import Job
from promptshift.protocols.request import Request
from promptshift.results import papers
from promptshift.results.record import Record
from promptshift.results.statistics import mean
from promptshift.results.tables import Cell, Measured, Table
from promptshift.runs.published import method_name

MINI_NOTE = (
    "Mini world: synthetic images with planted caption noise; it exercises code and shows methods moving, "
    "it ranks nothing."
)
AVERAGE = "average"
_RULES = {"oracle": "oracle (on the test images themselves; not comparable with honest numbers)"}


def seed_table(
    request: Request,
    jobs: Sequence[Job],
    records: Mapping[str, Record],
    average: bool,
    paper_dataset: str = "",
    left_out: Sequence[str] = (),
) -> Table:
    """Returns the accuracy table of a plan whose jobs differ in column and seed.

    Args:
        request: what was run.
        jobs: all jobs; `cell[1]` is the column, columns appear in the order of the jobs.
        records: records of the finished jobs by job name. A column with an unfinished job shows as missing.
        average: whether to append the mean over columns (its spread: over seeds of the per-seed mean).
        left_out: columns that the average leaves out.
        paper_dataset: `dataset` of the papers' tables to stand beside it; the request's own when empty.
    """
    columns = list(dict.fromkeys(job.cell[1] for job in jobs))
    ours: list[Cell] = [_column_cell([job for job in jobs if job.cell[1] == column], records) for column in columns]
    averaged = [job for job in jobs if job.cell[1] not in left_out]
    if average and averaged:
        ours.append(_average_cell(averaged, records))
        columns.append(AVERAGE)
    published = papers.find(
        trainer=method_name(request.cfg),
        protocol=request.protocol,
        dataset=paper_dataset or request.dataset,
        backbone=request.backbone,
    )
    label = f"{request.trainer} (this checkout)"
    rows = [(label, *ours), *([paper_cells(row, columns) for row in published] or [("paper", *[None] * len(columns))])]
    return Table(
        header=("accuracy (%)", *columns),
        rows=tuple(rows),
        caption=f"{request.protocol}: {request.trainer} on {request.dataset}, {request.backbone}, "
        f"{request.config_file.stem}.yaml",
        notes=tuple(notes(request, jobs, records, published)),
    )


def _column_cell(jobs: Sequence[Job], records: Mapping[str, Record]) -> Cell:
    """Returns mean and spread over the seeds of one column, or that some are missing."""
    found = [records[job.name]["metrics"]["accuracy"] for job in jobs if job.name in records]
    return mean_cell(found, len(jobs))


def mean_cell(found: Sequence[float], wanted: int) -> Cell:
    """Returns mean and spread of what was found when it is as many as wanted, otherwise that some are missing."""
    return Measured.of(found) if len(found) == wanted else f"missing ({len(found)} of {wanted} done)"


def _average_cell(jobs: Sequence[Job], records: Mapping[str, Record]) -> Cell:
    """Returns mean and spread over seeds of each seed's mean over columns; missing when any job is."""
    if any(job.name not in records for job in jobs):
        return "missing"
    seeds = dict.fromkeys(job.seed for job in jobs)
    return Measured.of(
        [mean([records[job.name]["metrics"]["accuracy"] for job in jobs if job.seed == seed]) for seed in seeds]
    )


def paper_cells(row: papers.PaperRow, columns: Sequence[str]) -> tuple[Cell, ...]:
    """Returns a published row in the table's columns; blank where nothing is published."""
    published = {column: Measured(value, row.std[column]) for column, value in row.values.items() if value is not None}
    return (f"{row.method}: {row.source}", *map(published.get, columns))


def notes(
    request: Request, jobs: Sequence[Job], records: Mapping[str, Record], published: Sequence[papers.PaperRow]
) -> list[str]:
    """Returns the lines below the table."""
    lines = [MINI_NOTE] if request.facts and request.facts.rendered else []
    seeds = list(dict.fromkeys(job.seed for job in jobs))
    if len(seeds) > 1:
        lines.append(f"Mean ± population standard deviation over seeds {' '.join(map(str, seeds))}.")
    rules = sorted({record["selection"] for record in records.values()})
    if rules:
        lines.append(f"Evaluated weights chosen by: {', '.join(_RULES.get(rule, rule) for rule in rules)}.")
    if not published:
        lines.append(f"papers/ has no row for {request.trainer} on {request.dataset} with {request.backbone}.")
    lines += dict.fromkeys(f"{row.source}: {row.note}" for row in published if row.note)
    missing = [job.name for job in jobs if job.name not in records]
    if missing:
        lines.append(f"Did not finish: {', '.join(missing)}.")
    return lines
