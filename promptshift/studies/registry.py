"""Studies by name, filled by discovering the modules of `studies/`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from promptshift.discovery import import_modules, look_up
from promptshift.studies.bench import Bench
from promptshift.studies.outcome import Outcome


@dataclasses.dataclass(frozen=True)
class Study:
    """A question with the runs and figures that answer it.

    Attributes:
        name: what it is asked for by.
        about: one line: the question, and where it comes from.
        answer: runs what is missing on a bench and returns the outcomes.
    """

    name: str
    about: str
    answer: Callable[[Bench], list[Outcome]]


_STUDIES: dict[str, Study] = {}


def study(name: str, about: str) -> Callable[[Callable[[Bench], list[Outcome]]], Callable[[Bench], list[Outcome]]]:
    """Return the decorator that makes a function from a bench to outcomes a study.

    Raises:
        ValueError: another study has that name.
    """

    def add(answer: Callable[[Bench], list[Outcome]]) -> Callable[[Bench], list[Outcome]]:
        if name in _STUDIES:
            raise ValueError(f"two studies are called {name!r}")
        _STUDIES[name] = Study(name, about, answer)
        return answer

    return add


def studies() -> dict[str, Study]:
    """Return every study by name, after importing all modules of `studies/`."""
    import_modules(f"{__package__}.checks")
    return dict(sorted(_STUDIES.items()))


def get_study(name: str) -> Study:
    """Return the study called `name`.

    Raises:
        UserError: there is none; the line lists those that exist.
    """
    return look_up("figure", name, studies())
