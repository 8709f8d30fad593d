"""What the runs below a folder are doing, read from their folders alone: nothing is asked of the processes."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import platform
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from promptshift.launch.cluster.tickets import TICKET, read_ended, read_ticket
from promptshift.launch.jobs import LOG_NAME, is_locked, last_start
from promptshift.launch.locks import LOCK_NAME, SILENT, Holder, holder
from promptshift.launch.presence import seen_through
from promptshift.results.collect import inspect

DONE, RUNNING, WAITING, FAILED = "done", "running", "waiting", "failed"
STALE, UNFINISHED, UNREADABLE = "stale", "not finished", "unreadable"

# any of them: a run started there, or waits
_SIGNS = ("result.json", "config.yaml", "log.txt", "last.pth.tar", LOG_NAME, TICKET)
_ASIDE = "previous-"  # begins the folders that hold what another configuration left
_DRIVERS = "launch"  # the output root's folder with what launchers keep
_LINE = re.compile(r"epoch \[(\d+/\d+)\].*")
_NUMBER = r" \S+ \(([-+.\w]+)\)"  # of a train line: the newest value (the average of the epoch)
_LOSS, _ACCURACY = re.compile(rf"\bloss\w*{_NUMBER}"), re.compile(rf"\bacc\w*{_NUMBER}")
_ETA = re.compile(r"\beta (\S.*)$")
_TAIL = 1 << 16  # bytes of a log that are looked at
_HUNG = timedelta(minutes=15)  # a lock is held, but neither its holder nor the log says anything


@dataclasses.dataclass(frozen=True)
class Progress:
    """What a run's log said last; "" for what it does not say.

    Attributes:
        epoch: "3/10".
        loss, accuracy: averages of that epoch.
        eta: time that training still takes, e.g. "0:01:10".
    """

    epoch: str = ""
    loss: str = ""
    accuracy: str = ""
    eta: str = ""


@dataclasses.dataclass(frozen=True)
class Status:
    """One run.

    Attributes:
        folder: where it writes.
        state: one of the seven words above.
        when: a running one's start, otherwise the time of its end or of its last word; None where unknown.
        progress: what its log said last; empty where it is done.
        where: process, host and further words on the place of a running one, where they are known.
        note: accuracy of a finished run; otherwise the one line that says what went wrong, "" where nothing did.
    """

    folder: Path
    state: str
    when: datetime | None
    progress: Progress = Progress()
    where: str = ""
    note: str = ""

    @property
    def epoch(self) -> str:
        """The epoch, "3/10"."""
        return self.progress.epoch


def statuses(root: Path) -> list[Status]:
    """Return the state of every run below a folder, sorted by folder."""
    waiting = seen_through(root)
    found = set(waiting)
    for place, folders, names in os.walk(root.resolve()):
        folders[:] = [name for name in folders if not name.startswith(_ASIDE) and not _is_drivers(place, name)]
        path = Path(place)
        if any(name in names for name in _SIGNS) or (LOCK_NAME in names and (is_locked(path) or holder(path))):
            found.add(path)
    states = (status_of(folder, waiting.get(folder)) for folder in sorted(found))
    return [state for state in states if state is not None]


def status_of(folder: Path, planned: datetime | None = None) -> Status | None:
    """Return the state of one run; None for a result that is not ours.

    Args:
        folder: where it writes.
        planned: since when a living driver means to run it, None where none does.
    """
    found, held = inspect(folder), holder(folder)
    if is_locked(folder) or (held and held.host != platform.node() and datetime.now() - held.beat < SILENT):
        return _running(folder, held)
    if found.record is not None and not read_ticket(folder):
        accuracy = f"accuracy {found.record['metrics']['accuracy']:.2f} %"
        return Status(folder, DONE, _parsed(found.record["finished"]), note=accuracy)
    if found.kind == "foreign":
        return None
    if found.kind == "stale":
        return Status(folder, STALE, _modified(folder, "result.json"), note=found.problem)
    if found.kind == "corrupt":
        return Status(folder, UNREADABLE, _modified(folder, "result.json"), note=found.problem)
    return _waiting(folder, planned) or _ended(folder, held)


def _running(folder: Path, held: Holder | None) -> Status:
    since = held.since if held else _modified(folder, "config.yaml", LOCK_NAME)
    logs = [log.name for log in _log_files(folder)]
    words = [word for word in (held and held.beat, _modified(folder, *logs)) if word]
    where = str(held) if held else _process_with(folder / LOCK_NAME)
    if words and datetime.now() - max(words) > _HUNG:
        note = f"{where or 'its process'} holds the lock, but nothing was heard since {max(words):%H:%M:%S}"
        return Status(folder, STALE, max(words), progress(folder), where, note)
    return Status(folder, RUNNING, since, progress(folder), where)


def _waiting(folder: Path, planned: datetime | None) -> Status | None:
    """Return the state of a run that waits in a queue, or for its turn with a living driver; None for others."""
    if ticket := read_ticket(folder):
        if read_ended(folder, ticket.batch) is None:
            return Status(folder, WAITING, _parsed(ticket.submitted), where=f"{ticket.launcher} {ticket.batch}")
    last = _modified(folder, *(log.name for log in _log_files(folder)))
    if planned and (last is None or last < planned):
        return Status(folder, WAITING, planned)
    return None


def _ended(folder: Path, held: Holder | None) -> Status:
    """Return the state of a run that neither runs nor waits and has no result."""
    logs = [log.name for log in _log_files(folder)]
    error = error_line(next(_logs(folder), ""))
    when = _modified(folder, *logs, "config.yaml")
    if held and not error:
        return Status(folder, STALE, held.beat, progress(folder), note=f"{held} ended without a word")
    return Status(folder, FAILED if error else UNFINISHED, when, progress(folder), note=error)


def error_line(log: str) -> str:
    """Return the line of a log that says why the run ended: its `error:` line, or a traceback's last; "" for none."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line.removeprefix("error:").strip() for line in lines if line.startswith("error:")]
    if not errors and any(line.startswith("Traceback (most recent call last)") for line in lines):
        errors = lines[-1:]
    return errors[-1] if errors else ""


