"""One run as a process: started under the lock of its folder, watched, ended, and what became of it."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from dassl.utils.errors import shorten
from dassl.utils.writing import remove_stale_temporaries, writing
from promptshift.launch.jobs import STARTED, Job, last_start
from promptshift.launch.locks import Beat, Locked, lock
from promptshift.paths import checkout, is_installed, workplace
from promptshift.results.collect import inspect
from promptshift.results.record import Record

DONE, FAILED, SKIPPED, ELSEWHERE, LOST = "done", "failed", "skipped", "elsewhere", "lost"
_GRACE_SECONDS = 10.0
_PR_SET_PDEATHSIG = 1  # of Linux's prctl


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a job that was handed over.

    Attributes:
        job: its name.
        kind: "done"; "failed"; "skipped" (its result was there); "elsewhere" (another process runs it); "lost" (it
            is gone without a word, as after a preemption that cancels: to be handed over again).
        note: the accuracy, or the one line that says why it failed.
        seconds: how long it ran.
        returncode: of its process, None where it had none.
    """

    job: str
    kind: str
    note: str
    seconds: float = 0.0
    returncode: int | None = None


@dataclasses.dataclass
class Child:
    """A running job: its process, when it started, and the lock to give back."""

    job: Job
    process: subprocess.Popen
    held: contextlib.ExitStack
    life: Beat
    started: float = dataclasses.field(default_factory=time.monotonic)

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

    def poll(self) -> Outcome | None:
        """Returns what became of the job and gives its lock back, None while it runs."""
        returncode = self.process.poll()
        if returncode is None:
            self.life.beat()
            return None
        if returncode < 0:  # killed: its data-loading workers would hold the lock for seconds more
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
        record = self.job.record() if returncode == 0 else None
        self.held.close()
        seconds = time.monotonic() - self.started
        if record is not None:
            return Outcome(self.job.name, DONE, score(record), seconds, returncode)
        return Outcome(self.job.name, FAILED, _reason(returncode, self.job), seconds, returncode)


def start(
    job: Job,
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    since: str = "",
    where: str = "",
    dies_with_parent: bool = False,
) -> Child | Outcome:
    """Starts a job, unless its result is there or another process runs it.

    Args:
        job: the job.
        command: program that takes its arguments.
        environment: what is set for it beside the variables of this process.
        since: ISO 8601 time before which a result is too old, that of what the job reads; "" for none.
        where: words on the place, for those who look at the lock.
        dies_with_parent: whether a kill of this process is to end the job's as well (on Linux).

    Returns:
        The process, or what became of the job without one.

    Raises:
        UserError: its folder or its log cannot be written to.
    """
    with contextlib.ExitStack() as stack:
        try:
            descriptor = stack.enter_context(lock(job.output_dir, where, job.lock_name))
        except Locked:
            return Outcome(job.name, ELSEWHERE, f"another process is running it ({job.output_dir})")
        sweep(job)
        if (record := finished(job, since)) is not None:
            return Outcome(job.name, SKIPPED, f"finished before, {score(record)}")
        with writing(job.log), open(job.log, "ab") as log:
            if log.tell():
                log.write(b"\n")
            log.write(_header(where).encode())
            log.flush()
            process = subprocess.Popen(
                [*command, *job.argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=workplace(),
                env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
                pass_fds=(descriptor,),
                start_new_session=True,
                preexec_fn=_end_with(os.getpid()) if dies_with_parent else None,
            )
        return Child(job, process, stack.pop_all(), Beat(descriptor))


def sweep(job: Job) -> None:
    """Removes what killed processes left in a job's folder; a stage's may be another run's, under its own lock."""
    if not job.call.stage:
        remove_stale_temporaries(job.output_dir, subfolders=True)


def finished(job: Job, since: str = "") -> Record | None:
    """Returns the record that spares a job its run: of this configuration, and not older than what the job reads."""
    record = None if job.always else job.record()
    return record if record is not None and record["finished"] >= since else None


def train_program() -> tuple[str, ...]:
    """What Python is given to run one job: the checkout's train.py, or the command of an installed package."""
    return ("-m", "promptshift", "train") if is_installed() else (str(checkout() / "train.py"),)


def train_command() -> list[str]:
    """The program that runs one job."""
    return [sys.executable, *train_program()]


def available_cores() -> int:
    """Returns how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def score(record: Record) -> str:
    """Returns the accuracy of a record for a progress line."""
    return f"accuracy {record['metrics']['accuracy']:.2f} %"


def _header(where: str) -> str:
    place = f"{platform.node()}{f' ({where})' if where else ''}"
    return f"{STARTED}{datetime.now():%Y-%m-%d %H:%M:%S} on {place} ====\n"


def _end_with(parent: int) -> Callable[[], None] | None:
    """Returns what a new process calls to be ended when its parent is; None where the system knows no such thing."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it ended meanwhile
            os._exit(1)

    return ask


def _reason(returncode: int, job: Job) -> str:
    """Returns one line that says why a job failed: its own error line where it wrote one."""
    if returncode < 0:
        hint = " (out of memory?)" if returncode == -signal.SIGKILL else ""
        return f"ended by signal {signal.Signals(-returncode).name}{hint}"
    if returncode == 0:
        found = inspect(job.output_dir)
        changed = "its result is of another configuration: code or configuration files changed meanwhile; run again"
        return changed if found.record else f"ended without an error but {found.problem}"
    text = last_start(job.log.read_text(encoding="utf-8", errors="replace"))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in text.splitlines(keepends=True) if line.startswith("error:") and line.endswith("\n")]
    if returncode == 2 and not errors:  # a run ends so after an error line, which then could not be written
        free = shutil.disk_usage(job.output_dir).free
        return f"{job.log} could not be written to the end: is the disk full? {free:,} bytes are free"
    return shorten((errors or lines or [f"exit code {returncode}, no output"])[-1].strip(), 500)
