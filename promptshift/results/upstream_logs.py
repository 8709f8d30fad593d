"""Runs of Dassl-based repositories that left no `result.json`: what their `log.txt` says about itself.

Those logs begin with the whole configuration, one indented `KEY: value` a line, and end with the accuracy as it was
printed (one or two decimals).
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from promptshift.results.parse_logs import TEST_END, TRAIN_END, read_run

_HEADING = re.compile(r"\*\*\s*(\w[\w ]*?)\s*\*\*")  # "** Config **", "** System info **"
_LINE = re.compile(r"( *)(\w+):(?: (.*))?$")
_WORD = re.compile(r"'([^']*)'")


@dataclasses.dataclass(frozen=True)
class LogRun:
    """One finished run as its log describes it.

    Attributes:
        path: the log.
        accuracy: percent, rounded as printed.
        options: dotted configuration key to its text.
    """

    path: Path
    accuracy: float
    options: dict[str, str]

    def words(self, key: str) -> list[str]:
        """Return the words of a list such as "['art', 'sketch']"."""
        return _WORD.findall(self.options.get(key, ""))


def read_log_run(folder: Path) -> LogRun | None:
    """Return the finished run of a folder that has a log and no result, None where the log shows none.

    Raises:
        OSError: the log cannot be read.
    """
    found = read_run(folder, "accuracy", TRAIN_END) or read_run(folder, "accuracy", TEST_END)
    if found is None or not found.path.name.startswith("log.txt"):
        return None
    options = _options(found.path.read_text(encoding="utf-8", errors="replace").splitlines())
    return LogRun(found.path, found.value, options) if "DATASET.NAME" in options else None


def _options(lines: list[str]) -> dict[str, str]:
    """Return the configuration that a log prints under its "Config" heading."""
    options: dict[str, str] = {}
    place: list[tuple[int, str]] = []  # the open blocks: indentation and name
    inside = False
    for line in lines:
        heading = _HEADING.match(line.strip())
        if heading:
            inside = heading.group(1).lower() == "config"
            continue
        match = _LINE.match(line) if inside else None
        if match is None:
            continue
        indent, name, value = len(match.group(1)), match.group(2), match.group(3)
        place = [*(block for block in place if block[0] < indent), (indent, name)]
        if value is not None:
            options[".".join(block for _, block in place)] = value.strip()
    return options
