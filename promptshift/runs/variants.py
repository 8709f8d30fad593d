"""Folders of variants: what KEY VALUE words change of the configuration files, as a part of a folder's name."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence

from yacs.config import CfgNode as CN

from dassl.config.merge import rename
from dassl.engine import TRAINER_REGISTRY
from dassl.utils.errors import UserError
from promptshift.runs.config import decides, flatten

_LONGEST = 150  # characters of a word; file systems take 255 for a name


def variant(options: Sequence[str], named: Collection[str], configured: Callable[[tuple[str, ...]], CN]) -> str:
    """Return ",KEY=VALUE" for every key that words change; "" where they ask for what the files say.

    Keys that decide no number (folders, workers, talk) and those of other trainers' blocks do not count, nor does a
    word that repeats the value of the files. A word that had to be changed for a name ends in "~" and eight hex digits.

    Args:
        options: KEY VALUE words.
        named: keys that the folder names by itself.
        configured: other KEY VALUE words -> the configuration that they make with the same files.

    Raises:
        UserError: the words make no configuration.
    """
    cfg = configured(tuple(options))
    aliases = getattr(TRAINER_REGISTRY.get(cfg.TRAINER.NAME), "KEY_ALIASES", {})
    keys = [rename(key, aliases) for key in options[::2]]
    varied = [key for key in dict.fromkeys(keys) if key not in named and decides(key, cfg)]
    if not varied:
        return ""
    kept = [pair for key, pair in zip(keys, zip(options[::2], options[1::2])) if key not in varied]
    ours, theirs = flatten(cfg), _values(configured, [word for pair in kept for word in pair])
    changed = [f"{key.removeprefix('TRAINER.')}={ours[key]}" for key in varied if ours[key] != theirs.get(key)]
    return "".join(f",{_short(text)}" for text in changed)


def _values(configured: Callable[[tuple[str, ...]], CN], options: Sequence[str]) -> Mapping[str, object]:
    """Return the value of every key; {} where the files are not enough without the words that are left out."""
    try:
        return flatten(configured(tuple(options)))
    except UserError:
        return {}


def _short(text: str) -> str:
    """Return KEY=VALUE as a part of a folder's name; two that differ stay different."""
    plain = text.replace(" ", "_").replace("/", "" if text.startswith("MODEL.BACKBONE.NAME") else "_")
    safe = "".join(sign if sign.isalnum() or sign in "=,._-+" else "_" for sign in plain)[:_LONGEST]
    digest = hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
    return safe if safe == plain else f"{safe}~{digest}"
