"""Configuration keys that say what they allow: declared beside their defaults, checked in one place.

A block of keys is a mapping of names to declarations, to plain values (which declare their type alone) or to further
blocks::

    DEFAULTS = dict(
        DISTANCE=choice("euclidean", "cosine", source="arXiv 2303.13283, section 3"),
        W=at_least(0, 8.0, about="weight of the distance"),
        N_CTX=4,
    )
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from yacs.config import CfgNode

from ..utils.errors import UserError, quoted, suggest
from .kinds import Option, above, at_least, between, choice, count_or, flag, names, number, numbers, text, whole
from .merge import COMMAND_LINE

__all__ = [
    "Option",
    "above",
    "at_least",
    "between",
    "block",
    "check_values",
    "choice",
    "count_or",
    "flag",
    "names",
    "number",
    "numbers",
    "options_of",
    "text",
    "whole",
    "with_defaults",
]

_MISSING = object()
_KINDS = {bool: "True, False", int: "whole numbers", float: "numbers", str: "text", list: "a list", tuple: "a list"}


def _of_its_type(default: Any) -> Option:
    kind = {float: (int, float), list: (list, tuple), tuple: (list, tuple)}.get(type(default), type(default))

    def fits(value: Any) -> bool:
        return isinstance(value, kind) and isinstance(value, bool) == isinstance(default, bool)

    return Option(default, _KINDS.get(type(default), "anything"), fits if default is not None else lambda value: True)


def block(declared: Mapping[str, Any]) -> CfgNode:
    """Return the defaults of declared keys as a fresh configuration node."""
    node = CfgNode()
    for name, value in declared.items():
        if isinstance(value, Mapping):
            node[name] = block(value)
        else:
            node[name] = copy.deepcopy(value.default if isinstance(value, Option) else value)
    return node


def options_of(declared: Mapping[str, Any], prefix: str = "") -> dict[str, Option]:
    """Return {dotted key: its Option}, every dotted key with ``prefix`` and a dot before it where one is given."""
    return dict(_options(declared, f"{prefix}." if prefix else ""))


def _options(declared: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Option]]:
    for name, value in declared.items():
        if isinstance(value, Mapping):
            yield from _options(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value if isinstance(value, Option) else _of_its_type(value)


def with_defaults(declared: Mapping[str, Any], source: str = "", **defaults: Any) -> dict[str, Any]:
    """Return ``declared`` with other defaults, from ``source``, for keys that go on allowing what they allow.

    Raises:
        KeyError: a name that is not declared.
    """
    changed = dict(declared)
    for name, default in defaults.items():
        old = declared[name]
        changed[name] = replace(old, default=default, source=source) if isinstance(old, Option) else default
    return changed


def check_values(cfg: CfgNode, options: Mapping[str, Option], sources: Mapping[str, str] | None = None) -> None:
    """Refuse the first value of ``cfg`` that its declaration does not allow; keys that ``cfg`` lacks are passed over.

    Args:
        cfg: the merged configuration; it is not changed.
        options: dotted key -> declaration.
        sources: dotted key -> where its value came from (see :func:`dassl.config.merge_file`).

    Raises:
        UserError: one line with the file, the key, the value and what is allowed.
    """
    for key, option in options.items():
        value = cfg
        for part in key.split("."):
            value = value.get(part, _MISSING) if isinstance(value, CfgNode) else _MISSING
        if value is _MISSING or option.fits(value):
            continue
        source = (sources or {}).get(key, COMMAND_LINE)
        where = "" if source == COMMAND_LINE else f"{source}: "
        hint = suggest(value, option.words) if isinstance(value, str) else ""
        raise UserError(f"{where}{key}: {quoted(value)}; allowed: {option.allowed}{hint}")
