"""Rows of a table: the runs of one trainer with one configuration, by column and seed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from promptshift.report.runs import Run
from promptshift.results.comparison import Summary, summarise
from promptshift.results.layout import OTHER, Layout
from promptshift.results.tables import Measured
from promptshift.runs.stored_config import differences, family, prefixes, show_differences

MARKS = {
    "oracle": "‡ Chosen by looking at the test images: an upper bound, no honest number.",
    "log": "§ From a log of another repository, rounded as printed there; the split that chose the weights is not "
    "known to be disjoint from the test images.",
    "val": "¶ Measured on validation images, not on a test set.",
}
_SIGNS = {"oracle": "‡", "log": "§", "val": "¶"}


@dataclasses.dataclass(frozen=True)
class Traced(Measured):
    """A measurement with the runs it is made of.

    Attributes:
        runs: in the order of their seeds.
        wanted: number of seeds that the row has in some column; fewer runs make the cell incomplete.
    """

    runs: tuple[Run, ...] = ()
    wanted: int = 0

    def __str__(self) -> str:
        seeds = len({run.seed for run in self.runs})
        return super().__str__() + (f" ({seeds} of {self.wanted} seeds)" if seeds < self.wanted else "")


@dataclasses.dataclass
class Row:
    """One trainer in one configuration.

    Attributes:
        label: trainer, what is special about the configuration, and marks.
        trainer: registered name.
        cells: column -> seed -> run.
        notes: what a reader must know about this row.
        marks: keys of `MARKS` that hold for it.
    """

    label: str
    trainer: str
    cells: dict[str, dict[int, Run]]
    notes: list[str]
    marks: tuple[str, ...] = ()

    @property
    def seeds(self) -> list[int]:
        """Return every seed that occurs in some column."""
        return sorted({seed for runs in self.cells.values() for seed in runs})

    def cell(self, column: str) -> Traced | None:
        """Return mean and spread over the seeds of a column, None where no run is."""
        return self.measured([column], OTHER)[column]

    def measured(self, columns: Sequence[str], layout: Layout) -> dict[str, Traced | None]:
        """Return mean and spread of columns, of their average and of what the layout derives; None without runs."""
        values = {column: {seed: run.accuracy for seed, run in runs.items()} for column, runs in self.cells.items()}
        return {name: self._traced(summary) for name, summary in summarise(values, columns, layout).items()}

    def _traced(self, summary: Summary | None) -> Traced | None:
        if summary is None:
            return None
        runs = tuple(self.cells[column][seed] for column, seed in summary.parts)
        return Traced(summary.mean, summary.std, runs, len(self.seeds))

    def pairs(self) -> dict[tuple[str, int], float]:
        """Return accuracy by (column, seed), for paired tests."""
        return {(column, seed): run.accuracy for column, runs in self.cells.items() for seed, run in runs.items()}


def rows_of(runs: Sequence[Run], layout: Layout) -> list[Row]:
    """Return the rows of one table, sorted by trainer; a trainer has a row for every configuration that it was run in.

    Args:
        runs: the runs of the table.
        layout: what may differ within a row, and what is a column.
    """
    rows = []
    for trainer in sorted({run.trainer for run in runs}, key=str.lower):
        groups = _groups([run for run in runs if run.trainer == trainer], layout)
        rows += [_row(group, groups[0], layout) for group in groups]
    return rows


def _groups(runs: Sequence[Run], layout: Layout) -> list[list[Run]]:
    """Return the runs of a trainer by configuration, the largest group first."""
    groups: dict[tuple, list[Run]] = {}
    is_free = prefixes(layout.free)
    for run in runs:
        settings = "" if run.cfg is None else family(run.cfg, is_free)
        groups.setdefault((settings, run.selection, run.log_only), []).append(run)
    return sorted(groups.values(), key=len, reverse=True)


def _row(runs: list[Run], first: list[Run], layout: Layout) -> Row:
    """Make a row; what sets it apart from the trainer's largest row stands in its label and in a note."""
    run, main = runs[0], first[0]
    marks = _marks(run)
    label = run.trainer + "".join(_SIGNS[mark] for mark in marks)
    notes = []
    if runs is not first:
        special, note = _what_differs(run, main, layout)
        label += f" ({special})"
        notes.append(f"{label}: {len(runs)} {_count(runs)} kept apart from the {len(first)} of {main.trainer}: {note}.")
    stages = {run.cfg.get("STAGE", "") for run in runs if run.cfg} - {""}
    if len(stages) > 1:
        notes.append(
            f"{label}: these runs learnt from stages of {len(stages)} configurations (STAGE in their "
            "config.yaml); run the protocol again to have them alike."
        )
    cells, repeated = _cells(runs, layout)
    notes += [f"{label}: {text}" for text in repeated]
    return Row(label, run.trainer, cells, notes, marks)


def _count(runs: Sequence[Run]) -> str:
    return "run" if len(runs) == 1 else "runs"


def _marks(run: Run) -> tuple[str, ...]:
    holds: Mapping[str, bool] = {"oracle": run.selection == "oracle", "log": run.log_only, "val": run.split == "val"}
    return tuple(mark for mark, true in holds.items() if true)


def _what_differs(run: Run, main: Run, layout: Layout) -> tuple[str, str]:
    """Return (what to write behind the trainer's name, the same as a sentence)."""
    if run.log_only != main.log_only:
        return "from logs" if run.log_only else "with results", "results and logs are not averaged together"
    if run.cfg is None or main.cfg is None:
        return "configuration unknown", "config.yaml is missing or unreadable"
    changes = differences(main.cfg, run.cfg, prefixes(layout.free))
    if not changes:
        return f"selected by {run.selection}", f"selected by {run.selection}, not by {main.selection}"
    mine, theirs = show_differences(changes, 1), show_differences(changes, 0)
    return mine, f"other configuration ({mine}, there {theirs})"


def _cells(runs: Sequence[Run], layout: Layout) -> tuple[dict[str, dict[int, Run]], list[str]]:
    """Return column -> seed -> run, and a note for every run that was left out because a newer one is there."""
    cells: dict[str, dict[int, Run]] = {}
    notes = []
    for run in sorted(runs, key=lambda run: (run.seed, run.finished, run.place), reverse=True):  # newest first
        column = cells.setdefault(layout.column(run.setting), {})
        kept = column.setdefault(run.seed, run)
        if kept is not run:
            equal = "the same number" if kept.accuracy == run.accuracy else f"{run.accuracy:.2f} there"
            notes.append(
                f"{layout.column(run.setting)}, seed {run.seed} is there twice; {kept.place} counts, it is the newer "
                f"one, {run.place} does not ({equal})."
            )
    return {name: dict(sorted(column.items())) for name, column in sorted(cells.items())}, notes
