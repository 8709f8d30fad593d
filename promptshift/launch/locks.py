"""Who works in an output folder: a lock that its file system keeps, and in the lock's file who holds it since when."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import platform
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from dassl.utils.errors import UserError

LOCK_NAME = ".lock"
STAGE_LOCK_NAME = ".job.lock"  # of a sweep that makes a stage; the run that makes it holds the other one
BEAT_SECONDS = 30.0  # between two signs of life of who holds a lock
SILENT = timedelta(seconds=4 * BEAT_SECONDS)  # a holder that gives no sign of life for so long is gone


class Locked(Exception):
    """Another process runs the job of this folder."""


@dataclasses.dataclass(frozen=True)
class Holder:
    """What a lock's file says about who took it.

    Attributes:
        host, pid: the process that took it.
        since: when it did.
        where: further words on the place, e.g. "slurm 12_3, GPU 0"; "" for none.
        beat: when it gave its last sign of life.
    """

    host: str
    pid: int
    since: datetime
    where: str
    beat: datetime

    def __str__(self) -> str:
        return f"pid {self.pid} on {self.host}" + (f" ({self.where})" if self.where else "")


@contextlib.contextmanager
def lock(folder: Path, where: str = "", name: str = LOCK_NAME) -> Iterator[int]:
    """Holds the lock of an output folder, creating the folder; yields the lock's file descriptor.

    A child that inherits the descriptor keeps the lock for as long as it lives, so that a sweep that is
    killed does not leave its running job up for grabs. What the file says about the holder is emptied when the lock
    is given back; a text without a lock is of a holder that ended without a word.

    Args:
        folder: the output folder.
        where: words on the place, kept in the file.
        name: the lock's file in it.

    Raises:
        Locked: another process holds it.
        UserError: the folder cannot be created or written to, or its file system keeps no locks.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / name, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise UserError(f"cannot write to {folder} ({error.strerror}); set OUTPUT to a writable folder") from None
    try:
        try:
            taken = _acquire(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            raise UserError(
                f"the file system of {folder} keeps no locks ({error.strerror}); set OUTPUT to one that does, "
                "such as NFS, or have it mounted with them (Lustre: -o flock)"
            ) from None
        if not taken:
            raise Locked(f"{folder} is in use by another process")
        _write_holder(descriptor, where)
        try:
            yield descriptor
        finally:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def is_locked(folder: Path, name: str = LOCK_NAME) -> bool:
    """Returns whether some process holds the lock of an output folder."""
    try:
        descriptor = os.open(folder / name, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        return not _acquire(descriptor, fcntl.LOCK_SH)  # NFS gives no exclusive lock on a file opened for reading
    except OSError:
        return False  # a file system without locks
    finally:
        os.close(descriptor)


def holder(folder: Path) -> Holder | None:
    """Returns who took the lock of a folder and has not given it back, None where the file does not say."""
    path = folder / LOCK_NAME
    try:
        said, beat = json.loads(path.read_text()), datetime.fromtimestamp(path.stat().st_mtime)
        since = datetime.fromisoformat(said["since"])
        return Holder(str(said["host"]), int(said["pid"]), since, str(said["where"]), beat)
    except (OSError, ValueError, KeyError, TypeError):
        return None


class Beat:
    """Gives a sign of life on a held lock every `BEAT_SECONDS`: other machines see that its holder lives."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._last = descriptor, time.monotonic()

    def beat(self) -> None:
        """Gives it where it is due."""
        if time.monotonic() - self._last >= BEAT_SECONDS:
            self._last = time.monotonic()
            with contextlib.suppress(OSError):
                os.utime(self._descriptor)


def _acquire(descriptor: int, kind: int) -> bool:
    """Tries to take the lock without waiting; closing the last copy of the descriptor gives it back."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write_holder(descriptor: int, where: str) -> None:
    """Writes who holds the lock; a full disk costs this information alone."""
    since = datetime.now().isoformat(timespec="seconds")
    text = json.dumps({"host": platform.node(), "pid": os.getpid(), "since": since, "where": where})
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text.encode(), 0)
