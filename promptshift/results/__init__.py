"""What a run leaves behind and what is made of it: records, statistics, tables, published numbers.

record      the `result.json` of one run
collect     finding records below folders, naming the runs that have none
statistics  mean, spreads and harmonic mean over seeds
layout      how the runs of a protocol make tables, as protocols declare it
comparison  the one maker of tables: numbers over seeds, averages, published rows
tables      one table value, written as Markdown, CSV or LaTeX
papers      published numbers (`papers/*.yaml`)
parse_logs  reading accuracies out of CoOp-style log files
upstream_logs  runs of other repositories, from their log files
significance  paired tests of one method against another
rows        finished runs as rows, for notebooks: `promptshift.results(FOLDER)`
"""

import sys
from types import ModuleType
from typing import Any


class _Results(ModuleType):
    """This package, which may be called: `promptshift.results(FOLDER)` is what a notebook writes."""

    def __call__(self, *folders: Any) -> Any:
        """Return the finished runs below folders; see `promptshift.results.rows.rows`."""
        from promptshift.results.rows import rows

        return rows(*folders)


sys.modules[__name__].__class__ = _Results
