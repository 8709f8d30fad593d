"""Which plans are being seen through: a file for each living driver below `$OUTPUT/launch/drivers`, with its jobs."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from dassl.utils.errors import UserError
from promptshift.launch.jobs import Job
from promptshift.launch.locks import LOCK_NAME, SILENT, Beat, is_locked, lock
from promptshift.paths import output_root

_JOBS = "jobs.json"


def launch_folder() -> Path:
    """Return the folder in which launchers keep what they need to remember."""
    return output_root() / "launch"


@contextlib.contextmanager
def present(jobs: Sequence[Job], launcher: str) -> Iterator[Beat]:
    """Tell others which jobs this process sees through, for as long as the block runs; yields its sign of life.

    Where the output root cannot be written to, or the jobs write elsewhere, nothing is told.
    """
    folder = launch_folder() / "drivers" / f"{platform.node()}-{os.getpid()}-{time.time_ns() // 1_000_000}"
    with contextlib.ExitStack() as stack:
        descriptor = -1
        if any(job.output_dir.is_relative_to(output_root()) for job in jobs):
            with contextlib.suppress(UserError, OSError):
                descriptor = stack.enter_context(lock(folder, f"{launcher} driver"))
                (folder / _JOBS).write_text(json.dumps([str(job.output_dir) for job in jobs]))
            stack.callback(_remove, folder)
            _sweep()
        yield Beat(descriptor)


def _sweep() -> None:
    """Remove what drivers left that were killed."""
    for folder in _folders(launch_folder()):
        if not is_locked(folder) and _age(folder) > SILENT:
            _remove(folder)


def seen_through(root: Path) -> dict[Path, datetime]:
    """Return the folders below `root` of the jobs of all living drivers, each with its driver's start."""
    found: dict[Path, datetime] = {}
    root = root.resolve()
    roots = {output_root(), root, *root.parents}  # any of them may be what was OUTPUT
    for folder in {folder for root in roots for folder in _folders(root / "launch")}:
        if not is_locked(folder) and _age(folder) > SILENT:  # where locks are not seen from here, the beat is
            continue
        with contextlib.suppress(OSError, ValueError):
            since = datetime.fromtimestamp((folder / _JOBS).stat().st_mtime)
            found |= {Path(name): since for name in json.loads((folder / _JOBS).read_text())}
    return {folder: since for folder, since in found.items() if folder.is_relative_to(root)}


def _folders(launch: Path) -> list[Path]:
    return [path.parent for path in (launch / "drivers").glob(f"*/{_JOBS}")]


def _age(folder: Path) -> timedelta:
    with contextlib.suppress(OSError):
        return datetime.now() - datetime.fromtimestamp((folder / LOCK_NAME).stat().st_mtime)
    return timedelta(0)


def _remove(folder: Path) -> None:
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
