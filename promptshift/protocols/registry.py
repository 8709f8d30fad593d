"""Registration of protocols by name, filled by discovering the modules of this folder."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path

from dassl.utils.errors import UserError
from promptshift.discovery import import_modules, look_up
from promptshift.launch.jobs import Job
from promptshift.paths import output_root
from promptshift.protocols.request import Request
from promptshift.results.layout import OTHER, Layout, layouts, register_layout
from promptshift.results.record import Record
from promptshift.results.tables import Table


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a protocol asks for.

    Attributes:
        jobs: the runs, in the order in which they start.
        folder: where the table is written.
        table: makes the table from the records of the finished jobs, keyed by job name; a job that is
            absent did not finish and must show as missing.
    """

    jobs: tuple[Job, ...]
    folder: Path
    table: Callable[[dict[str, Record]], Table]

    def moved(self, place: Callable[[Path], Path]) -> Plan:
        """Return the same plan in other folders; a job reads the weights of another where that now writes them.

        Args:
            place: folder of a job, below OUTPUT -> the other one, below OUTPUT too.
        """
        root = output_root()
        places = {job.output_dir: root / place(job.output_dir.relative_to(root)) for job in self.jobs}
        return dataclasses.replace(self, jobs=tuple(job.moved(places[job.output_dir], places) for job in self.jobs))

    def loading(self, folder: Path) -> Plan:
        """Return the evaluations alone, of what the run in a folder learnt; nothing is trained.

        Raises:
            UserError: there is no such folder, or the plan evaluates nothing.
        """
        if not folder.is_dir():
            raise UserError(f"--model-dir {folder}: there is no such folder")
        tests = [job for job in self.jobs if not job.trains]
        if not tests:
            raise UserError(f"--model-dir {folder}: this plan trains and tests in one, nothing loads weights")
        return dataclasses.replace(self, jobs=tuple(job.loading(folder) for job in tests))

    def __post_init__(self) -> None:
        """A plan that can never end is a mistake of the protocol: two jobs of one name, a need that comes later."""
        earlier: set[str] = set()
        for job in self.jobs:
            if job.name in earlier or not earlier.issuperset(job.after):
                raise ValueError(f"job {job.name!r} stands twice in the plan, or before one of its needs {job.after}")
            earlier.add(job.name)


Protocol = Callable[[Request], Plan]
_PROTOCOLS: dict[str, Protocol] = {}


# What a protocol may be asked for beside DATASET and TRAINER: field of the request -> what the user wrote.
_EXTRAS = {"also": "several datasets", "targets": "--targets", "weights": "--weights"}


def register(name: str, layout: Layout = OTHER, takes: Sequence[str] = ()) -> Callable[[Protocol], Protocol]:
    """Returns the decorator that makes a function from a request to a plan known under `name`.

    Args:
        name: what users call it.
        layout: how its runs make tables, for everything that shows results.
        takes: fields of the request it reads among `also`, `targets` and `weights`; the others are refused.

    Raises:
        ValueError: another function has that name.
    """

    def add(protocol: Protocol) -> Protocol:
        if name in _PROTOCOLS:
            raise ValueError(f"two protocols are called {name!r}")

        @functools.wraps(protocol)
        def checked(request: Request) -> Plan:
            for field, words in _EXTRAS.items():
                if getattr(request, field) and field not in takes:
                    raise UserError(f"{name} does not take {words}")
            return protocol(request)

        _PROTOCOLS[name] = checked
        register_layout(name, layout)
        return checked

    return add


def protocols() -> dict[str, Protocol]:
    """Returns every protocol by name, after importing all modules of this folder."""
    import_modules(__package__)
    return dict(sorted(_PROTOCOLS.items()))


def get_protocol(name: str) -> Protocol:
    """Returns the protocol called `name`.

    Raises:
        UserError: there is none; the line lists those that exist.
    """
    return look_up("protocol", name, protocols())


def main_protocol(request: Request) -> str:
    """Return the protocol that a `main.sh` runs: one for datasets of several domains, one for the others."""
    kind = "domains" if request.facts and len(request.facts.domains) > 1 else "classes"
    return next(name for name, layout in layouts().items() if layout.main_for == kind)
