"""Finding the results below folders; what is missing, partial or corrupt is reported, never averaged away."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path

from dassl.utils import read_json
from dassl.utils.errors import UserError
from promptshift.results.data_state import data_problem
from promptshift.results.record import FILE_NAME, Record, read_result

# Any of these in a folder says that a run started there.
_RUN_FILES = ("config.yaml", "last.pth.tar", "log.txt")


@dataclasses.dataclass(frozen=True)
class Found:
    """One run folder: its record, or the reason why there is none.

    Attributes:
        folder: where the run wrote.
        kind: "complete"; "missing" (no run started here); "partial" (a run started and wrote no result);
            "stale" (a result of other data than there are now); "corrupt" (a result that cannot be read or does not
            fit the schema); "foreign" (a result.json of something else: an object that states no schema version).
        record: the record of a complete run, otherwise None.
        problem: one line that says what is wrong and names the file; "" for a complete run.
    """

    folder: Path
    kind: str
    record: Record | None = None
    problem: str = ""


def inspect(folder: str | Path, root: str | Path = "") -> Found:
    """Return what one run folder holds.

    Args:
        folder: the run's.
        root: where its data are looked for, see `data_problem`.
    """
    folder = Path(folder)
    path = folder / FILE_NAME
    if path.exists():
        try:
            record = read_result(path)
            problem = data_problem(folder, root)
            return (
                Found(folder, "stale", problem=f"{path} was {problem}")
                if problem
                else Found(folder, "complete", record)
            )
        except UserError as error:
            return Found(folder, "foreign" if _is_foreign(path) else "corrupt", problem=str(error))
    if any((folder / name).exists() for name in _RUN_FILES):
        return Found(folder, "partial", problem=f"{path} is missing: the run started and did not finish")
    return Found(folder, "missing", problem=f"{path} is missing: no run started there")


def _is_foreign(path: Path) -> bool:
    """Return whether a file is a JSON object that never claimed to be one of our results."""
    try:
        content = read_json(path)
    except UserError:
        return False
    return isinstance(content, dict) and "schema_version" not in content


def collect(roots: Iterable[str | Path]) -> list[Found]:
    """Return every run below `roots`, sorted by folder: finished ones, unfinished ones and unreadable ones.

    Raises:
        UserError: a root is not a folder, or no run was found below any of them.
    """
    roots = [Path(root) for root in roots]
    folders: set[Path] = set()
    for root in roots:
        if not root.is_dir():
            raise UserError(f"{root} is not a folder; expected a folder with finished runs below it")
        for folder, _, names in os.walk(root):
            if FILE_NAME in names or any(name in names for name in _RUN_FILES):
                folders.add(Path(folder))
    if not folders:
        raise UserError(f"no run ({FILE_NAME} or log.txt) found below {', '.join(map(str, roots))}")
    return [inspect(folder) for folder in sorted(folders)]
