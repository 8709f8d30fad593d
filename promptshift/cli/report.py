"""`promptshift report OUTPUT... --out FOLDER`: tables, tests and figures of finished runs on one page."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from dassl.utils import atomic_path
from dassl.utils.errors import UserError, WriteError
from promptshift.cli.command import Parser, answer
from promptshift.paths import output_root
from promptshift.report.runs import gather
from promptshift.report.sections import Section, sections_of

_EPILOG = """\
FOLDER/index.html opens from disk and needs no network; FOLDER/report.md says the same in Markdown, with the pictures
of FOLDER/figures/, and FOLDER/tables/ has every table as Markdown, CSV (full precision) and LaTeX.
Figures are those of `promptshift study`, found in figures/ of the folders read, and those that follow
from the results alone. Runs of this project (result.json) and of CoOp-style repositories (log.txt) are read.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the report: 0 when done, 2 after bad input (one line on stderr)."""
    return answer(_main, argv)


def _main(argv: Sequence[str] | None) -> int:
    parser = Parser("promptshift report", description=__doc__, epilog=_EPILOG)
    parser.add_argument("folders", nargs="*", metavar="FOLDER", help="with runs below (default: $OUTPUT, else output/)")
    parser.add_argument("--out", default="report", metavar="FOLDER", help="where to write (default: report/)")
    parser.add_argument(
        "--baseline",
        default="",
        metavar="TRAINER",
        help="compare with this one (default: ZeroshotCLIP where it was run, else the first)",
    )
    options = parser.parse_args(argv)
    page = write_report(options.folders or [str(output_root())], options.out, options.baseline)
    print(f"report: {page}")
    return 0


def write_report(roots: Sequence[str | Path], out: str | Path, baseline: str = "") -> Path:
    """Writes the page and the tables; returns the path of the page.

    Args:
        roots: folders with runs below them.
        out: folder to write to.
        baseline: trainer to compare the others with, "" for the usual one.

    Raises:
        UserError: there is no run, the baseline was not run anywhere, or `out` cannot be written to.
    """
    from promptshift.report.found import outcomes_of
    from promptshift.report.page import PICTURES, html_page, markdown_page, pictures

    gathered = gather(roots)
    trainers = sorted({run.trainer for run in gathered.runs})
    if baseline and baseline not in trainers:
        raise UserError(f"--baseline {baseline}: no run of it was found; allowed: {', '.join(trainers)}")
    sections = sections_of(gathered.runs, baseline)
    outcomes = outcomes_of(gathered, sections)
    out = Path(out).resolve()
    try:
        for folder in ("tables", PICTURES):
            (out / folder).mkdir(parents=True, exist_ok=True)
        for section in sections:
            _write_section(section, out / "tables")
        for name, picture in pictures(outcomes):
            _write(out / PICTURES / name, picture)
        _write(out / "report.md", markdown_page(gathered, sections, outcomes))
        _write(out / "index.html", html_page(gathered, sections, outcomes, out))
    except OSError as error:
        reason = str(error) if isinstance(error, WriteError) else os.strerror(error.errno or 0)
        raise UserError(f"--out {out}: cannot be written to ({reason})") from None
    return out / "index.html"


def _write_section(section: Section, folder: Path) -> None:
    section.table.write(folder, section.name)
    if section.tests:
        section.tests.write(folder, f"{section.name}-tests")


def _write(path: Path, content: str) -> None:
    with atomic_path(path) as temporary:
        Path(temporary).write_text(content, encoding="utf-8")
