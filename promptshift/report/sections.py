"""The tables of a report: ours, the published rows, their difference, and paired tests against a baseline."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from promptshift.report.layouts import LAYOUTS, Layout, layout_of, ordered_columns, runs_of
from promptshift.report.rows import MARKS, Row, Traced, rows_of
from promptshift.report.runs import Run
from promptshift.results import papers
from promptshift.results.significance import Paired, compare
from promptshift.results.statistics import harmonic_mean, mean
from promptshift.results.tables import Cell, Measured, Table

AVERAGE, HARMONIC = "average", "H"


class Difference(Measured):
    """Ours less the published number, in percentage points, with its sign."""

    def __str__(self) -> str:
        return f"{self.mean:+.2f}"


@dataclasses.dataclass(frozen=True)
class Section:
    """What a report shows of one protocol, dataset and backbone.

    Attributes:
        name: unique and fit for a file name.
        protocol, dataset, backbone: what it is about; the dataset is "all" where columns are datasets.
        heading: of the protocol; sections that follow each other with the same one share it.
        about: what is trained on, what a column is.
        table: accuracies.
        tests: the paired tests, None where there is nothing to compare.
        rows: what `table` was made of.
        columns: columns of measurements, averages and H aside.
    """

    name: str
    protocol: str
    dataset: str
    backbone: str
    heading: str
    about: str
    table: Table
    tests: Table | None
    rows: tuple[Row, ...]
    columns: tuple[str, ...]


def sections_of(runs: Sequence[Run], baseline: str = "") -> list[Section]:
    """Return a section for every protocol, dataset and backbone, overviews over datasets first.

    Args:
        runs: every usable run.
        baseline: trainer to compare with; where it is empty or absent: ZeroshotCLIP, else the first row.
    """
    sections = []
    order = [*LAYOUTS, *sorted({run.protocol for run in runs} - set(LAYOUTS))]
    for protocol in order:
        layout, own = layout_of(protocol), runs_of(protocol, runs)
        tables: dict[tuple[str, str], list[Run]] = {}
        for run in own:
            trained_on = layout.table(run)
            if trained_on is not None:
                tables.setdefault((run.backbone, trained_on), []).append(run)
        made = [_section(protocol, layout, name, members, baseline) for name, members in sorted(tables.items())]
        sections += [*_overviews(protocol, layout, made), *made]
    return sections


def _section(protocol: str, layout: Layout, name: tuple[str, str], runs: Sequence[Run], baseline: str) -> Section:
    backbone, dataset = name
    columns = ordered_columns(protocol, dataset, map(layout.column, runs))
    rows = rows_of(runs, layout)
    averaged = [column for column in columns if column not in layout.left_out]
    extra = [HARMONIC] if protocol == "base_to_new" else [AVERAGE] if layout.average and len(averaged) > 1 else []
    header = [*columns, *extra]
    body: list[tuple[Cell, ...]] = []
    published_notes: list[str] = []
    shown: set[tuple[str, str]] = set()
    for row in rows:
        ours = {column: row.cell(column) for column in columns}
        ours |= {AVERAGE: row.average(averaged), HARMONIC: row.harmonic()}
        body.append(
            (row.label, *(ours[name] or (None if _asks_nothing(row, protocol, name) else "missing") for name in header))
        )
        for paper in _published(row, protocol, layout, backbone):
            printed, *gap = _paper_rows(row, paper, header, ours)
            body += gap if (row.trainer, paper.source) in shown else [printed, *gap]
            shown.add((row.trainer, paper.source))
            published_notes += [f"{paper.source}: {paper.note}"] if paper.note else []
    notes = [*_general_notes(rows, extra, runs, layout), *dict.fromkeys(published_notes)]
    place = dataset if dataset != "all" else "all datasets"
    caption = f"{layout.title}: {place}, {backbone}"
    return Section(
        _file_name(protocol or "other", dataset, backbone),
        protocol,
        dataset,
        backbone,
        layout.title,
        layout.about,
        Table(("accuracy (%)", *header), tuple(body), caption, tuple(notes)),
        _tests(rows, baseline, f"{caption}: paired differences"),
        tuple(rows),
        tuple(columns),
    )


def _asks_nothing(row: Row, protocol: str, column: str) -> bool:
    """Return whether a cell is rightly empty: a zero-shot method has column 0 of few_shot alone, any other lacks it."""
    return protocol == "few_shot" and (column == "0") != ("0" in row.cells)


def _file_name(*words: str) -> str:
    """Return words as one name without characters that a file system or a link dislikes."""
    return re.sub(r"[^\w.+-]", "", "-".join(words).replace(" ", "_"))


def _published(row: Row, protocol: str, layout: Layout, backbone: str) -> list[papers.PaperRow]:
    """Return the published rows of a trainer that print a number for some column of this table."""
    run = next(run for column in row.cells.values() for run in column.values())
    found = papers.find(trainer=row.trainer, protocol=protocol, dataset=layout.paper_dataset(run), backbone=backbone)
    return [paper for paper in found if any(value is not None for value in paper.values.values())]


def _paper_rows(
    row: Row, paper: papers.PaperRow, header: Sequence[str], ours: dict[str, Traced | None]
) -> list[tuple[Cell, ...]]:
    """Return a published row in the table's columns, and ours less it where both have a number."""
    values = {name: value for name, value in paper.values.items() if value is not None}
    printed = [Measured(values[name], paper.std[name]) if name in values else None for name in header]
    gaps = [
        Difference(ours[name].mean - values[name]) if name in values and ours.get(name) else None for name in header
    ]
    rows: list[tuple[Cell, ...]] = [(f"{row.trainer}, published: {paper.source}", *printed)]
    if any(gaps):
        rows.append((f"{row.label} − published ({paper.source})", *gaps))
    return rows


