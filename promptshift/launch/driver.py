"""Sees a plan through on a launcher: skips what is finished, hands over what is ready, reports what became of it."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Protocol

from promptshift.launch.children import DONE, FAILED, LOST, SKIPPED, Outcome, finished, score, sweep
from promptshift.launch.jobs import Job, is_locked
from promptshift.launch.presence import present
from promptshift.launch.view import View

_LATE_SECONDS = 60.0  # that a file written on one machine may take to be seen on another


SHARED = "is {} on a file system that all machines share?"


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP: the driver is to end, which need not be the end of what it handed over.

    Attributes:
        left: name of the launcher in which jobs go on, "" where none do.
    """

    left = ""


@dataclasses.dataclass(frozen=True)
class Order:
    """A job that is ready: all that it needs is done.

    Attributes:
        job: the job.
        since: ISO 8601 time of the newest result that it reads; "" for none.
    """

    job: Job
    since: str = ""


class Launcher(Protocol):
    """A place where jobs run. `local`, `slurm` and `ray` are the three there are.

    Attributes:
        name: what users call it.
        outlives_driver: whether jobs go on when the driver ends, to be found again by the next one.
        retries: how often a job that was lost is handed over again.
        poll_seconds: how long the driver waits between two looks.
    """

    name: str
    outlives_driver: bool
    retries: int
    poll_seconds: float

    def room(self) -> int:
        """Return how many further jobs it takes now."""

    def find(self, jobs: Sequence[Job]) -> list[Job]:
        """Return those of the jobs that an earlier driver handed over and that are waiting or running still."""

    def submit(self, orders: Sequence[Order]) -> list[str]:
        """Take over jobs, at most `room()`; return lines that say so, "start  NAME (log: FILE)" for one."""

    def poll(self) -> list[Outcome]:
        """Return what became of jobs since the last call, including those that were not started at all."""

    def cancel(self) -> None:
        """End everything handed over; return when it is gone."""

    def close(self) -> None:
        """Let go of what the launcher holds; jobs of one that outlives its driver go on."""


