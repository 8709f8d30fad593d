"""What a driver shows: plain lines, and on a terminal a live table of the running jobs below them."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from types import TracebackType

from promptshift.launch.jobs import Job
from promptshift.launch.status import RUNNING, Status, status_of

_MOST_ROWS = 20
_COLUMNS = ("run", "epoch", "loss", "accuracy", "left", "for", "where")


class View:
    """Shows how the jobs of a plan fare, for as long as its block runs.

    Args:
        jobs: all of them.
    """

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._total, self._settled, self._began = len(jobs), 0, datetime.now()
        self._handed: dict[str, Job] = {}  # and not settled
        self._live = None
        self._next = 0.0

    def __enter__(self) -> View:
        if sys.stdout.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(), auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
        self._live = None

    def say(self, line: str) -> None:
        """Print one line, above the table where there is one."""
        if self._live is not None:
            self._live.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            print(line, flush=True)

    def started(self, jobs: Iterable[Job]) -> None:
        """Take note of jobs that were handed over."""
        self._handed |= {job.name: job for job in jobs}

    def settled(self, job: Job, line: str) -> None:
        """Take note of the end of a job, and say it."""
        self._handed.pop(job.name, None)
        self._settled += 1
        self.say(line)

    def refresh(self) -> None:
        """Draw the table anew where that is due: at most once in a second, and seldom where there are many jobs."""
        if self._live is None or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + max(1.0, len(self._handed) / 100)
        states = [(job, status_of(job.output_dir)) for job in self._handed.values()]
        running = [(job.name, status) for job, status in states if status and status.state == RUNNING]
        self._live.update(_picture(running, self._heading(len(running))), refresh=True)

    def _heading(self, running: int) -> str:
        passed = str(datetime.now() - self._began).partition(".")[0]
        return f"{self._settled} of {self._total} jobs settled, {running} running, {passed}"


def _picture(running: Sequence[tuple[str, Status]], heading: str) -> object:
    from rich.table import Table
    from rich.text import Text

    table = Table(*_COLUMNS, title=heading, title_justify="left", box=None, expand=False)
    for name, status in running[:_MOST_ROWS]:
        table.add_row(*map(Text, (name, *row_of(status))))  # a [ is no markup
    if len(running) > _MOST_ROWS:
        table.add_row(f"and {len(running) - _MOST_ROWS} more")
    return table


def row_of(status: Status) -> tuple[str, ...]:
    """Return epoch, loss, accuracy, time left, time since its start and place of a run."""
    told = status.progress
    since = str(datetime.now() - status.when).partition(".")[0] if status.when else ""
    return told.epoch, told.loss, told.accuracy, told.eta, since, status.where
