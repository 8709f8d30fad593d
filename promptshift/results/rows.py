"""Finished runs as rows of plain values, for notebooks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from promptshift.paths import output_root
from promptshift.results.collect import Found, collect

_KEYS = (
    "trainer",
    "protocol",
    "dataset",
    "backbone",
    "source_domains",
    "target_domains",
    "classes",
    "shots",
    "split",
    "selection",
    "seed",
)


def rows(*folders: str | Path) -> Any:
    """Return every finished run below folders, one row each: a pandas DataFrame where pandas is installed, else dicts.

    Columns: folder, trainer, protocol, dataset, backbone, source_domains, target_domains, classes, shots, split,
    selection, seed (see `Record`), every metric (accuracies in percent), and seconds.

    Args:
        folders: roots to look below; OUTPUT when none is named.

    Raises:
        UserError: a root is no folder, or has no run below it.
    """
    found = [_row(run) for run in collect(folders or [output_root()]) if run.record is not None]
    try:
        import pandas
    except ImportError:
        return found
    return pandas.DataFrame(found)


def _row(run: Found) -> dict[str, Any]:
    record = run.record
    about = {"folder": str(run.folder), **{key: record[key] for key in _KEYS}}
    return about | {**record["metrics"], "seconds": record["seconds"]}
