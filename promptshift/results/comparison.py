"""The one maker of tables: numbers over seeds, averages, derived columns, published rows, differences and notes."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Iterable, Mapping, Sequence

from promptshift.results.layout import OTHER, Layout
from promptshift.results.papers import PaperRow
from promptshift.results.statistics import mean, population_std
from promptshift.results.tables import Cell, Measured, Table

AVERAGE = "average"

# column -> seed (or whatever else is averaged over) -> percent, None where the run is asked for and not finished
Values = Mapping[str, Mapping[Hashable, float | None]]


class Difference(Measured):
    """Ours less the published number, in percentage points, with its sign."""

    def __str__(self) -> str:
        return f"{self.mean:+.2f}"


@dataclasses.dataclass(frozen=True)
class Summary(Measured):
    """A mean with its spread over seeds.

    Attributes:
        parts: (column, seed) of every number that it is made of.
        complete: whether no number was missing.
    """

    parts: tuple[tuple[str, Hashable], ...] = ()
    complete: bool = True


def summarise(
    values: Values, columns: Sequence[str], layout: Layout = OTHER, left_out: Sequence[str] | None = None
) -> dict[str, Summary | None]:
    """Return a summary over seeds of every column, of their average and of the layout's derived columns.

    A summary is made of what is there; None where there is nothing. The average is of the seeds that every column has.

    Args:
        values: the numbers.
        columns: the columns to summarise.
        layout: what is derived.
        left_out: columns that the average leaves out; the layout's when None.
    """
    there = {
        column: {seed: value for seed, value in values.get(column, {}).items() if value is not None}
        for column in columns
    }
    complete = {column: len(there[column]) == len(values.get(column, {})) for column in columns}
    left_out = layout.left_out if left_out is None else left_out
    averaged = [column for column in columns if column not in left_out]
    found = {
        column: _summary(there[column].values(), [(column, seed) for seed in there[column]], complete[column])
        for column in columns
    }
    found[AVERAGE] = _average({column: there[column] for column in averaged}, all(map(complete.get, averaged)))
    of = layout.columns or columns
    for name, function in layout.derived.items():
        found[name] = _derived(function, {column: there[column] for column in of}, layout.over)
        if found[name] and not all(map(complete.get, of)):
            found[name] = dataclasses.replace(found[name], complete=False)
    return found


def _summary(values: Iterable[float], parts: Iterable[tuple[str, Hashable]], complete: bool) -> Summary | None:
    values = list(values)
    measured = Measured.of(values) if values else None
    return Summary(measured.mean, measured.std, tuple(parts), complete) if measured else None


def _shared_seeds(there: Mapping[str, Mapping[Hashable, float]]) -> list[Hashable]:
    """Return the seeds that every column has."""
    first = next(iter(there.values()), {})
    return [seed for seed in first if all(seed in column for column in there.values())]


def _average(there: Mapping[str, Mapping[Hashable, float]], complete: bool) -> Summary | None:
    """Return mean and spread over seeds of each seed's mean over columns."""
    seeds = _shared_seeds(there)
    parts = [(column, seed) for column in there for seed in seeds]
    return _summary([mean([column[seed] for column in there.values()]) for seed in seeds], parts, complete)


def _derived(function, there: Mapping[str, Mapping[Hashable, float]], over: str) -> Summary | None:
    """Return a derived number; of the means over seeds or of every seed its spread is that of single seeds."""
    if not all(there.values()):
        return None
    each = [function(*([column[seed]] for column in there.values())) for seed in _shared_seeds(there)]
    if over == "each" and not each:
        return None
    value = mean(each) if over == "each" else function(*(list(column.values()) for column in there.values()))
    parts = tuple((column, seed) for column in there for seed in there[column])
    return Summary(value, population_std(each) if len(each) > 1 else None, parts)


def further_columns(columns: Sequence[str], layout: Layout, left_out: Sequence[str], least: int) -> list[str]:
    """Return the columns behind those of the runs.

    Args:
        columns: those of the runs.
        layout: what is derived and whether there is an average.
        left_out: columns that the average leaves out.
        least: how many columns an average has at least.
    """
    averaged = [column for column in columns if column not in left_out]
    return [*layout.derived, *([AVERAGE] if layout.average and len(averaged) >= least else [])]


@dataclasses.dataclass(frozen=True)
class Published:
    """A published row beside a row of ours.

    Attributes:
        label: its first cell.
        cells: by column.
        note: what a reader of it must know, "" for nothing.
        gap: first cell of the row of differences below it, "" for no such row.
        printed: whether it is shown itself; a row that several of ours are compared with is shown once.
    """

    label: str
    cells: Mapping[str, Cell]
    note: str = ""
    gap: str = ""
    printed: bool = True

    @classmethod
    def of(cls, row: PaperRow, label: str, gap: str = "", printed: bool = True) -> Published:
        """Return a row of `papers/` under a label; blank where nothing is published."""
        cells = {name: Measured(value, row.std.get(name)) for name, value in row.values.items() if value is not None}
        return cls(label, cells, f"{row.source}: {row.note}" if row.note else "", gap, printed)


@dataclasses.dataclass(frozen=True)
class Line:
    """A row of ours and the published rows below it.

    Attributes:
        label: its first cell; None where the published rows stand alone.
        cells: by column; a column that is absent is blank.
        published: what stands below it.
    """

    label: str | None
    cells: Mapping[str, Cell]
    published: Sequence[Published] = ()

    def rows(self, columns: Sequence[str]) -> list[tuple[Cell, ...]]:
        """Return its rows of a table: ours, then each published one and ours less it where both have a number."""
        made = [] if self.label is None else [(self.label, *map(self.cells.get, columns))]
        for other in self.published:
            if other.printed:
                made.append((other.label, *map(other.cells.get, columns)))
            gaps = [_gap(self.cells.get(name), other.cells.get(name)) for name in columns]
            if other.gap and any(gaps):
                made.append((other.gap, *gaps))
        return made


def _gap(ours: Cell, theirs: Cell) -> Difference | None:
    both = isinstance(ours, Measured) and isinstance(theirs, Measured)
    return Difference(ours.mean - theirs.mean) if both else None


def comparison(
    lines: Sequence[Line], columns: Sequence[str], caption: str, notes: Sequence[str] = (), last: Sequence[str] = ()
) -> Table:
    """Return the table of accuracies.

    Args:
        lines: our rows and the published ones.
        columns: the columns, averages and derived ones among them.
        caption: stands above it.
        notes: stand below it, before those of the published rows.
        last: notes behind those.
    """
    rows = [row for line in lines for row in line.rows(columns)]
    published = dict.fromkeys(other.note for line in lines for other in line.published if other.note)
    return Table(("accuracy (%)", *columns), tuple(rows), caption, (*notes, *published, *last))
