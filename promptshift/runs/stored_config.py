"""Configurations that runs wrote: reading them, and comparing the keys that change numbers."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from pathlib import Path

from yacs.config import CfgNode as CN

from dassl.config import get_cfg_default
from dassl.utils.errors import FOREIGN, UserError, shorten
from dassl.utils.yaml_reader import read_yaml
from promptshift.paths import load_plugins
from promptshift.runs.config import config_hash, extend_cfg, flatten


def read_config(path: Path) -> CN:
    """Returns the configuration that a run wrote.

    Raises:
        UserError: the file is missing, is no YAML or names an unknown trainer; the line names it.
    """
    load_plugins()
    try:
        written = CN(read_yaml(path))
        config_hash(written)
        return written
    except FOREIGN as error:
        raise UserError(f"{path} is no configuration of this project: {shorten(error)}") from None


def family(cfg: CN, free: Callable[[str], bool]) -> str:
    """Returns 16 hex digits, equal for two configurations that ask for the same numbers but for keys that are `free`.

    A key that came into the project after the run was made has its default value in it.
    """
    return config_hash(with_later_keys(cfg, free))


def differences(first: CN, second: CN, free: Callable[[str], bool]) -> dict[str, tuple[object, object]]:
    """Returns key -> (value in `first`, value in `second`) of keys that numbers depend on and that are not `free`."""
    first, second = with_later_keys(first, free), with_later_keys(second, free)
    ours, theirs = flatten(first), flatten(second)
    reference = config_hash(first)
    found = {}
    for key, value in ours.items():
        if key in theirs and _plain(theirs[key]) != _plain(value):
            changed = first.clone()
            put(changed, key, theirs[key])
            if config_hash(changed) != reference:
                found[key] = (value, theirs[key])
    return found


def show_differences(changes: dict[str, tuple[object, object]], side: int) -> str:
    """Returns one side of `differences` as text, e.g. "OPTIM.MAX_EPOCH 1, DPSPG.ALPHA 0.5"."""
    return ", ".join(f"{key.removeprefix('TRAINER.')} {pair[side]}" for key, pair in sorted(changes.items()))


def with_later_keys(cfg: CN, free: Callable[[str], bool] = lambda key: False) -> CN:
    """Returns the defaults of today overlaid with `cfg`; keys that are `free` keep their defaults."""
    full = _defaults().clone()
    for key, value in flatten(cfg).items():
        if not free(key):
            put(full, key, value)
    return full


@functools.lru_cache(maxsize=1)
def _defaults() -> CN:
    load_plugins()
    cfg = get_cfg_default()
    extend_cfg(cfg)
    return cfg


def put(cfg: CN, key: str, value: object) -> None:
    """Sets a dotted key whether it exists or not."""
    *blocks, name = key.split(".")
    for block in blocks:
        if not isinstance(cfg.get(block), CN):
            cfg[block] = CN()
        cfg = cfg[block]
    cfg[name] = value


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value  # YAML has no tuples


def prefixes(words: Iterable[str]) -> Callable[[str], bool]:
    """Returns a test whether a key is one of `words` or lies in one of the blocks that they name."""
    words = tuple(words)
    return lambda key: any(key == word or key.startswith(f"{word}.") for word in words)
