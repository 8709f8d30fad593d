"""Runs jobs as processes, some at a time: skips finished ones, starts unfinished ones again, ends its children."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence

from tqdm import tqdm

from dassl.utils.errors import shorten
from dassl.utils.writing import remove_stale_temporaries, writing
from promptshift.launch.jobs import Job, Locked, is_locked, lock
from promptshift.paths import checkout, is_installed, workplace

_POLL_SECONDS = 0.05
_GRACE_SECONDS = 10.0


@dataclasses.dataclass
class _Child:
    """A running job: its process, when it started, and the lock to give back."""

    job: Job
    process: subprocess.Popen
    started: float
    held: contextlib.ExitStack

    def stop(self) -> None:
        """Ends the process and everything it started; returns when it is gone."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.held.close()


class Runner:
    """Runs the jobs of one plan.

    Args:
        jobs: what to run, in this order.
        slots: how many run at the same time, at least 1.
        gpus: devices to hand out in turn through CUDA_VISIBLE_DEVICES; empty leaves that variable alone.
        command: program that takes a job's arguments; `train.py` of the checkout, or `promptshift train`, when None.
    """

    def __init__(
        self, jobs: Sequence[Job], slots: int = 1, gpus: Sequence[str] = (), command: Sequence[str] | None = None
    ) -> None:
        self.jobs = jobs
        self.slots = slots
        self.gpus = gpus
        self.command = [*(command or (sys.executable, *train_program()))]
        self.failed: list[Job] = []
        self._open = {job.name for job in jobs}  # not settled yet: neither done nor failed nor left alone
        self._running: dict[int, _Child] = {}

    def run(self) -> list[Job]:
        """Runs everything that is not finished; returns the jobs that failed.

        Raises:
            KeyboardInterrupt: Ctrl-C, SIGTERM or SIGHUP; all children have ended by then.
            UserError: an output folder cannot be written to.
        """
        pending = deque(self.jobs)
        # Progress on a terminal is a bar; elsewhere only the lines below are printed.
        with _signals_interrupt(), tqdm(total=len(self.jobs), unit="job", disable=not sys.stderr.isatty()) as bar:
            try:
                while pending or self._running:
                    self._fill(pending, bar)
                    time.sleep(_POLL_SECONDS)
                    for slot, child in list(self._running.items()):
                        if child.process.poll() is not None:
                            self._finish(self._running.pop(slot), bar)
            finally:
                for child in self._running.values():
                    child.stop()
        return self.failed

    def _fill(self, pending: deque[Job], bar: tqdm) -> None:
        """Starts pending jobs, those whose needs are settled, until every slot is taken."""
        for slot in range(self.slots):
            while slot not in self._running:
                ready = next((job for job in pending if self._open.isdisjoint(job.after) and not _awaited(job)), None)
                if ready is None:
                    return
                pending.remove(ready)
                self._start(ready, slot, bar)

    def _start(self, job: Job, slot: int, bar: tqdm) -> None:
        """Starts one job in a slot, unless it is finished, another process runs it or a job it needs is not done."""
        with contextlib.ExitStack() as stack:
            try:
                descriptor = stack.enter_context(lock(job.output_dir, job.lock_name))
            except Locked:
                self._settle(job, f"skip   {job.name}: another process is running it ({job.output_dir})", bar)
                return
            if not job.call.stage:  # which some run may be making, under a lock of its own
                remove_stale_temporaries(job.output_dir, subfolders=True)
            found = job.found()
            if found.kind == "stale":
                _say(bar, f"stale  {job.name}: {found.problem}")
            record = None if job.always else job.record()
            needed_jobs = [needed for needed in self.jobs if needed.name in job.after]
            if record is not None and not _outdated(record, needed_jobs):
                self._settle(job, f"skip   {job.name}: finished before, {_score(record)}", bar)
                return
            missing = [needed for needed in needed_jobs if needed.record() is None]
            if missing:
                self._leave_out(job, missing[0], bar)
                return
            _say(bar, f"start  {job.name} (log: {job.log})")
            with writing(job.log), open(job.log, "wb") as log:
                process = subprocess.Popen(
                    [*self.command, *job.argv],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=workplace(),
                    env=self._environment(slot),
                    pass_fds=(descriptor,),
                    start_new_session=True,
                )
            self._running[slot] = _Child(job, process, time.monotonic(), stack.pop_all())

    def _environment(self, slot: int) -> dict[str, str]:
        """Returns the child's environment: a share of the cores, one of the GPUs."""
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        environment.setdefault("OMP_NUM_THREADS", str(max(1, available_cores() // self.slots)))
        if self.gpus:
            environment["CUDA_VISIBLE_DEVICES"] = self.gpus[slot % len(self.gpus)]
        return environment

    def _finish(self, child: _Child, bar: tqdm) -> None:
        """Reports one ended job and gives its lock back."""
        job, seconds = child.job, time.monotonic() - child.started
        if child.process.returncode < 0:  # killed: its data-loading workers would hold the lock for seconds more
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.process.pid, signal.SIGKILL)
        record = job.record() if child.process.returncode == 0 else None
        child.held.close()
        if record is not None:
            self._settle(job, f"done   {job.name}: {_score(record)} in {seconds:.0f} s", bar)
            return
        self.failed.append(job)
        self._settle(job, f"failed {job.name}: {_reason(child.process.returncode, job)} (log: {job.log})", bar)

    def _leave_out(self, job: Job, needed: Job, bar: tqdm) -> None:
        """Reports a job that cannot start; it failed if the one it needs did, and waits if that runs elsewhere."""
        if needed in self.failed:
            self.failed.append(job)
            self._settle(job, f"failed {job.name}: it needs {needed.name}, which failed", bar)
        else:
            self._settle(job, f"skip   {job.name}: it needs {needed.name}, which another process is running", bar)

    def _settle(self, job: Job, line: str, bar: tqdm) -> None:
        """Says how a job ended, so that others need not wait for it any longer."""
        self._open.remove(job.name)
        _say(bar, line)
        bar.update()


def _awaited(job: Job) -> bool:
    """Whether a stage is being made by another sweep, whose end is waited for: the jobs that need it would wait too."""
    return bool(job.call.stage) and is_locked(job.output_dir, job.lock_name)


def train_program() -> tuple[str, ...]:
    """What Python is given to run one job: the checkout's train.py, or the command of an installed package."""
    return ("-m", "promptshift", "train") if is_installed() else (str(checkout() / "train.py"),)


def available_cores() -> int:
    """Returns how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextlib.contextmanager
def _signals_interrupt() -> Iterator[None]:
    """Lets SIGTERM and SIGHUP raise KeyboardInterrupt, as Ctrl-C does."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say(bar: tqdm, line: str) -> None:
    """Prints one line without tearing the bar."""
    bar.write(line, file=sys.stdout)
    sys.stdout.flush()


def _outdated(record: dict, needed: Sequence[Job]) -> bool:
    """Returns whether a job that the result was read from has been run again since."""
    newer = [other for job in needed if (other := job.record()) is not None]
    return any(other["finished"] > record["finished"] for other in newer)


def _score(record: dict) -> str:
    """Returns the accuracy of a record for a progress line."""
    return f"accuracy {record['metrics']['accuracy']:.2f} %"


def _reason(returncode: int, job: Job) -> str:
    """Returns one line that says why a job failed: its own error line where it wrote one."""
    if returncode < 0:
        hint = " (out of memory?)" if returncode == -signal.SIGKILL else ""
        return f"ended by signal {signal.Signals(-returncode).name}{hint}"
    if returncode == 0:
        found = job.found()
        changed = "its result is of another configuration: code or configuration files changed meanwhile; run again"
        return changed if found.record else f"ended without an error but {found.problem}"
    text = job.log.read_text(encoding="utf-8", errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in text.splitlines(keepends=True) if line.startswith("error:") and line.endswith("\n")]
    if returncode == 2 and not errors:  # a run ends so after an error line, which then could not be written
        free = shutil.disk_usage(job.output_dir).free
        return f"{job.log} could not be written to the end: is the disk full? {free:,} bytes are free"
    return shorten((errors or lines or [f"exit code {returncode}, no output"])[-1].strip(), 500)
