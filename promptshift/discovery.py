"""What is found by looking: modules of a folder that register themselves, and things asked for by name."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from typing import TypeVar

from dassl.utils.errors import UserError, suggest

T = TypeVar("T")


def import_modules(package: str) -> None:
    """Imports every module of a package whose name does not start with "_", which registers what they define."""
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        if not module.name.startswith("_"):
            importlib.import_module(f"{package}.{module.name}")


def look_up(kind: str, name: str, known: Mapping[str, T]) -> T:
    """The entry of `known` called `name`.

    Raises:
        UserError: there is none; the line says what kind of thing was asked for and lists those that exist.
    """
    if name not in known:
        raise UserError(f"unknown {kind} {name!r}, allowed: {', '.join(known)}{suggest(name, list(known))}")
    return known[name]
