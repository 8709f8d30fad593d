"""What the runs below a folder are doing, read from their folders alone: nothing is asked of the processes."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import platform
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from promptshift.launch.jobs import LOG_NAME, is_locked
from promptshift.results.collect import Found, inspect

DONE, RUNNING, FAILED, UNFINISHED = "done", "running", "failed", "not finished"
STALE, UNREADABLE = "stale", "unreadable"

_LOCK = ".lock"  # of a job's folder and of a stage's
_SIGNS = ("result.json", "config.yaml", "log.txt", "last.pth.tar", LOG_NAME)  # any of them: a run started there
_ASIDE = "previous-"  # begins the folders that hold what another configuration left
_EPOCH = re.compile(r"epoch \[(\d+)/(\d+)\]")
_TAIL = 1 << 16  # bytes of a log that are looked at


@dataclasses.dataclass(frozen=True)
class Status:
    """One run.

    Attributes:
        folder: where it writes.
        state: one of the six words above.
        when: a running one's start, otherwise the time of its end or of its last word; None where unknown.
        epoch: "3/10", the last one that a log speaks of; "" where there is none or the run is done.
        where: process and host of a running one, where they are known.
        note: accuracy of a finished run; otherwise the one line that says what went wrong, "" where nothing did.
    """

    folder: Path
    state: str
    when: datetime | None
    epoch: str = ""
    where: str = ""
    note: str = ""


def statuses(root: Path) -> list[Status]:
    """Return the state of every run below a folder, sorted by folder."""
    found = []
    for place, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(_ASIDE)]
        if any(name in names for name in _SIGNS) or (_LOCK in names and is_locked(Path(place))):
            found.append(Path(place))
    states = (_status(folder, inspect(folder)) for folder in sorted(found))
    return [state for state in states if state is not None]


def _status(folder: Path, found: Found) -> Status | None:
    """Return the state of one run; None for a result that is not ours."""
    if is_locked(folder):
        return Status(folder, RUNNING, _modified(folder, "config.yaml", _LOCK), _epoch(folder), _holder(folder / _LOCK))
    if found.record is not None:
        accuracy = f"accuracy {found.record['metrics']['accuracy']:.2f} %"
        return Status(folder, DONE, _parsed(found.record["finished"]), note=accuracy)
    if found.kind == "foreign":
        return None
    if found.kind == "stale":
        return Status(folder, STALE, _modified(folder, "result.json"), note=found.problem)
    if found.kind == "corrupt":
        return Status(folder, UNREADABLE, _modified(folder, "result.json"), note=found.problem)
    error = error_line(next(_logs(folder), ""))
    logs = [log.name for log in _log_files(folder)]
    state = FAILED if error else UNFINISHED
    return Status(folder, state, _modified(folder, *logs, "config.yaml"), _epoch(folder), note=error)


def error_line(log: str) -> str:
    """Return the line of a log that says why the run ended: its `error:` line, or a traceback's last; "" for none."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line.removeprefix("error:").strip() for line in lines if line.startswith("error:")]
    if not errors and any(line.startswith("Traceback (most recent call last)") for line in lines):
        errors = lines[-1:]
    return errors[-1] if errors else ""


def _epoch(folder: Path) -> str:
    for text in _logs(folder):
        if seen := _EPOCH.findall(text):
            return "/".join(seen[-1])
    return ""


def _logs(folder: Path) -> Iterator[str]:
    """Yield the ends of a run's logs, the newest first."""
    for path in _log_files(folder):
        with open(path, "rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL))
            yield file.read().decode("utf-8", errors="replace")


def _log_files(folder: Path) -> list[Path]:
    """Return what a run printed, newest first: a run that is resumed begins another log.txt."""
    files = [*folder.glob("log.txt*"), *folder.glob(LOG_NAME)]
    return sorted(files, key=lambda path: path.stat().st_mtime, reverse=True)


def _holder(lock: Path) -> str:
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
