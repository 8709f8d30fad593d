"""What a study found: its data, its verdict and its numbers, kept as JSON and drawn again from it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from matplotlib.figure import Figure

from dassl.utils import atomic_path, read_json, write_json
from dassl.utils.errors import FOREIGN, UserError, shorten
from promptshift.results.tables import Cell, Measured, Table
from promptshift.studies.plots import draw
from promptshift.studies.style import svg

FOLDER = "figures"  # below the output root
_SCHEMA = 1


@dataclasses.dataclass(frozen=True)
class Outcome:
    """One figure, or one check, or both.

    Attributes:
        name: unique and fit for a file name.
        title: one line.
        caption: what is drawn, from what.
        verdict: what the numbers say, with their uncertainty; "" where there is nothing to decide.
        alt: the picture in words.
        kind: of `promptshift.studies.plots`, "" for a table without a picture.
        panels: data of the picture, plain JSON values.
        table: the numbers.
        notes: what a reader must know.
    """

    name: str
    title: str
    caption: str
    verdict: str = ""
    alt: str = ""
    kind: str = ""
    panels: tuple[dict, ...] = ()
    table: Table | None = None
    notes: tuple[str, ...] = ()

    def draw(self) -> Figure | None:
        """Return the picture, all panels side by side; None for a table without one."""
        return draw(self.kind, list(self.panels)) if self.kind else None

    def draw_panels(self) -> list[Figure]:
        """Return a picture of every panel."""
        return [draw(self.kind, [panel]) for panel in self.panels]

    def write(self, output: Path) -> list[Path]:
        """Write `<name>.json`, its picture and its table below `output`/figures; return their paths."""
        folder = output / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        fields["table"] = None if self.table is None else _plain_table(self.table)
        paths = [folder / f"{self.name}.json"]
        write_json({"schema": _SCHEMA, **fields}, str(paths[0]))
        if figure := self.draw():
            paths.append(folder / f"{self.name}.svg")
            with atomic_path(paths[-1]) as temporary:
                Path(temporary).write_text(svg(figure, self.name), encoding="utf-8")
        return paths + (self.table.write(folder, self.name) if self.table else [])


def read_outcome(path: Path) -> Outcome:
    """Read what `Outcome.write` wrote.

    Raises:
        UserError: the file is unreadable or of another kind; the line names it.
    """
    try:
        fields = read_json(path)
        if fields.pop("schema") != _SCHEMA:
            raise ValueError("another schema")
        table = fields.pop("table")
        outcome = Outcome(**fields, table=None if table is None else _table(table))
        return dataclasses.replace(outcome, panels=tuple(outcome.panels), notes=tuple(outcome.notes))
    except (UserError, *FOREIGN) as error:
        raise UserError(f"{path} is no outcome of a figure ({shorten(error)}); make it again") from None


def _plain_table(table: Table) -> dict:
    cells = [
        [{"mean": cell.mean, "std": cell.std} if isinstance(cell, Measured) else cell for cell in row]
        for row in table.rows
    ]
    return {"header": table.header, "rows": cells, "caption": table.caption, "notes": table.notes}


def _table(fields: dict) -> Table:
    rows = tuple(tuple(_cell(cell) for cell in row) for row in fields["rows"])
    return Table(tuple(fields["header"]), rows, fields["caption"], tuple(fields["notes"]))


def _cell(cell: dict | str | None) -> Cell:
    return Measured(cell["mean"], cell["std"]) if isinstance(cell, dict) else cell
