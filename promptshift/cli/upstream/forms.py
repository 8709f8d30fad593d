"""What a form is: a function whose docstring begins with the words that it takes.

Where a script of the public repositories stands for a step of a protocol (train on the base classes, test on the new
ones), its form names the protocol and the flags that make this step of it; what is missing before it is run first.
The first folder of the public scripts (output, outputs, outputs_test ...) is OUTPUT here; below it a form keeps theirs.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dassl.utils.errors import UserError
from promptshift.discovery import look_up

KEY = re.compile(r"[A-Z][A-Z0-9_]*(\.[A-Za-z0-9_]+)*")  # of the configuration
Place = Callable[[Path], Path]  # folder of a job below OUTPUT -> the one that upstream gives it


@dataclasses.dataclass(frozen=True)
class Call:
    """What `promptshift run` is asked for.

    Attributes:
        protocol: its name.
        words: DATASET [BACKBONE] [KEY VALUE ...].
        flags: value by name of the flags that the form sets (seeds, targets, weights, config, train_only).
        trainer: registered name; "" for the one that stands behind --as.
        preferred: configuration file that wins over those named after datasets of the world outside.
        said: keys among `words` that every call of the script sets: its folders do not name them.
        seeds: those of the script where neither --seeds nor SEEDS says others.
        place: where upstream's script lets a job write; None for the protocol's own folders.
    """

    protocol: str
    words: tuple[str, ...]
    flags: dict[str, Any]
    trainer: str = ""
    preferred: str = ""
    said: tuple[str, ...] = ()
    seeds: tuple[str, ...] = ("1", "2", "3")
    place: Place | None = None

    def replace(self, **changes: Any) -> Call:
        """Return the call with other attributes."""
        return dataclasses.replace(self, **changes)


FORMS: dict[str, Callable[..., list[Call]]] = {}


def form(function: Callable[..., list[Call]]) -> Callable[..., list[Call]]:
    """Register a function as the form of its name."""
    FORMS[function.__name__] = function
    return function


def call(protocol: str, *words: str, **flags: Any) -> Call:
    """Return what `promptshift run` is asked for."""
    return Call(protocol, words, flags)


def calls(name: str, trainer: str, words: Sequence[str]) -> list[Call]:
    """Return what the words of a form ask for, in order.

    Args:
        name: of the form.
        trainer: first word behind the flags; for forms that take a BACKBONE before the trainer it is that word.
        words: those behind it.

    Raises:
        UserError: there is no such form, or a word that it needs is missing; the line says what it takes.
    """
    function = look_up("form", name, FORMS)
    usage = usage_of(name)
    if usage.startswith("BACKBONE TRAINER"):
        words = [trainer, *words]
    needed = [word for word in usage.split(" [")[0].split() if not word.startswith("[")]
    if len(words) < len(needed) and not usage.startswith("["):
        raise UserError(f"{needed[len(words)]} is missing; {name} takes {usage}")
    return function(*words)


def usage_of(name: str) -> str:
    """Return the words that a form takes, e.g. "DATASET SEED [KEY VALUE ...]"."""
    return FORMS[name].__doc__.partition(":")[0]


def help_text() -> str:
    """Return a line per form: its name, the words that it takes, what it runs."""
    return "\n".join(f"  {name:<19} {function.__doc__.splitlines()[0]}" for name, function in FORMS.items())


def source() -> str:
    """Return the dataset that transfer starts from: $SOURCE, else ImageNet."""
    return os.environ.get("SOURCE") or "imagenet"


def weights(usual: str) -> Path:
    """Return the folder that a public script has its weights in: $WEIGHTS, else the one that it names."""
    return Path(os.environ.get("WEIGHTS") or usual)
