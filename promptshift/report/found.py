"""The figures of a report: those that studies left beside the runs, and those that follow from the results alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dassl.utils.errors import FOREIGN, UserError, shorten
from promptshift.report.rows import Row
from promptshift.report.runs import Gathered, Problem
from promptshift.report.sections import Section
from promptshift.results.statistics import mean, population_std
from promptshift.studies.checks.few_shot import few_shot_panel
from promptshift.studies.outcome import FOLDER, Outcome, read_outcome


def outcomes_of(gathered: Gathered, sections: Sequence[Section]) -> list[Outcome]:
    """Return every figure; a file that is none is added to the problems."""
    outcomes = []
    for root in gathered.roots:
        for path in sorted((root / FOLDER).glob("*.json")):
            try:
                outcomes.append(_drawn(path))
            except UserError as error:
                text = str(error).replace(f"{path.parent}/", "")
                gathered.problems.append(Problem("corrupt figure", f"{gathered.name_of(root)}/{FOLDER}", text))
    known = [_curves(outcome) for outcome in outcomes]  # a study's picture comes with a verdict
    own = [outcome for section in sections for outcome in _from_section(section) if _curves(outcome) not in known]
    return own + outcomes


def _curves(outcome: Outcome) -> list:
    """Return what the picture shows, whatever the order of its curves."""
    return [sorted(map(str, panel.get("series", [panel]))) for panel in outcome.panels]


def _drawn(path: Path) -> Outcome:
    """Read an outcome and draw it once, so that data which cannot be drawn is found here.

    Raises:
        UserError: it cannot be read or drawn.
    """
    outcome = read_outcome(path)
    try:
        outcome.draw_panels()
    except FOREIGN as error:
        raise UserError(f"{path} cannot be drawn ({type(error).__name__}: {shorten(error)}); make it again") from None
    return outcome


def _from_section(section: Section) -> list[Outcome]:
    if section.layout.figure == "columns" and len(section.columns) > 1:
        return [_shots(section)]
    if section.layout.figure == "epochs" and section.rows:
        return _validation(section)
    return []


def _shots(section: Section) -> Outcome:
    """Return accuracy against the number of training images per class."""
    panel = few_shot_panel(
        {
            row.label: {int(column): cell for column in section.columns if (cell := row.cell(column))}
            for row in section.rows
        }
    )
    return Outcome(
        f"{section.name}-curves",
        f"Few-shot curves: {section.dataset}, {section.backbone}",
        "Test accuracy against the number of training images per class; bands: standard deviation over seeds.",
        alt=f"Accuracy against shots for {', '.join(row.label for row in section.rows)}; the numbers stand in the "
        f"table {section.table.caption!r}.",
        kind="lines",
        panels=(panel,),
    )


def _validation(section: Section) -> list[Outcome]:
    """Return the validation accuracy over the epochs of the trainers that validated more than once."""
    series = [line for row in section.rows if (line := _history(row))]
    if not series:
        return []
    panel = {"title": section.dataset, "xlabel": "epoch", "ylabel": "validation accuracy (%)", "series": series}
    return [
        Outcome(
            f"{section.name}-epochs",
            f"Validation accuracy over epochs: {section.dataset}, {section.backbone}",
            "Accuracy on the validation images of the source domains, mean over the runs of a row; bands: standard "
            "deviation over runs (held-out domains and seeds together).",
            alt=f"Validation accuracy by epoch for {', '.join(line['label'] for line in series)}.",
            kind="lines",
            panels=(panel,),
        )
    ]


def _history(row: Row) -> dict | None:
    """Return the mean curve of a row's runs over the epochs that all of them validated, None for fewer than two."""
    runs = [run for column in row.cells.values() for run in column.values() if run.record]
    curves = [
        {epoch["epoch"]: epoch["val_accuracy"] for epoch in run.record["history"] if "val_accuracy" in epoch}
        for run in runs
    ]
    epochs = sorted(set.intersection(*map(set, curves))) if curves else []
    if len(epochs) < 2:
        return None
    values = [[curve[epoch] for curve in curves] for epoch in epochs]
    return {"label": row.label, "x": epochs, "y": list(map(mean, values)), "spread": list(map(population_std, values))}
