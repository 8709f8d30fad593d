"""The declarations of single configuration keys: what a key allows, its default, where that comes from."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = [
    "Option",
    "above",
    "at_least",
    "between",
    "choice",
    "count_or",
    "flag",
    "names",
    "number",
    "numbers",
    "text",
    "whole",
]


@dataclass(frozen=True)
class Option:
    """What one key allows.

    Attributes:
        default: its value where nobody sets one.
        allowed: the values it takes, in words.
        fits: value -> whether it is one of them.
        words: allowed words, to suggest the nearest of.
        source: where default or values come from, e.g. ``arXiv 2109.01134, section 4``.
        about: one line on what it does.
    """

    default: Any
    allowed: str
    fits: Callable[[Any], bool]
    words: tuple[str, ...] = ()
    source: str = ""
    about: str = ""


_UNSET = object()


def choice(*values: Any, default: Any = _UNSET, source: str = "", about: str = "") -> Option:
    """One of ``values``; the first is the default unless another is given."""
    default = values[0] if default is _UNSET else default
    words = tuple(value for value in values if isinstance(value, str))
    allowed = ", ".join(str(value) or "''" for value in values)
    return Option(default, allowed, lambda value: _among(value, values), words, source, about)


def _among(value: Any, values: tuple) -> bool:
    return any(type(value) is type(allowed) and value == allowed for allowed in values)  # True is not 1


def whole(
    default: int,
    least: int | None = None,
    most: int | None = None,
    also: tuple = (),
    source: str = "",
    about: str = "",
) -> Option:
    """A whole number from ``least`` to ``most``, bounds included, or one of ``also``."""
    bounds = Bounds(least=least, most=most)
    return _ranged(default, int, bounds, also, "" if str(bounds) else "whole numbers", source, about)


def number(default: float, source: str = "", about: str = "") -> Option:
    """A finite number."""
    return _ranged(default, float, Bounds(), (), "finite numbers", source, about)


def at_least(least: float, default: float, source: str = "", about: str = "") -> Option:
    """A finite number from ``least`` on."""
    return _ranged(default, float, Bounds(least=least), (), "", source, about)


def above(bound: float, default: float, most: float | None = None, source: str = "", about: str = "") -> Option:
    """A finite number greater than ``bound``, up to ``most``."""
    return _ranged(default, float, Bounds(above=bound, most=most), (), "", source, about)


def between(
    low: float,
    high: float,
    default: float,
    also: tuple = (),
    below: bool = False,
    source: str = "",
    about: str = "",
) -> Option:
    """A number from ``low`` to ``high``, both included (with ``below``, ``high`` is not), or one of ``also``."""
    bounds = Bounds(least=low, below=high) if below else Bounds(least=low, most=high)
    return _ranged(default, float, bounds, also, "", source, about)


@dataclass(frozen=True)
class Bounds:
    """An interval of numbers; None leaves a side open."""

    least: float | None = None
    above: float | None = None
    most: float | None = None
    below: float | None = None

    def hold(self, value: float) -> bool:
        """Whether ``value`` lies inside."""
        return (
            (self.least is None or value >= self.least)
            and (self.above is None or value > self.above)
            and (self.most is None or value <= self.most)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        if self.least is not None:
            if self.most is not None:
                return f"{self.least} to {self.most:.6g}" if self.most > 1e9 else f"{self.least} to {self.most}"
            return f"{self.least} to below {self.below}" if self.below is not None else f"{self.least} and more"
        if self.above is not None:
            return f"above {self.above}" + (f", up to {self.most}" if self.most is not None else "")
        return f"up to {self.most}" if self.most is not None else ""


def _ranged(default: float, kind: type, bounds: Bounds, also: tuple, words: str, source: str, about: str) -> Option:
    allowed = f"{words}{bounds}" + "".join(f", or {value}" for value in also)
    return Option(
        default,
        allowed,
        lambda value: _is_number(value, kind) and (bounds.hold(value) or _among(value, also)),
        (),
        source,
        about,
    )


def _is_number(value: Any, kind: type) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and (kind is float or isinstance(value, int))


def count_or(*words: str, default: str, source: str = "", about: str = "") -> Option:
    """One of ``words``, or a whole number from 1 written as text."""
    allowed = f"{', '.join(words)}, or a whole number from 1"
    return Option(default, allowed, lambda value: value in words or _is_count(value), words, source, about)


def _is_count(value: Any) -> bool:
    return isinstance(value, str) and value.isdecimal() and len(value) < 10 and int(value) >= 1


def flag(default: bool, source: str = "", about: str = "") -> Option:
    """True or False."""
    return Option(default, "True, False", lambda value: isinstance(value, bool), (), source, about)


def text(default: str, holding: str = "", source: str = "", about: str = "") -> Option:
    """Any text; with ``holding``, the empty one or one that this is part of."""
    allowed = f"text with {holding} in it, or ''" if holding else "text"
    return Option(
        default,
        allowed,
        lambda value: isinstance(value, str) and (not value or holding in value),
        (),
        source,
        about,
    )


def names(
    *among: str, default: tuple | list = (), holding: str = "", least: int = 0, source: str = "", about: str = ""
) -> Option:
    """A list of at least ``least`` texts: any, some of ``among``, or such that ``holding`` is part of."""
    allowed = f"a list of texts with {holding} in each" if holding else "a list of texts"
    if among:
        allowed = f"a list of {'one or more' if least else 'some'} of {', '.join(among)}"

    def fits(value: Any) -> bool:
        return (
            isinstance(value, list | tuple)
            and len(value) >= least
            and all(isinstance(item, str) and holding in item and (not among or item in among) for item in value)
        )

    return Option(list(default), allowed, fits, among, source, about)


def numbers(
    default: list | tuple,
    length: tuple[int, ...] = (),
    kind: type = float,
    least: float | None = None,
    above: float | None = None,
    rising: bool = False,
    source: str = "",
    about: str = "",
) -> Option:
    """A list of ``length`` numbers (any number of them from 1 where none is given) within bounds.

    Args:
        default: the default.
        length: allowed lengths.
        kind: ``int`` for whole numbers.
        least, above: the lower bound, included or not.
        rising: no number is smaller than the one before it.
        source, about: see :class:`Option`.
    """
    bounds = Bounds(least=least, above=above)
    words = f"a list of {' or '.join(map(str, length)) or '1 and more'} {'whole ' if kind is int else ''}numbers"
    words += f", each {bounds}" if str(bounds) else ""

    def fits(value: Any) -> bool:
        return (
            isinstance(value, list | tuple)
            and (len(value) in length if length else len(value) > 0)
            and all(_is_number(item, kind) and bounds.hold(item) for item in value)
            and (not rising or list(value) == sorted(value))
        )

    return Option(default, words + (", the smallest first" if rising else ""), fits, (), source, about)
