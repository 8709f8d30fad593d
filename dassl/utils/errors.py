"""The one exception a user is meant to read, and the hint that goes with a misspelt name."""

import difflib
import os
from collections.abc import Iterable

__all__ = [
    "FOREIGN",
    "NonFiniteLossError",
    "UserError",
    "WriteError",
    "get_most_similar_str_to_a_from_b",
    "quoted",
    "shorten",
    "suggest",
]

_LONGEST = 2000  # characters of an error line; the longest list of allowed names has about 1,500
# What code that expects its own values raises on well-formed values of somebody else's.
FOREIGN = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


def shorten(value: object, limit: int = 200) -> str:
    """Return a value, or an exception, as one printable line of at most ``limit`` characters, cut in its middle.

    Line breaks become spaces, and bytes of a file name that are no UTF-8 are shown as escapes. Without text it is the
    name of the value's type.
    """
    text = " ".join(str(value).splitlines()).strip() or type(value).__name__
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    half = (limit - 5) // 2
    return text if len(text) <= limit else f"{text[: limit - 5 - half]} ... {text[-half:]}"


class UserError(Exception):
    """A mistake in what the user gave: configuration, files, names. Its text is one line, cut in its middle if long.

    Line breaks in what it quotes become spaces, and bytes of a file name that are no UTF-8 are shown as escapes.
    A data-loading worker sends an exception home as text, wrapped in its traceback; such a text is reduced to the
    line that was raised, so that the message reads the same with and without workers.
    """

    def __init__(self, message: str) -> None:
        text = str(message)
        if text.startswith("Caught UserError in"):
            text = text.strip().splitlines()[-1].split("UserError: ", 1)[-1]
        super().__init__(shorten(text, _LONGEST))


class WriteError(UserError, OSError):
    """A file that could not be written: a full disk, a read-only folder. An ``OSError`` as well, with its number."""

    def __init__(self, message: str, number: int | None = None) -> None:
        super().__init__(message)
        self.errno, self.strerror = number, None if number is None else os.strerror(number)

    def __str__(self) -> str:
        return str(self.args[0])


class NonFiniteLossError(UserError, FloatingPointError):
    """The training loss is infinite or NaN."""


def get_most_similar_str_to_a_from_b(a: object, b: Iterable[str]) -> str | None:
    """Return the string of ``b`` nearest to ``a``, whatever its case, or None when none is near."""
    by_lower = {str(candidate).lower(): str(candidate) for candidate in b}
    near = difflib.get_close_matches(str(a).lower(), list(by_lower), n=1, cutoff=0.6)
    return by_lower[near[0]] if near else None


def suggest(name: object, allowed: Iterable[str]) -> str:
    """Return ``; did you mean 'X'?`` for the nearest allowed name, or an empty string when none is near."""
    near = get_most_similar_str_to_a_from_b(name, allowed)
    return "" if near is None else f"; did you mean {near!r}?"


def quoted(value: object, width: int = 60) -> str:
    """Return ``repr(value)`` for an error message, cut to ``width`` characters."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # more digits, or deeper, than Python prints
        text = f"<{type(value).__name__} too large to print>"
    return text if len(text) <= width else f"{text[: width - 3]}..."
