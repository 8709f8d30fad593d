"""Accuracies out of CoOp-style log files: the logic of `parse_test_res.py`.

Reads the logs of this project and of Dassl-based repositories. A run folder holds `log.txt`; a second run
into the same folder writes `log.txt-<date>`, and the newest log with a result counts.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from dassl.utils.errors import UserError
from promptshift.results.collect import inspect
from promptshift.results.statistics import ci95, mean, population_std

# Dassl changed the wording in 2022; logs with either exist.
TRAIN_END = ("Finish training", "Finished training")
TEST_END = ("=> result",)
# Log keywords that result.json calls otherwise.
_METRIC = {"error": "error_rate"}


@dataclasses.dataclass(frozen=True)
class Found:
    """A value in percent, the file it was read from, and a remark about that file ("" without one)."""

    value: float
    path: Path
    remark: str = ""


def read_log(path: Path, keyword: str, end_signals: Sequence[str]) -> float | None:
    """Return the last `* <keyword>: <number>%` after a line that equals an end signal, None without one."""
    pattern = re.compile(rf"\* {re.escape(keyword)}: ([-+.\deE]+)%")
    ended, value = False, None
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        ended = ended or line.strip() in end_signals
        match = pattern.search(line) if ended else None
        if match:
            value = float(match.group(1))
    return value


def read_run(folder: Path, keyword: str, end_signals: Sequence[str]) -> Found | None:
    """Return the value of one run folder: from `result.json` where it has one, else from the newest log with one."""
    record = inspect(folder).record
    metric = _METRIC.get(keyword, keyword)
    if record is not None and metric in record["metrics"]:
        return Found(record["metrics"][metric], folder / "result.json", "full precision")
    # The date in the name sorts as text, and the plain name sorts before every date.
    logs = sorted(folder.glob("log.txt*"), reverse=True)
    for path in logs:
        value = read_log(path, keyword, end_signals)
        if value is not None:
            unfinished = logs[: logs.index(path)]
            return Found(value, path, f"newer {unfinished[0].name} has no result" if unfinished else "")
    return None


def parse_folder(folder: Path, keyword: str, end_signals: Sequence[str], use_ci95: bool) -> float:
    """Print every run below `folder` and their summary; return the mean in percent.

    Raises:
        UserError: `folder` is no folder, or no run below it has a result.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; expected a folder with one sub-folder per seed")
    runs = [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    if any(folder.glob("log.txt*")):
        runs = [folder]
    print(f"Parsing files in {folder}")
    values = []
    for run in runs:
        if (held := inspect(run)).kind == "corrupt":
            print(f"corrupt: {held.problem}")
        if held.kind == "stale":
            print(f"stale: {held.problem}; it is left out")
            continue
        found = read_run(run, keyword, end_signals)
        if found is None:
            print(f"missing: {run} has no finished result and is left out")
            continue
        print(f"file: {found.path}. {keyword}: {found.value:.2f}%" + (f" ({found.remark})" if found.remark else ""))
        values.append(found.value)
    if not values:
        raise UserError(
            f"nothing found in {folder}: no run folder there has a result.json or a log.txt with "
            f"'* {keyword}: ..%' after {' or '.join(repr(signal) for signal in end_signals)}"
        )
    average, spread = mean(values), (ci95 if use_ci95 else population_std)(values)
    print("===")
    print(f"Summary of directory: {folder} ({len(values)} of {len(runs)} runs)")
    print(f"* {keyword}: {average:.2f}% +- {spread:.2f}%")
    print("===")
    return average


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 0, or 2 after one line on stderr."""
    parser = argparse.ArgumentParser("parse_test_res.py", description="Mean and spread of the results of several runs.")
    parser.add_argument("directory", type=Path, help="folder with one run folder per seed")
    parser.add_argument("--ci95", action="store_true", help="95%% confidence interval instead of the std")
    parser.add_argument("--test-log", action="store_true", help="the logs are of test-only runs")
    parser.add_argument("--multi-exp", action="store_true", help="directory holds several such folders")
    parser.add_argument("--keyword", default="accuracy", help="metric in the log (default: accuracy)")
    try:
        options = parser.parse_args(argv)
        arguments = (options.keyword, TEST_END if options.test_log else TRAIN_END, options.ci95)
        if options.multi_exp:
            _parse_experiments(options.directory, *arguments)
        else:
            parse_folder(options.directory, *arguments)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _parse_experiments(directory: Path, keyword: str, end_signals: Sequence[str], use_ci95: bool) -> None:
    """Parse every folder in `directory` and print the mean of their means.

    Raises:
        UserError: `directory` is no folder or holds none, or one of them has no result.
    """
    folders = sorted(path for path in directory.iterdir() if path.is_dir()) if directory.is_dir() else []
    if not folders:
        raise UserError(f"nothing found in {directory}: expected one folder per experiment")
    means = [parse_folder(folder, keyword, end_signals, use_ci95) for folder in folders]
    print(f"Average performance over {len(means)} experiments:\n* {keyword}: {mean(means):.2f}%")
