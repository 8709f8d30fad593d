"""Which runs a protocol's tables are of, by the layouts that protocols and studies declare."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from promptshift.protocols.config_files import known_facts
from promptshift.report.runs import Run
from promptshift.results.layout import Layout, layouts


def runs_of(protocol: str, layout: Layout, runs: Sequence[Run]) -> list[Run]:
    """Return the runs of a protocol's tables; protocols of one group share the runs on what was trained on."""
    own = [run for run in runs if run.protocol == protocol]
    if not layout.group:
        return own
    group = [name for name, other in layouts().items() if other.group == layout.group]
    trainers, folders = {run.trainer for run in own}, {run.folder for run in own}
    return own + [
        run
        for run in runs
        if run.protocol in group
        and run.dataset in layout.left_out
        and run.trainer in trainers
        and run.folder not in folders
    ]


def ordered_columns(layout: Layout, dataset: str, runs: Iterable[Run]) -> list[str]:
    """Return the columns of the table of some runs: every domain of the dataset where columns are domains."""
    facts = known_facts(dataset) if layout.domains else None
    return layout.ordered((layout.column(run.setting) for run in runs), facts.domains if facts else ())


def run_links(run: Run) -> list[tuple[str, Path]]:
    """Return (what, file) of a run's files that exist: configuration, log, result."""
    names = (("configuration", "config.yaml"), ("log", "log.txt"), ("result", "result.json"))
    return [(what, run.folder / name) for what, name in names if (run.folder / name).is_file()]
