"""What the folder of a job says about the queue it waits in: its ticket, and how its time in the queue ended."""

from __future__ import annotations

import dataclasses
import json
import os
from datetime import datetime
from pathlib import Path

from promptshift.launch.children import Outcome

TICKET, ENDED = ".ticket", ".ended"


@dataclasses.dataclass(frozen=True)
class Ticket:
    """A place in a queue.

    Attributes:
        launcher: whose queue.
        batch: unique name of what was submitted together; a job in Slurm's queue has it as its name.
        index: which part of the batch the job belongs to.
        submitted: when, in ISO 8601.
    """

    launcher: str
    batch: str
    index: int
    submitted: str = dataclasses.field(default_factory=lambda: datetime.now().isoformat(timespec="seconds"))

    def write(self, folder: Path) -> None:
        """Write it into a job's folder, in front of the submission: a driver that is killed then finds its job."""
        _write(folder / TICKET, dataclasses.asdict(self))


def read_ticket(folder: Path) -> Ticket | None:
    """Return the ticket of a job's folder, None where it has none or no readable one."""
    try:
        return Ticket(**json.loads((folder / TICKET).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def remove_ticket(folder: Path) -> None:
    """Take a job's ticket away: it is not in the queue any longer."""
    (folder / TICKET).unlink(missing_ok=True)


def write_ended(folder: Path, batch: str, outcome: Outcome) -> None:
    """Write how a job of a batch ended."""
    _write(folder / ENDED, {"batch": batch, **dataclasses.asdict(outcome)})


def read_ended(folder: Path, batch: str) -> Outcome | None:
    """Return how a job ended in a batch, None where it has not (or was in another one)."""
    try:
        said = json.loads((folder / ENDED).read_text())
        return Outcome(**said) if said.pop("batch") == batch else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _write(path: Path, content: dict) -> None:
    """Write whole or not at all; not forced to the disk, since the loss of it costs a second submission alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.new")  # each of the two files has one writer at a time
    temporary.write_text(json.dumps(content))
    os.replace(temporary, path)
