"""The table at the end of a plan: one row over seeds for each dataset, and below it what the papers printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from promptshift.launch.jobs import Job
from promptshift.protocols.request import Request
from promptshift.results import papers
from promptshift.results.comparison import AVERAGE, Line, Published, Summary, comparison, further_columns, summarise
from promptshift.results.layout import Layout, Setting, layout_of
from promptshift.results.record import Record
from promptshift.results.statistics import mean
from promptshift.results.tables import Cell, Table
from promptshift.runs.published import method_name

MINI_NOTE = (
    "Mini world: synthetic images with planted caption noise; it exercises code and shows methods moving, "
    "it ranks nothing."
)
PARTIAL_NOTE = "Part of the dataset's images (DATASET.PARTIAL): not to be compared with numbers of all of them."
_RULES = {"oracle": "oracle (on the test images themselves; not comparable with honest numbers)"}
Values = dict[str, dict[int | None, float | None]]  # column -> seed -> percent, None where the job did not finish


def seed_table(
    request: Request, jobs: Sequence[Job], records: Mapping[str, Record], left_out: Sequence[str] | None = None
) -> Table:
    """Return the accuracy table of a plan, laid out as its protocol declares.

    A row for each dataset that was asked for; where there are several, one for their average.

    Args:
        request: what was run.
        jobs: the plan's jobs; `cell[1]` is the column, `cell[0]` the dataset where there are several. Columns appear in
            the order of the jobs; where the layout fixes them, jobs in other columns are not shown.
        records: records of the finished jobs by job name. A column with an unfinished job shows as missing.
        left_out: columns that the average leaves out; those of the layout when None.
    """
    layout, parts = layout_of(request.protocol), request.datasets
    left_out = layout.left_out if left_out is None else left_out
    columns = layout.columns or tuple(dict.fromkeys(job.cell[1] for job in jobs))
    lines, found = [], []
    for name, part, values in _rows(parts, [job for job in jobs if job.cell[1] in columns], records):
        prefix = f"{name}: " if len(parts) > 1 else ""
        published = published_rows(part, AVERAGE if name == AVERAGE else layout.published(Setting(name)))
        cells = _cells(summarise(values, columns, layout, left_out), values)
        below = [Published.of(row, f"{prefix}{row.method}: {row.source}") for row in published]
        lines.append(Line(f"{prefix}{part.method} (this checkout)", cells, below))
        found += published
    if not found and not layout.columns:
        lines.append(Line("paper", {}))
    shown = [*columns, *further_columns(columns, layout, left_out, least=1)]
    return comparison(lines, shown, _caption(parts), *_notes(request, layout, jobs, records, found))


def _rows(
    parts: Sequence[Request], jobs: Sequence[Job], records: Mapping[str, Record]
) -> list[tuple[str, Request, Values]]:
    """Return (name, request, accuracies) of every dataset, and of their average where there are several."""
    rows = []
    for part in parts:
        own = [job for job in jobs if len(parts) == 1 or job.cell[0] == part.dataset]
        rows.append((part.dataset, part, _values(own, records)))
    average = [(AVERAGE, parts[0], _mean_of([values for *_, values in rows]))] if len(parts) > 1 else []
    return rows + average


def published_rows(request: Request, dataset: str) -> list[papers.PaperRow]:
    """Return what the papers print of a request's method and protocol for one of their tables' datasets.

    Nothing for part of a dataset.
    """
    if request.cfg.DATASET.PARTIAL:
        return []
    return papers.find(
        trainer=method_name(request.cfg), protocol=request.protocol, dataset=dataset, backbone=request.backbone
    )


def _caption(parts: Sequence[Request]) -> str:
    first = parts[0]
    datasets = ", ".join(part.dataset + (" (partial)" if part.cfg.DATASET.PARTIAL else "") for part in parts)
    return f"{first.protocol}: {first.method} on {datasets}, {first.backbone}, {first.config_file.stem}.yaml"


def _values(jobs: Sequence[Job], records: Mapping[str, Record]) -> Values:
    values: Values = {}
    for job in jobs:
        record = records.get(job.name)
        values.setdefault(job.cell[1], {})[job.seed] = record["metrics"]["accuracy"] if record else None
    return values


def _mean_of(parts: Sequence[Values]) -> Values:
    """Return the mean over datasets of every column and seed, None where one of them is missing."""
    found: Values = {}
    for column, seeds in parts[0].items():
        for seed in seeds:
            numbers = [values[column][seed] for values in parts]
            found.setdefault(column, {})[seed] = None if None in numbers else mean(numbers)
    return found


def _cells(found: Mapping[str, Summary | None], values: Values) -> dict[str, Cell]:
    """Return what a table shows: numbers where nothing is missing, otherwise how many are."""
    return {
        name: summary if summary and summary.complete else _missing(values[name]) if name in values else "missing"
        for name, summary in found.items()
    }


def _missing(of: Mapping[int | None, float | None]) -> str:
    done = sum(number is not None for number in of.values())
    return f"missing ({done} of {len(of)} done)"


def _notes(
    request: Request,
    layout: Layout,
    jobs: Sequence[Job],
    records: Mapping[str, Record],
    published: Sequence[papers.PaperRow],
) -> tuple[list[str], list[str]]:
    """Return the lines below the table: those before and those behind the notes of published rows."""
    lines = [layout.note] if layout.note else []
    lines += [MINI_NOTE] if request.facts and request.facts.rendered else []
    lines += [PARTIAL_NOTE] if request.cfg.DATASET.PARTIAL else []
    seeds = list(dict.fromkeys(job.seed for job in jobs))
    if len(seeds) > 1:
        lines.append(f"Mean ± population standard deviation over seeds {' '.join(map(str, seeds))}.")
    rules = sorted({record["selection"] for record in records.values()})
    if rules:
        lines.append(f"Evaluated weights chosen by: {', '.join(_RULES.get(rule, rule) for rule in rules)}.")
    if not published:
        lines.append(f"papers/ has no row for {request.trainer} on {request.dataset} with {request.backbone}.")
    missing = [job.name for job in jobs if job.name not in records]
    return lines, [f"Did not finish: {', '.join(missing)}."] if missing else []
