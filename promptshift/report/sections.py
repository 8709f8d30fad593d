"""The tables of a report: ours, the published rows, their difference, and paired tests against a baseline."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

import promptshift.studies.bench  # noqa: F401 - declares the layout of the runs of studies
from promptshift.protocols.config_files import is_mini_world
from promptshift.protocols.seed_table import MINI_NOTE
from promptshift.report.layouts import ordered_columns, runs_of
from promptshift.report.rows import MARKS, Row, Traced, rows_of
from promptshift.report.runs import Run
from promptshift.results import papers
from promptshift.results.comparison import (
    AVERAGE,
    Difference,
    Line,
    Published,
    comparison,
    further_columns,
    summarise,
)
from promptshift.results.layout import Layout, layout_of, layouts
from promptshift.results.significance import Paired, compare
from promptshift.results.tables import Cell, Measured, Table


@dataclasses.dataclass(frozen=True)
class Section:
    """What a report shows of one protocol, dataset and backbone.

    Attributes:
        name: unique and fit for a file name.
        protocol, dataset, backbone: what it is about; the dataset is "all" where columns are datasets.
        layout: of the protocol.
        table: accuracies.
        tests: the paired tests, None where there is nothing to compare.
        rows: what `table` was made of.
        columns: columns of measurements, averages and H aside.
    """

    name: str
    protocol: str
    dataset: str
    backbone: str
    layout: Layout
    table: Table
    tests: Table | None
    rows: tuple[Row, ...]
    columns: tuple[str, ...]

    @property
    def heading(self) -> str:
        """Of the protocol; sections that follow each other with the same one share it."""
        return self.layout.title

    @property
    def about(self) -> str:
        """What is trained on, what a column is."""
        return self.layout.about


def sections_of(runs: Sequence[Run], baseline: str = "") -> list[Section]:
    """Return a section for every protocol, dataset and backbone, overviews over datasets first.

    Args:
        runs: every usable run.
        baseline: trainer to compare with; where it is empty or absent: ZeroshotCLIP, else the first row.
    """
    sections = []
    names = {*layouts(), *(run.protocol for run in runs)}
    for protocol in sorted(names, key=lambda name: (layout_of(name).rank, name)):
        layout = layout_of(protocol)
        tables: dict[tuple[str, str], list[Run]] = {}
        for run in runs_of(protocol, layout, runs):
            about = layout.table(run.setting)
            if about is not None:
                tables.setdefault((run.backbone, about), []).append(run)
        made = [_section(protocol, layout, name, members, baseline) for name, members in sorted(tables.items())]
        sections += [*_overviews(protocol, layout, made), *made]
    return sections


def _section(protocol: str, layout: Layout, name: tuple[str, str], runs: Sequence[Run], baseline: str) -> Section:
    backbone, dataset = name
    columns = ordered_columns(layout, dataset, runs)
    rows = rows_of(runs, layout)
    extra = further_columns(columns, layout, layout.left_out, least=2)
    shown: set[str] = set()
    lines = [_line(row, columns, extra, protocol, layout, backbone, shown) for row in rows]
    caption = f"{layout.title}: {dataset if dataset != 'all' else 'all datasets'}, {backbone}"
    notes = _general_notes(rows, extra, runs, layout)
    return Section(
        _file_name(protocol or "other", dataset, backbone),
        protocol,
        dataset,
        backbone,
        layout,
        comparison(lines, [*columns, *extra], caption, notes),
        _tests(rows, baseline, f"{caption}: paired differences"),
        tuple(rows),
        tuple(columns),
    )


def _line(
    row: Row,
    columns: Sequence[str],
    extra: Sequence[str],
    protocol: str,
    layout: Layout,
    backbone: str,
    shown: set[str],
) -> Line:
    """Return a row with the published ones below it; those in `shown` are not shown again."""
    measured = row.measured(columns, layout)
    cells: dict[str, Cell] = {
        name: measured[name] or (None if layout.lacks_nothing(name, row.cells) else "missing")
        for name in (*columns, *extra)
    }
    published = []
    for paper in _published(row, protocol, layout, backbone):
        label = f"{row.trainer}, published: {paper.source}"
        gap = f"{row.label} − published ({paper.source})"
        published.append(Published.of(paper, label, gap, printed=label not in shown))
        shown.add(label)
    return Line(row.label, cells, published)


def _file_name(*words: str) -> str:
    """Return words as one name without characters that a file system or a link dislikes."""
    return re.sub(r"[^\w.+-]", "", "-".join(words).replace(" ", "_"))


def _published(row: Row, protocol: str, layout: Layout, backbone: str) -> list[papers.PaperRow]:
    """Return the published rows of a trainer that print a number for some column of this table."""
    run = next(run for column in row.cells.values() for run in column.values())
    dataset = layout.published(run.setting)
    found = papers.find(trainer=row.trainer, protocol=protocol, dataset=dataset, backbone=backbone)
    return [paper for paper in found if any(value is not None for value in paper.values.values())]


def _general_notes(rows: Sequence[Row], extra: Sequence[str], runs: Sequence[Run], layout: Layout) -> list[str]:
    """Return the lines below a table of our runs."""
    notes = []
    if any(is_mini_world(run.dataset) for run in runs):
        notes.append(MINI_NOTE)
    if any(len(row.seeds) > 1 for row in rows):
        notes.append("Mean ± population standard deviation over seeds.")
    if AVERAGE in extra and (sources := sorted({run.dataset for run in runs} & set(layout.left_out))):
        notes.append(f"The average leaves out {', '.join(sources)}, which was trained on.")
    notes += [_about_derived(name, layout) for name in layout.derived]
    if any(_incomplete(row) for row in rows):
        notes.append("A cell with fewer seeds than its row says so; an average needs every column of a seed.")
    rules = sorted({run.selection for run in runs})
    notes.append(f"Evaluated weights chosen by: {', '.join(rules)}.")
    notes += [MARKS[mark] for mark in MARKS if any(mark in row.marks for row in rows)]
    notes += [note for row in rows for note in row.notes]
    return notes


def _incomplete(row: Row) -> bool:
    return any(set(runs) != set(row.seeds) for runs in row.cells.values())


def _about_derived(name: str, layout: Layout) -> str:
    of = (
        "that of the mean accuracies over seeds"
        if layout.over == "seeds"
        else f"the mean of the {name} of single seeds"
    )
    return f"{name} is {of}; its spread is that of the {name} of single seeds."


def _tests(rows: Sequence[Row], baseline: str, caption: str) -> Table | None:
    """Return the paired tests of every other row against the baseline's, None where there is no pair."""
    names = [row.trainer for row in rows]
    chosen = next((name for name in (baseline, "ZeroshotCLIP") if name in names), names[0] if names else "")
    reference = next((row for row in rows if row.trainer == chosen), None)
    lines = []
    for row in rows:
        paired = compare(row.pairs(), reference.pairs()) if row is not reference else None
        if paired is not None:
            lines.append((row.label, *_test_cells(paired)))
    if not lines:
        return None
    notes = (
        "n: pairs of the same column and seed. p-values are two-sided and not adjusted for several comparisons; the "
        "pairs of one column share their test images, so they say less than n independent ones would.",
        *(["The chosen baseline is not among these runs."] if baseline and chosen != baseline else []),
    )
    header = (f"difference to {reference.label}", "n", "mean", "95 % interval", "paired t-test p", "Wilcoxon p")
    return Table(header, tuple(lines), caption, notes)


