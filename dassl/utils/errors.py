"""The one exception a user is meant to read, and the hint that goes with a misspelt name."""

import difflib
from collections.abc import Iterable

__all__ = ["NonFiniteLossError", "UserError", "get_most_similar_str_to_a_from_b", "one_line", "quoted", "suggest"]


def one_line(value: object, limit: int = 160) -> str:
    """Return text of somebody else, or an exception's, as one printable line of at most `limit` characters.

    Bytes of a file name that are no UTF-8 are shown as escapes. Without text it is the name of the value's type.
    """
    text = _printable(" ".join(str(value).split())) or type(value).__name__
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


class UserError(Exception):
    """A mistake in what the user gave: configuration, files, names. Its text is one line that can be printed.

    Line breaks in what it quotes become spaces, and bytes of a file name that are no UTF-8 are shown as escapes.
    A data-loading worker sends an exception home as text, wrapped in its traceback; such a text is reduced to the
    line that was raised, so that the message reads the same with and without workers.
    """

    def __init__(self, message: str) -> None:
        text = str(message)
        if text.startswith("Caught UserError in"):
            text = text.strip().splitlines()[-1].split("UserError: ", 1)[-1]
        super().__init__(_printable(" ".join(text.splitlines())))


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
