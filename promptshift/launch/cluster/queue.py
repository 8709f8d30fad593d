"""What Slurm's queue holds. `squeue` alone is asked: accounting (`sacct`) is not set up everywhere."""

from __future__ import annotations

import getpass
import os
import subprocess
from collections.abc import Iterable

_SECONDS = 60.0  # that the controller may take to answer


def queued() -> dict[tuple[str, int], str] | None:
    """Return the user's jobs in the queue: (name, index in its array) -> state; None when the queue does not answer."""
    answer = _ask("squeue", "--noheader", "--array", "--user", getpass.getuser(), "--format", "%j|%K|%T")
    if answer is None:
        return None
    found = {}
    for line in answer.splitlines():
        name, index, state = line.strip().rsplit("|", 2)
        found[name, int(index) if index.isdecimal() else 0] = state
    return found


def is_running() -> bool:
    """Return whether Slurm takes the job that this process belongs to for running; True outside of Slurm."""
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        return True
    return (_ask("squeue", "--noheader", "--job", job, "--format", "%T") or "").strip() == "RUNNING"


def cancel(names: Iterable[str]) -> None:
    """Cancel the jobs of these names."""
    for name in names:
        _ask("scancel", "--name", name)


def _ask(*words: str) -> str | None:
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