def progress(folder: Path) -> Progress:
    """Return what the newest log of a run that speaks of an epoch says last."""
    for text in _logs(folder):
        lines = list(_LINE.finditer(text))
        if lines:
            line = lines[-1][0]
            said = [found[1] if (found := kind.search(line)) else "" for kind in (_LOSS, _ACCURACY, _ETA)]
            return Progress(lines[-1][1], *said)
    return Progress()


def _logs(folder: Path) -> Iterator[str]:
    """Yield the ends of a run's logs, the newest first; of job.log, that of the last start."""
    for path in _log_files(folder):
        with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL))
            yield last_start(file.read().decode("utf-8", errors="replace"))


def _log_files(folder: Path) -> list[Path]:
    """Return what a run printed, newest first: a run that is resumed begins another log.txt."""
    files = [*folder.glob("log.txt*"), *folder.glob(LOG_NAME)]
    return sorted(files, key=lambda path: path.stat().st_mtime, reverse=True)


def _is_drivers(place: str, name: str) -> bool:
    return name == _DRIVERS and any(os.path.isdir(os.path.join(place, name, kind)) for kind in ("drivers", "slurm"))


def _process_with(lock: Path) -> str:
    """Return "pid 123 on host" for the process of this machine that took a lock; "" where it cannot be told."""
    with contextlib.suppress(OSError):
        inode = str(lock.stat().st_ino)
        for line in Path("/proc/locks").read_text().splitlines():  # 1: FLOCK  ADVISORY  WRITE 123 fd:01:4711 0 EOF
            words = line.split()
            if len(words) > 5 and words[1] == "FLOCK" and words[5].rpartition(":")[2] == inode:
                return f"pid {words[4]} on {platform.node()}"
    return ""


def _modified(folder: Path, *names: str) -> datetime | None:
    """Return when the first of some files that exists was last written."""
    for name in names:
        with contextlib.suppress(OSError):
            return datetime.fromtimestamp((folder / name).stat().st_mtime)
    return None


def _parsed(text: str) -> datetime | None:
    with contextlib.suppress(ValueError):
        return datetime.fromisoformat(text)
    return None
