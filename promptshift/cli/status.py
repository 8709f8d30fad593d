"""`promptshift status [FOLDER]`: which runs below a folder are done, running, waiting, failed, stale or not finished.

FOLDER is $OUTPUT or output/ by default. Everything is read from the folders, so that any terminal and any machine that
sees them will do. A running one is shown with its start, the epoch that it has reached and the process and machine
that run it; a waiting one has its turn still to come, with a living driver or in a queue; a failed one is shown with
its error line. `stale` is what should run and of which nothing is heard (its machine or its process was killed), and a
result of other images, classes or split files than there are now. `not finished` is what was ended from outside, and
what `promptshift train` runs by hand, without a lock. The same command that began a run resumes it, or makes it anew.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

from dassl.utils.errors import UserError
from promptshift.cli.command import Parser, answer
from promptshift.launch.status import (
    DONE,
    FAILED,
    RUNNING,
    STALE,
    UNFINISHED,
    UNREADABLE,
    WAITING,
    Status,
    statuses,
)
from promptshift.paths import output_root

_WIDEST = 100  # of an error line in the table, in characters
_STATES = (DONE, RUNNING, WAITING, FAILED, STALE, UNFINISHED, UNREADABLE)
_HEADS = ("run", "state", "when", "epoch", "")


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table: 0, or 2 after bad input (one line on stderr)."""
    return answer(_main, argv)


def _main(argv: Sequence[str] | None) -> int:
    parser = Parser("promptshift status", description=__doc__)
    parser.add_argument("folder", nargs="?", default="", metavar="FOLDER")
    parser.add_argument("--watch", action="store_true", help="go on until nothing runs or waits, or until Ctrl-C")
    parser.add_argument("--every", type=float, default=2.0, metavar="SECONDS", help="with --watch (default: 2)")
    options = parser.parse_args(argv)
    root = Path(options.folder or output_root())
    if not root.is_dir():
        raise UserError(f"{root} is not a folder; expected a folder with runs below it")
    if not 0.1 <= options.every <= 86400:
        raise UserError(f"--every: {options.every}, allowed: seconds from 0.1 to 86400")
    if options.watch:
        return _watch(root, options)
    found = statuses(root)
    if found:
        rows = [_row(status, root) for status in found]
        print(tabulate(rows, _HEADS, disable_numparse=True))
    print(f"{_counts(found)} below {root}")
    return 0


def _watch(root: Path, options: argparse.Namespace) -> int:
    """Show how the runs fare: as a live table on a terminal, elsewhere as a line for each change of a state."""
    try:
        (_watch_live if sys.stdout.isatty() else _watch_lines)(root, options.every)
    except KeyboardInterrupt:
        return 130
    return 0


def _watch_live(root: Path, seconds: float) -> None:
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text

    with Live(console=Console(), auto_refresh=False) as live:
        while True:
            found = statuses(root)
            shown = sorted(found, key=lambda status: _STATES.index(status.state) if status.state != DONE else 99)
            table = Table(*_HEADS, title=f"{_counts(found)} below {root}", title_justify="left", box=None)
            for status in shown[: max(5, live.console.height - 6)]:
                table.add_row(*map(Text, _row(status, root)))  # a [ is no markup
            live.update(table, refresh=True)
            if not _goes_on(found):
                return
            time.sleep(seconds)


def _watch_lines(root: Path, seconds: float) -> None:
    known: dict[Path, tuple[str, str]] = {}
    while True:
        found = statuses(root)
        for status in found:
            if known.get(status.folder) != (status.state, status.epoch):
                known[status.folder] = (status.state, status.epoch)
                name, state, when, epoch, more = _row(status, root)
                print(
                    "  ".join(word for word in (f"{state:<12} {name}", when, epoch and f"epoch {epoch}", more) if word)
                )
        if not _goes_on(found):
            print(f"{_counts(found)} below {root}")
            return
        sys.stdout.flush()
        time.sleep(seconds)


def _goes_on(found: Sequence[Status]) -> bool:
    return any(status.state in (RUNNING, WAITING) for status in found)


def _row(status: Status, root: Path) -> tuple[str, ...]:
    when = f"{status.when:%Y-%m-%d %H:%M:%S}" if status.when else ""
    note = status.note if len(status.note) <= _WIDEST else f"{status.note[: _WIDEST - 1]}…"
    when = f"since {when}" if when and status.state in (RUNNING, WAITING) else when
    return str(status.folder.relative_to(root.resolve())), status.state, when, status.epoch, note or status.where


def _counts(found: Sequence[Status]) -> str:
    """Return how many runs are in which state, e.g. "5 runs (4 done, 1 running)"."""
    number = Counter(status.state for status in found)
    states = [f"{number[state]} {state}" for state in _STATES if number[state]]
    return f"{len(found)} run{'' if len(found) == 1 else 's'}" + (f" ({', '.join(states)})" if states else "")
