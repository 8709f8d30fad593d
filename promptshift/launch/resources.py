"""Which launcher and what it asks for: a small YAML, keys of which are given as LAUNCH.KEY VALUE too."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from dassl.utils.errors import UserError, quoted, suggest
from dassl.utils.yaml_reader import PlainLoader, read_yaml
from promptshift.discovery import look_up
from promptshift.launch.driver import Launcher
from promptshift.launch.local import Local
from promptshift.paths import checkout

PREFIX = "LAUNCH."
SHORTEST = 11  # minutes: submitit takes an allocation of ten or less for timed out at its first notice


@dataclasses.dataclass(frozen=True)
class _Key:
    """A key: which values it takes, in words and as a check."""

    allowed: str
    fits: Callable[[Any], bool]


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0 and value < float("inf")


def _is_lines(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(line, str) for line in value)


_TEXT = _Key("text", lambda value: isinstance(value, str))
_COUNT = _Key("whole numbers of at least 0", lambda value: _is_whole(value) and value >= 0)
_AT_LEAST_ONE = _Key("whole numbers of at least 1", lambda value: _is_whole(value) and value >= 1)
_NUMBER = _Key("numbers of at least 0", _is_number)
_MINUTES = _Key(f"whole minutes, at least {SHORTEST}", lambda value: _is_whole(value) and value >= SHORTEST)
_KEYS = {
    "slurm": {
        "PARTITION": _TEXT,
        "ACCOUNT": _TEXT,
        "QOS": _TEXT,
        "CONSTRAINT": _TEXT,
        "TIME": _MINUTES,
        "GPUS": _COUNT,
        "JOBS_PER_GPU": _AT_LEAST_ONE,
        "CPUS": _AT_LEAST_ONE,
        "MEMORY": _NUMBER,
        "PARALLEL": _AT_LEAST_ONE,
        "RETRIES": _COUNT,
        "SETUP": _Key("a list of lines", _is_lines),
    },
    "ray": {"CPUS": _NUMBER, "GPUS": _NUMBER, "MEMORY": _NUMBER, "RETRIES": _COUNT},
    "local": {},
}
LAUNCHERS = tuple(_KEYS)


@dataclasses.dataclass(frozen=True)
class Choice:
    """A launcher as a user asks for it.

    Attributes:
        name: "local", "slurm" or "ray".
        resources: its keys; none for local.
        slots, gpus: of local, see there.
        command: program that runs one job, None for the usual one.
    """

    name: str = "local"
    resources: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    slots: int = 1
    gpus: Sequence[str] = ()
    command: Sequence[str] | None = None

    def make(self) -> Launcher:
        """Return the launcher.

        Raises:
            UserError: its library or its cluster is not there.
        """
        if self.name == "slurm":
            from promptshift.launch.slurm import Slurm

            return Slurm(self.resources, self.command)
        if self.name == "ray":
            from promptshift.launch.ray import Ray

            return Ray(self.resources, self.command)
        return Local(self.slots, self.gpus, self.command)


def resources(launcher: str, path: str = "", words: Sequence[str] = ()) -> dict[str, Any]:
    """Return what a launcher asks for: its file of configs/launch, over it a user's file, over that the user's words.

    Args:
        launcher: its name.
        path: YAML file of the user's, "" for none.
        words: LAUNCH.KEY VALUE pairs.

    Raises:
        UserError: an unknown launcher, key or file, or a value that the key does not take.
    """
    keys = look_up("launcher", launcher, _KEYS)
    found: dict[str, Any] = {}
    usual = checkout() / "configs" / "launch" / f"{launcher}.yaml"
    for file in [*([usual] if keys else []), *([Path(path)] if path else [])]:
        content = read_yaml(file) or {}
        if not isinstance(content, dict):
            raise UserError(f"{file} holds no keys, allowed: {', '.join(keys) or 'none'}")
        _refuse_clock(file)
        for key, value in content.items():
            found[_checked(launcher, str(key), value, str(file))] = value
    for word, text in zip(words[::2], words[1::2], strict=True):
        key = word.removeprefix(PREFIX)
        value = _value(text, found.get(key))
        found[_checked(launcher, key, value, "the command line")] = value
    return found


def split_launch_words(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the words less their LAUNCH.KEY VALUE pairs, and those pairs.

    Raises:
        UserError: a key without a value.
    """
    others, ours, rest = [], [], list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith(PREFIX):
            others.append(word)
        elif rest:
            ours += [word, rest.pop(0)]
        else:
            raise UserError(f"{word}: the value is missing")
    return others, ours


def _value(text: str, usual: Any) -> Any:
    """Return what a word stands for; one for a key of text is that text, whatever it looks like."""
    try:
        return text if isinstance(usual, str) or ":" in text else yaml.load(text, Loader=PlainLoader)
    except (yaml.YAMLError, ValueError, TypeError):
        return text  # refused where a number is expected


def _refuse_clock(file: Path) -> None:
    """Refuse 4:00:00, which sbatch takes for hours, minutes and seconds and YAML for the number 14400."""
    if clock := re.search(r"^TIME\s*:\s*(\d+:\S+)", file.read_text(encoding="utf-8"), re.MULTILINE):
        raise UserError(f"{PREFIX}TIME ({file}): {clock[1]}, allowed: {_MINUTES.allowed}")


def _checked(launcher: str, key: str, value: Any, source: str) -> str:
    """Return the key, once it is known that the launcher takes it with this value."""
    keys = _KEYS[launcher]
    if key not in keys:
        known = ", ".join(PREFIX + name for name in keys) or "none; JOBS and GPUS say how many run at the same time"
        raise UserError(
            f"{PREFIX}{key} ({source}): the launcher {launcher} takes no such key, allowed: {known}{suggest(key, keys)}"
        )
    if not keys[key].fits(value):
        reason = ", since submitit takes shorter ones for timed out at once" if key == "TIME" else ""
        raise UserError(f"{PREFIX}{key} ({source}): {quoted(value)}, allowed: {keys[key].allowed}{reason}")
    return key
