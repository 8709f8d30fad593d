"""Merging YAML files and KEY VALUE pairs into a yacs configuration, with errors a user can act on."""

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from yacs.config import CfgNode

from ..utils.errors import UserError, quoted, suggest
from ..utils.yaml_reader import read_yaml

__all__ = ["COMMAND_LINE", "SKIP", "merge_file", "merge_opts"]

Aliases = Mapping[str, str] | None
Read = Callable[[str, Any, str], Any]
Sources = dict[str, str] | None
SKIP = object()  # what `read` of `merge_file` returns for a value that changes nothing
COMMAND_LINE = "command line"
LONGEST_LITERAL = 20_000  # characters that are read as a Python literal; what is longer stays text


def merge_file(
    cfg: CfgNode, path: str, aliases: Aliases = None, sources: Sources = None, read: Read | None = None
) -> None:
    """Merge a YAML file into ``cfg`` in place.

    Args:
        cfg: configuration that already has every allowed key.
        path: YAML file.
        aliases: old dotted key or key prefix -> new one, e.g. ``{"TRAINER.SPG": "TRAINER.DPSPG"}``.
        sources: dotted key -> where its value came from; filled in.
        read: (dotted key, value of the file, path) -> what the value means, `SKIP` for nothing.

    Raises:
        UserError: missing or unreadable file, unknown key, value of the wrong type.
    """
    content = read_yaml(path)
    if not isinstance(content, dict | None):
        raise UserError(f"config file {path} must hold KEY: value lines, found a {type(content).__name__}")
    for key, value in _leaves(content or {}, cfg, "", aliases):
        meant = read(key, value, path) if read else value
        if meant is not SKIP:
            _set(cfg, key, meant, path, sources)


def merge_opts(
    cfg: CfgNode, opts: Sequence, source: str = COMMAND_LINE, aliases: Aliases = None, sources: Sources = None
) -> None:
    """Merge ``KEY VALUE KEY VALUE ...`` into ``cfg`` in place.

    Args:
        cfg, aliases, sources: as for :func:`merge_file`.
        opts: the words.
        source: where they came from.

    Raises:
        UserError: odd number of words, unknown key, value of the wrong type.
    """
    if len(opts) % 2:
        words = " ".join(map(str, opts))
        raise UserError(
            f"{source}: expected KEY VALUE pairs, but {quoted(opts[-1])} stands alone in: {quoted(words, 200)[1:-1]}"
        )
    for key, value in zip(opts[0::2], opts[1::2], strict=True):
        _set(cfg, rename(str(key), aliases), value, source, sources)


def _leaves(tree: dict, cfg: CfgNode, prefix: str, aliases: Aliases) -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value), descending where the value is a mapping and the key may be a group."""
    for name, value in tree.items():
        key = f"{prefix}.{name}" if prefix else str(name)
        old = _lookup(cfg, rename(key, aliases))
        if isinstance(value, dict) and (isinstance(old, CfgNode) or (old is _MISSING and value)):
            yield from _leaves(value, cfg, key, aliases)
        elif value is None and isinstance(old, CfgNode):
            continue  # "OPTIM:" with nothing below it
        else:
            yield rename(key, aliases), value


def rename(key: str, aliases: Aliases) -> str:
    for old, new in (aliases or {}).items():
        if key == old or key.startswith(old + "."):
            return new + key[len(old) :]
    return key


def _lookup(cfg: CfgNode, key: str) -> Any:
    node = cfg
    for part in key.split("."):
        if not isinstance(node, CfgNode) or part not in node:
            return _MISSING
        node = node[part]
    return node


_MISSING = object()


def _set(cfg: CfgNode, key: str, value: Any, source: str, sources: Sources) -> None:
    old = _lookup(cfg, key)
    if old is _MISSING:
        hint = suggest(key, _all_keys(cfg))
        raise UserError(f"{source}: unknown config key {quoted(key)} (value {quoted(value)}){hint}")
    if isinstance(old, CfgNode):
        below = ", ".join(old) or "none"
        raise UserError(
            f"{source}: config key {key!r} is a group of keys ({below}) and takes no value ({quoted(value)})"
        )
    parent, _, name = key.rpartition(".")
    node = _lookup(cfg, parent) if parent else cfg
    node[name] = _coerce(_decode(value), old, value, key, source)
    if sources is not None:
        sources[key] = source


def _all_keys(cfg: CfgNode, prefix: str = "") -> list[str]:
    keys = []
    for name, value in cfg.items():
        key = f"{prefix}{name}"
        keys += _all_keys(value, key + ".") if isinstance(value, CfgNode) else [key]
    return keys


def _decode(value: Any) -> Any:
    """Read a string as a Python literal where it is one ("(32, 32)", "1e-5"); else it stays a string."""
    if not isinstance(value, str) or len(value) > LONGEST_LITERAL:
        return value
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return value


def _coerce(value: Any, old: Any, raw: Any, key: str, source: str) -> Any:
    """Return ``value`` in the type of ``old``; where None was, None and all that YAML has but a mapping fit."""
    if old is None:
        if value is None or isinstance(value, bool | int | float | str | list | tuple):
            return value
    elif isinstance(old, str):
        if value is not None and (isinstance(value, str) or _is_text(raw)):
            return value if isinstance(value, str) else str(raw)  # a name that looks like a number: a domain called 1
    elif type(old) in (int, float) and type(value) in (int, float):
        if _fits_in_64_bits(value) and not (type(old) is int and type(value) is float):
            return type(old)(value)
    elif type(value) is type(old):
        return value
    elif isinstance(old, tuple | list) and isinstance(value, tuple | list):
        return type(old)(value)
    kind = "an int" if type(old) is int else f"a {type(old).__name__}" if old is not None else "a plain value"
    raise UserError(f"{source}: config key {key!r} takes {kind} (now {quoted(old)}), not {quoted(raw)}")


def _is_text(raw: Any) -> bool:
    return isinstance(raw, str | int | float) and not isinstance(raw, bool)


def _fits_in_64_bits(value: float) -> bool:
    return isinstance(value, float) or -(2**63) <= value < 2**63
