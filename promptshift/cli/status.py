"""`promptshift status [FOLDER]`: which runs below a folder are done, running, failed or not finished.

FOLDER is $OUTPUT or output/ by default. A running one is shown with its start and the epoch that it has reached, and,
on the machine that runs it, with the process that started it; a failed one with its error line. `not finished` is what
was ended from outside, and what `promptshift train` runs by hand, without a lock: the same command resumes it. `stale`
is a result of other images, classes or split files than there are now: the same command makes it anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

from dassl.utils.errors import UserError
from promptshift.cli.command import Parser, answer
from promptshift.launch.status import DONE, FAILED, RUNNING, STALE, UNFINISHED, UNREADABLE, Status, statuses
from promptshift.paths import output_root

_WIDEST = 100  # of an error line in the table, in characters


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table: 0, or 2 after bad input (one line on stderr)."""
    return answer(_main, argv)


def _main(argv: Sequence[str] | None) -> int:
    parser = Parser("promptshift status", description=__doc__)
    parser.add_argument("folder", nargs="?", default="", metavar="FOLDER")
    root = Path(parser.parse_args(argv).folder or output_root())
    if not root.is_dir():
        raise UserError(f"{root} is not a folder; expected a folder with runs below it")
    found = statuses(root)
    if found:
        rows = [_row(status, root) for status in found]
        print(tabulate(rows, ("run", "state", "when", "epoch", ""), disable_numparse=True))
    print(f"{_counts(found)} below {root}")
    return 0


def _row(status: Status, root: Path) -> tuple[str, ...]:
    when = f"{status.when:%Y-%m-%d %H:%M:%S}" if status.when else ""
    note = status.note if len(status.note) <= _WIDEST else f"{status.note[: _WIDEST - 1]}…"
    when = f"since {when}" if when and status.state == RUNNING else when
    return str(status.folder.relative_to(root)), status.state, when, status.epoch, note or status.where


def _counts(found: Sequence[Status]) -> str:
    """Return how many runs are in which state, e.g. "5 runs (4 done, 1 running)"."""
    number = Counter(status.state for status in found)
    states = [
        f"{number[state]} {state}" for state in (DONE, RUNNING, FAILED, UNFINISHED, STALE, UNREADABLE) if number[state]
    ]
    return f"{len(found)} run{'' if len(found) == 1 else 's'}" + (f" ({', '.join(states)})" if states else "")
