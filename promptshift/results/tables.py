"""A small table value and its three written forms: Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

from dassl.utils import atomic_path
from promptshift.results.statistics import mean, population_std

_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
    }
)


@dataclasses.dataclass(frozen=True)
class Measured:
    """A mean with its spread over seeds; `std` is None where only the mean is known."""

    mean: float
    std: float | None = None

    @classmethod
    def of(cls, values: Sequence[float]) -> Measured:
        """Return mean and population standard deviation of `values`; one value alone has no spread."""
        return cls(mean(values), population_std(values) if len(values) > 1 else None)

    def __str__(self) -> str:
        return f"{self.mean:.2f}" if self.std is None else f"{self.mean:.2f} ± {self.std:.2f}"


Cell = str | Measured | None  # text, a measurement, or blank


@dataclasses.dataclass(frozen=True)
class Table:
    """Header, rows of equally many cells, a caption above and notes below.

    Raises:
        ValueError: a row is not as long as the header.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.header):
                raise ValueError(f"row {row!r} has {len(row)} cells, the header has {len(self.header)}")

    def markdown(self) -> str:
        """Return the table for Markdown and for the terminal, two decimals."""
        parts = [self.caption, self._grid("github"), *self.notes]
        return "\n\n".join(part for part in parts if part) + "\n"

    def latex(self) -> str:
        """Return a `table` environment that needs the booktabs package, two decimals."""
        lines = [r"\begin{table}", r"\centering"]
        if self.caption:
            lines.append(rf"\caption{{{self.caption.translate(_LATEX)}}}")
        lines.append(self._grid("latex_booktabs").replace("±", r"$\pm$"))
        lines += [rf"\par\footnotesize {note.translate(_LATEX)}" for note in self.notes]
        return "\n".join([*lines, r"\end{table}"]) + "\n"

    def csv(self) -> str:
        """Return header and rows at full precision; a column with spreads is followed by its `std` column."""
        spread = [
            any(isinstance(row[i], Measured) and row[i].std is not None for row in self.rows)
            for i in range(len(self.header))
        ]
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(
            [
                name
                for i, title in enumerate(self.header)
                for name in ([title, f"{title} std"] if spread[i] else [title])
            ]
        )
        for row in self.rows:
            writer.writerow([field for i, cell in enumerate(row) for field in _csv_fields(cell, spread[i])])
        return buffer.getvalue()

    def write(self, folder: str | Path, stem: str = "table") -> list[Path]:
        """Write `<stem>.md`, `<stem>.csv` and `<stem>.tex` atomically; return their paths."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        texts = {".md": self.markdown(), ".csv": self.csv(), ".tex": self.latex()}
        for suffix, text in texts.items():
            with atomic_path(folder / (stem + suffix)) as temporary:
                Path(temporary).write_text(text, encoding="utf-8")
        return [folder / (stem + suffix) for suffix in texts]

    def _grid(self, style: str) -> str:
        cells = [["" if cell is None else str(cell) for cell in row] for row in self.rows]
        align = ["left"] + ["right"] * (len(self.header) - 1)
        # disable_numparse: tabulate would otherwise turn "92.80" into 92.8.
        return tabulate(cells, headers=self.header, tablefmt=style, colalign=align, disable_numparse=True)


def _csv_fields(cell: Cell, spread: bool) -> list[str]:
    """Return the one or two CSV fields of a cell."""
    if isinstance(cell, Measured):
        first, second = repr(cell.mean), "" if cell.std is None else repr(cell.std)
    else:
        first, second = cell or "", ""
    return [first, second] if spread else [first]