def _general_notes(rows: Sequence[Row], extra: Sequence[str], runs: Sequence[Run], layout: Layout) -> list[str]:
    """Return the lines below a table of our runs."""
    notes = []
    if any(_is_mini(run) for run in runs):
        from promptshift.protocols.seed_table import MINI_NOTE

        notes.append(MINI_NOTE)
    if any(len(row.seeds) > 1 for row in rows):
        notes.append("Mean ± population standard deviation over seeds.")
    if AVERAGE in extra and (sources := sorted({run.dataset for run in runs} & set(layout.left_out))):
        notes.append(f"The average leaves out {', '.join(sources)}, which was trained on.")
    if HARMONIC in extra:
        notes.append("H is that of the mean accuracies over seeds; its spread is that of the H of single seeds.")
    if any(_incomplete(row) for row in rows):
        notes.append("A cell with fewer seeds than its row says so; an average needs every column of a seed.")
    rules = sorted({run.selection for run in runs})
    notes.append(f"Evaluated weights chosen by: {', '.join(rules)}.")
    notes += [MARKS[mark] for mark in MARKS if any(mark in row.marks for row in rows)]
    notes += [note for row in rows for note in row.notes]
    return notes


def _incomplete(row: Row) -> bool:
    return any(set(runs) != set(row.seeds) for runs in row.cells.values())


def _is_mini(run: Run) -> bool:
    from promptshift.protocols.request import is_mini_world

    return is_mini_world(run.dataset)


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
    """Returns, for every backbone with several datasets, the table of their averages (of Base, New and H)."""
    if protocol not in ("multi_source", "single_source", "base_to_new"):
        return []
    made = []
    for backbone in dict.fromkeys(section.backbone for section in sections):
        own = [section for section in sections if section.backbone == backbone]
        if len(own) > 1:
            make = _overview_of_halves if protocol == "base_to_new" else _overview
            header, body = make(own)
            caption = f"{layout.title}: overview, {backbone}"
            notes = ("A trainer that was run in several configurations on a dataset has no number for it here.",)
            made.append(
                Section(
                    _file_name(protocol, "overview", backbone),
                    protocol,
                    "all",
                    backbone,
                    layout.title,
                    layout.about,
                    Table(header, body, caption, notes),
                    None,
                    (),
                    (),
                )
            )
    return made


def _only_rows(section: Section) -> dict[str, Row | None]:
    """Return trainer -> its row, None where it has several."""
    rows: dict[str, Row | None] = {}
    for row in section.rows:
        rows[row.trainer] = None if row.trainer in rows else row
    return rows


def _overview(sections: Sequence[Section]) -> tuple[tuple[str, ...], tuple[tuple[Cell, ...], ...]]:
    """Return header and rows: a trainer's average on every dataset, and their mean where all are there."""
    datasets = [section.dataset for section in sections]
    by_trainer: dict[str, list[Traced | None]] = {}
    for index, section in enumerate(sections):
        for trainer, row in _only_rows(section).items():
            cells = by_trainer.setdefault(trainer, [None] * len(sections))
            cells[index] = row.average(section.columns) if row else None
    body = []
    for trainer, cells in by_trainer.items():
        average = Measured(mean([cell.mean for cell in cells])) if all(cells) else None
        body.append((trainer, *cells, average))
    return ("accuracy (%)", *datasets, AVERAGE), tuple(body)


def _overview_of_halves(sections: Sequence[Section]) -> tuple[tuple[str, ...], tuple[tuple[Cell, ...], ...]]:
    """Return header and rows: mean base and new accuracy over the datasets, and H of these means."""
    trainers = dict.fromkeys(row.trainer for section in sections for row in section.rows)
    body = []
    for trainer in trainers:
        rows = [_only_rows(section).get(trainer) for section in sections]
        base, new = ([row.cell(half) if row else None for row in rows] for half in ("Base", "New"))
        if all(base) and all(new):
            b, n = [cell.mean for cell in base], [cell.mean for cell in new]
            body.append((trainer, str(len(rows)), Measured(mean(b)), Measured(mean(n)), Measured(harmonic_mean(b, n))))
        body += _published_average(trainer, sections[0].backbone)
    return ("accuracy (%)", "datasets", "Base", "New", HARMONIC), tuple(body)


def _published_average(trainer: str, backbone: str) -> list[tuple[Cell, ...]]:
    """Return the published rows of a trainer's average over the papers' eleven datasets."""
    found = papers.find(trainer=trainer, protocol="base_to_new", dataset=AVERAGE, backbone=backbone)
    return [
        (
            f"{trainer}, published: {row.source}",
            "11",
            *(
                Measured(value, row.std[half]) if (value := row.values.get(half)) is not None else None
                for half in ("Base", "New", HARMONIC)
            ),
        )
        for row in found
    ]