class Driver:
    """Runs the jobs of one plan.

    Args:
        jobs: what to run, in this order.
        launcher: where.
    """

    def __init__(self, jobs: Sequence[Job], launcher: Launcher) -> None:
        self.jobs, self.launcher = jobs, launcher
        self.failed: list[Job] = []
        self._by_name = {job.name: job for job in jobs}
        self._open = set(self._by_name)  # not settled yet: neither done nor failed nor left alone
        self._pending = dict(self._by_name)
        self._late: dict[str, tuple[Outcome, float]] = {}  # done, but their results are not seen here: until when
        self._lost: Counter[str] = Counter()
        self._signals = _Signals()

    def run(self) -> list[Job]:
        """Runs everything that is not finished; returns the jobs that failed.

        Raises:
            KeyboardInterrupt: Ctrl-C, SIGTERM or SIGHUP; all jobs have ended by then, but for a `Terminated` with a
                launcher that outlives its driver.
            UserError: an output folder cannot be written to, or the launcher cannot work.
        """
        with self._signals, present(self.jobs, self.launcher.name) as life, View(self.jobs) as view:
            ended = False
            try:
                self._adopt(view)
                while self._open:
                    for outcome in [*self.launcher.poll(), *self._seen_late()]:
                        self._settle_outcome(outcome, view)
                    self._hand_over(view)
                    life.beat()
                    view.refresh()
                    if self._open:
                        time.sleep(self.launcher.poll_seconds)
                ended = True
            except Terminated as end:
                ended = self.launcher.outlives_driver
                end.left = self.launcher.name if ended else ""
                raise
            finally:
                if not ended:
                    self.launcher.cancel()
                self.launcher.close()
        return self.failed

    def _adopt(self, view: View) -> None:
        """Takes over what an earlier driver of the same jobs has handed over."""
        found = self.launcher.find([job for job in self.jobs if finished(job) is None])
        for job in found:
            del self._pending[job.name]
        if found:
            view.say(f"found  {len(found)} jobs handed to {self.launcher.name} before")

    def _hand_over(self, view: View) -> None:
        """Hands over pending jobs, those whose needs are settled, for as long as there is room."""
        orders: list[Order] = []
        for job in list(self._pending.values()):
            if len(orders) >= self.launcher.room():
                break
            if self._open.isdisjoint(job.after) and not _awaited(job):
                del self._pending[job.name]
                if (order := self._order(job, view)) is not None:
                    orders.append(order)
        if orders:
            with self._signals.held():
                lines = self.launcher.submit(orders)
            for line in lines:
                view.say(line)
            view.started(order.job for order in orders)

    def _order(self, job: Job, view: View) -> Order | None:
        """Returns the order of a job; None for one that is finished or cannot start, which is settled then."""
        needs = [self._by_name[name] for name in job.after]
        results = [need.record() for need in needs]
        since = max((record["finished"] for record in results if record is not None), default="")
        if (record := finished(job, since)) is not None:
            sweep(job)
            self._settle(job, f"skip   {job.name}: finished before, {score(record)}", view)
            return None
        if None in results:
            self._leave_out(job, needs[results.index(None)], view)
            return None
        if (found := job.found()).kind == "stale":
            view.say(f"stale  {job.name}: {found.problem}")
        return Order(job, since)

    def _leave_out(self, job: Job, needed: Job, view: View) -> None:
        """Reports a job that cannot start; it failed if the one it needs did, and waits if that runs elsewhere."""
        if needed in self.failed:
            self.failed.append(job)
            self._settle(job, f"failed {job.name}: it needs {needed.name}, which failed", view)
        else:
            self._settle(job, f"skip   {job.name}: it needs {needed.name}, which another process is running", view)

    def _seen_late(self) -> list[Outcome]:
        """Returns the outcomes of done jobs whose results were not seen at first and are now, or should have been."""
        ready = []
        for name, (outcome, until) in list(self._late.items()):
            job = self._by_name[name]
            if job.record() is None and time.monotonic() < until:
                continue
            del self._late[name]
            blind = f"it is done where it ran, but no result is seen here after {_LATE_SECONDS:.0f} s; {SHARED}"
            ready.append(outcome if job.record() else Outcome(name, FAILED, blind.format(job.output_dir)))
        return ready

    def _settle_outcome(self, outcome: Outcome, view: View) -> None:
        """Reports one ended job."""
        job = self._by_name[outcome.job]
        if outcome.kind == LOST and self._lost[job.name] < self.launcher.retries:
            self._lost[job.name] += 1
            self._pending[job.name] = job
            view.say(f"again  {job.name}: {outcome.note}")
        elif outcome.kind in (FAILED, LOST):
            self.failed.append(job)
            self._settle(job, f"failed {job.name}: {outcome.note} (log: {job.log})", view)
        elif outcome.kind in (DONE, SKIPPED) and job.record() is None:
            self._late[job.name] = (outcome, time.monotonic() + _LATE_SECONDS)
        elif outcome.kind == DONE:
            self._settle(job, f"done   {job.name}: {outcome.note} in {outcome.seconds:.0f} s", view)
        else:  # finished before, or elsewhere
            self._settle(job, f"skip   {job.name}: {outcome.note}", view)

    def _settle(self, job: Job, line: str, view: View) -> None:
        """Says how a job ended, so that others need not wait for it any longer."""
        self._open.remove(job.name)
        view.settled(job, line)


def _awaited(job: Job) -> bool:
    """Whether a stage is being made by another sweep, whose end is waited for: the jobs that need it would wait too."""
    return bool(job.call.stage) and is_locked(job.output_dir, job.lock_name)


class _Signals:
    """Lets Ctrl-C, SIGTERM and SIGHUP raise KeyboardInterrupt, but not while jobs are handed over.

    A job that has begun and is not noted down yet would be nobody's: it would go on alone.
    """

    def __init__(self) -> None:
        self._held, self._waiting = False, None

    def __enter__(self) -> _Signals:
        numbers = [signal.SIGTERM, signal.SIGHUP]
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as a shell starts jobs in the background
            numbers.append(signal.SIGINT)
        self._before = {number: signal.signal(number, self._interrupt) for number in numbers}
        return self

    def __exit__(self, *failed: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _interrupt(self, number: int, frame: object) -> None:
        self._waiting = KeyboardInterrupt if number == signal.SIGINT else Terminated
        if not self._held:
            raise self._waiting

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Raise what comes meanwhile at the end."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self._waiting:
            raise self._waiting