def _test_cells(paired: Paired) -> tuple[Cell, ...]:
    interval = f"{paired.low:+.2f} to {paired.high:+.2f}" if paired.low is not None else None
    return (str(paired.n), Difference(paired.difference), interval, _p(paired.t_p), _p(paired.wilcoxon_p))


def _p(value: float | None) -> str | None:
    return None if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _overviews(protocol: str, layout: Layout, sections: Sequence[Section]) -> list[Section]:
    """Returns, for every backbone with several datasets, the table of their averages."""
    if not layout.has_overview:
        return []
    made = []
    for backbone in dict.fromkeys(section.backbone for section in sections):
        own = [section for section in sections if section.backbone == backbone]
        if len(own) > 1:
            make = _overview_of_columns if layout.columns else _overview
            columns, lines = make(own)
            caption = f"{layout.title}: overview, {backbone}"
            notes = ("A trainer that was run in several configurations on a dataset has no number for it here.",)
            name = _file_name(protocol, "overview", backbone)
            table = comparison(lines, columns, caption, notes)
            made.append(Section(name, protocol, "all", backbone, layout, table, None, (), ()))
    return made


def _only_rows(section: Section) -> dict[str, Row | None]:
    """Return trainer -> its row, None where it has several."""
    rows: dict[str, Row | None] = {}
    for row in section.rows:
        rows[row.trainer] = None if row.trainer in rows else row
    return rows


def _over_datasets(sections: Sequence[Section]) -> dict[str, list[dict[str, Traced | None]]]:
    """Return trainer -> its numbers on every dataset by column; none where it has no row or several."""
    trainers = dict.fromkeys(row.trainer for section in sections for row in section.rows)
    rows = [(section, _only_rows(section)) for section in sections]
    return {
        trainer: [row.measured(of.columns, of.layout) if (row := own.get(trainer)) else {} for of, own in rows]
        for trainer in trainers
    }


def _overview(sections: Sequence[Section]) -> tuple[list[str], list[Line]]:
    """Return columns and rows: a trainer's average on every dataset, and their mean where all are there."""
    datasets = [section.dataset for section in sections]
    lines = []
    for trainer, numbers in _over_datasets(sections).items():
        cells = {dataset: found.get(AVERAGE) for dataset, found in zip(datasets, numbers, strict=True)}
        values = {dataset: {trainer: cell and cell.mean} for dataset, cell in cells.items()}
        lines.append(Line(trainer, cells | {AVERAGE: summarise(values, datasets)[AVERAGE]}))
    return [*datasets, AVERAGE], lines


def _overview_of_columns(sections: Sequence[Section]) -> tuple[list[str], list[Line]]:
    """Return columns and rows: the mean of every column over the datasets, and what is derived from these means."""
    layout, backbone, protocol = sections[0].layout, sections[0].backbone, sections[0].protocol
    shown = [*layout.columns, *further_columns(layout.columns, layout, layout.left_out, least=2)]
    lines = []
    for trainer, numbers in _over_datasets(sections).items():
        values = {
            column: {index: (cell := found.get(column)) and cell.mean for index, found in enumerate(numbers)}
            for column in layout.columns
        }
        found = summarise(values, layout.columns, layout)
        complete = all(summary and summary.complete for summary in (found[column] for column in layout.columns))
        cells = {"datasets": str(len(sections))} | {name: Measured(found[name].mean) for name in shown if complete}
        published = papers.find(trainer=trainer, protocol=protocol, dataset=AVERAGE, backbone=backbone)
        below = [Published.of(row, f"{trainer}, published: {row.source}") for row in published]
        below = [dataclasses.replace(row, cells=row.cells | {"datasets": "11"}, note="") for row in below]
        lines.append(Line(trainer if complete else None, cells, below))
    return ["datasets", *shown], lines
