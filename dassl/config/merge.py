"""Merging YAML files and KEY VALUE pairs into a yacs configuration, with errors a user can act on."""

import ast
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml
from yacs.config import CfgNode

from ..utils.errors import UserError, suggest

__all__ = ["merge_file", "merge_opts"]

Aliases = Mapping[str, str] | None


def merge_file(cfg: CfgNode, path: str, aliases: Aliases = None) -> None:
    """Merge a YAML file into ``cfg`` in place.

    Args:
        cfg: configuration that already has every allowed key.
        path: YAML file.
        aliases: old dotted key or key prefix -> new one, e.g. ``{"TRAINER.SPG": "TRAINER.DPSPG"}``.

    Raises:
        UserError: missing or unreadable file, unknown key, value of the wrong type.
    """
    for key, value in _leaves(_read_yaml(path), cfg, "", aliases):
        _set(cfg, key, value, path)


def merge_opts(cfg: CfgNode, opts: Sequence, source: str = "command line", aliases: Aliases = None) -> None:
    """Merge ``KEY VALUE KEY VALUE ...`` into ``cfg`` in place.

    Raises:
        UserError: odd number of words, unknown key, value of the wrong type.
    """
    if len(opts) % 2:
        words = " ".join(map(str, opts))
        raise UserError(f"{source}: expected KEY VALUE pairs, but {opts[-1]!r} stands alone in: {words}")
    for key, value in zip(opts[0::2], opts[1::2], strict=True):
        _set(cfg, _rename(key, aliases), value, source)


def _read_yaml(path: str) -> dict:
    try:
        with open(path, encoding="utf-8") as file:
            content = yaml.safe_load(file)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise UserError(f"cannot read config file {path}: {reason}") from None
    except yaml.YAMLError as error:
        raise UserError(f"config file {path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict | None):
        raise UserError(f"config file {path} must hold KEY: value lines, found a {type(content).__name__}")
    return content or {}


def _leaves(tree: dict, cfg: CfgNode, prefix: str, aliases: Aliases) -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value), descending wherever the value is a mapping."""
    for name, value in tree.items():
        key = f"{prefix}.{name}" if prefix else str(name)
        if isinstance(value, dict):
            yield from _leaves(value, cfg, key, aliases)
        elif value is None and isinstance(_lookup(cfg, _rename(key, aliases)), CfgNode):
            continue  # "OPTIM:" with nothing below it
        else:
            yield _rename(key, aliases), value


def _rename(key: str, aliases: Aliases) -> str:
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


def _set(cfg: CfgNode, key: str, value: Any, source: str) -> None:
    old = _lookup(cfg, key)
    if old is _MISSING:
        hint = suggest(key, _all_keys(cfg))
        raise UserError(f"{source}: unknown config key {key!r} (value {value!r}){hint}")
    if isinstance(old, CfgNode):
        below = ", ".join(old) or "none"
        raise UserError(f"{source}: config key {key!r} is a group of keys ({below}) and takes no value ({value!r})")
    parent, _, name = key.rpartition(".")
    node = _lookup(cfg, parent) if parent else cfg
    node[name] = _coerce(_decode(value), old, value, key, source)


def _all_keys(cfg: CfgNode, prefix: str = "") -> list[str]:
    keys = []
    for name, value in cfg.items():
        key = f"{prefix}{name}"
        keys += _all_keys(value, key + ".") if isinstance(value, CfgNode) else [key]
    return keys


def _decode(value: Any) -> Any:
    """Read a string as a Python literal where it is one ("(32, 32)", "1e-5"); else it stays a string."""
    if not isinstance(value, str):
        return value
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return value


def _coerce(value: Any, old: Any, raw: Any, key: str, source: str) -> Any:
    """Return ``value`` in the type of ``old``; None fits everywhere, and anything fits where None was."""
    if type(value) is type(old) or value is None or old is None:
        return value
    if isinstance(old, str):
        if isinstance(raw, str | int | float) and not isinstance(raw, bool):
            return str(raw)  # a name that looks like a number, e.g. a domain called 1
    elif isinstance(old, float) and type(value) is int:
        return float(value)
    elif isinstance(old, tuple | list) and isinstance(value, tuple | list):
        return type(old)(value)
    kind = type(old).__name__
    raise UserError(f"{source}: config key {key!r} takes a {kind} (now {old!r}), not {raw!r}")
