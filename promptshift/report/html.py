"""Tables and lists as HTML; every text is escaped here and nowhere else."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from promptshift.report.layouts import run_links
from promptshift.report.rows import Traced
from promptshift.results.tables import Cell, Measured, Table


def element(name: str, *content: str, **attributes: str) -> str:
    """Return an element; `content` is HTML, attribute values are text (`class_` and `aria_label` are spelt so)."""
    words = "".join(f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"' for key, value in attributes.items())
    return f"<{name}{words}>{''.join(content)}</{name}>"


def text(value: object) -> str:
    """Return a value as HTML text."""
    return escape(str(value))


def table_html(table: Table, folder: Path, class_: str = "") -> str:
    """Return a sortable table with its caption and notes.

    Args:
        table: cells of kind `Traced` open a list of links to their runs.
        folder: where the page will be, links are relative to it.
        class_: further class of the table.
    """
    heads = [
        element("th", element("button", text(name), type="button"), scope="col", aria_sort="none")
        for name in table.header
    ]
    rows = [
        element("tr", element("th", text(row[0] or ""), scope="row"), *(_cell(cell, folder) for cell in row[1:]))
        for row in table.rows
    ]
    inner = element(
        "table",
        element("caption", text(table.caption)),
        element("thead", element("tr", *heads)),
        element("tbody", *rows),
        **({"class_": class_} if class_ else {}),
    )
    label = f"{table.caption} (scrolls sideways)"
    scroll = element("div", inner, class_="scroll", role="region", tabindex="0", aria_label=label)
    return scroll + notes_html(table.notes)


def notes_html(notes: Sequence[str]) -> str:
    """Return a list of notes, nothing for none."""
    return element("ul", *(element("li", text(note)) for note in notes), class_="notes") if notes else ""


def _cell(cell: Cell, folder: Path) -> str:
    if isinstance(cell, Traced) and cell.runs:
        content = element("details", element("summary", text(cell)), _run_list(cell, folder))
        return element("td", content, data_value=repr(cell.mean))
    if isinstance(cell, Measured):
        return element("td", text(cell), data_value=repr(cell.mean))
    value = cell or ""
    number = value.removeprefix("< ")
    if number.replace(".", "", 1).isdigit():
        return element("td", text(value), data_value=number)
    return element("td", text(value), **({"class_": "text"} if len(value) > _LONG else {}))


_LONG = 24  # characters from which a text is set as text: to the left, in several lines


def _run_list(cell: Traced, folder: Path) -> str:
    """Return the runs of a cell, each with links to its files."""
    items = []
    for run in cell.runs:
        links = [
            element("a", text(what), href=link(path, folder), aria_label=f"{what} of {run.place}")
            for what, path in run_links(run)
        ]
        items.append(element("li", text(f"seed {run.seed}: {run.accuracy:.2f} "), " ".join(links)))
    return element("ul", *items)


def link(path: Path, folder: Path) -> str:
    """Return the relative address of a file, seen from a page in `folder`."""
    return quote(os.path.relpath(path, folder).replace(os.sep, "/"))


def document(title: str, style: str, script: str, body: Iterable[str]) -> str:
    """Return a whole page that loads nothing: its policy forbids it to."""
    policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
    head = (
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">'
        f"<title>{text(title)}</title><style>{style}</style>"
    )
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body>\n'
        + "\n".join(body)
        + f"\n<script>{script}</script>\n</body></html>\n"
    )
