"""Which images and split files a run was made from, and whether they are still the same: a run's `data.json`.

Every folder of images has a digest of the names and contents of its files. Contents are read once and again only where
size or time of a file changed, so that a data set that was copied or touched is the same one; above `AFFORDABLE` bytes
size and time stand in for the content. What was read is remembered below the output root.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from dassl.data.datasets.base_dataset import IMAGE_SUFFIXES, DataFiles
from dassl.utils import read_json, write_json
from dassl.utils.errors import UserError
from promptshift.paths import data_root, output_root

FILE_NAME = "data.json"
AFFORDABLE = 8 * 2**30  # bytes of images that are read to tell whether their contents changed
_DEEPEST = 6  # folders below a data set's own; ends links that go in circles
_SHOWN = 3  # changes that a message names
_Stat = tuple[int, int]  # size and modification time in ns
_digests: dict[tuple, str] = {}  # of single files, by path, size and time
_recent: dict[tuple, tuple[float, dict[str, list]]] = {}  # what was found, and until when it is taken for granted


def state_of(files: DataFiles, root: str | Path) -> dict:
    """Return what `data.json` holds of some folders and files; paths are relative to the data folder `root`."""
    root = os.path.abspath(os.path.expanduser(root))
    return _state(
        root,
        {os.path.relpath(folder, root): list(files.skipped) for folder in files.folders},
        [os.path.relpath(file, root) for file in files.files],
    )


def write_state(folder: str | Path, state: dict, model: str | Path = "") -> None:
    """Write a run's `data.json`; `model` is the run whose weights it tests, stale data of which make it stale too."""
    write_json(state | {"model": str(model and Path(model).absolute())}, Path(folder, FILE_NAME))


def data_problem(folder: str | Path, root: str | Path = "") -> str:
    """Return one line that says how the data of a run differ from today's, "" where they do not.

    A run without `data.json`, and one whose data are not here at all, has nothing to be compared with: "".

    Args:
        folder: the run's.
        root: where its data are looked for; where they were, or the data folder of today, when empty.
    """
    try:
        then = read_json(Path(folder, FILE_NAME))
        root = root or (then["root"] if os.path.isdir(then["root"]) else data_root())
        now = _state(os.path.abspath(os.path.expanduser(root)), then["folders"], then["files"])
        there = now["there"] and now["fingerprint"] != then["fingerprint"]
        changes = _changes(then, now) if there else []
        model = then["model"]
    except (UserError, KeyError, TypeError, AttributeError, ValueError):  # none, or not ours
        return ""
    if there:
        more = f" and {len(changes) - _SHOWN} more" if len(changes) > _SHOWN else ""
        return f"made from other data below {now['root']}: {'; '.join(changes[:_SHOWN])}{more}; run it again"
    problem = data_problem(model) if model and Path(model) != Path(folder) else ""
    return f"made with the weights of {model}, {problem}" if problem else ""


def _state(root: str, folders: dict[str, Sequence[str]], files: Iterable[str]) -> dict:
    directories: dict[str, list] = {}
    for folder, skipped in sorted(folders.items()):
        for name, found in _directories(os.path.normpath(os.path.join(root, folder)), tuple(skipped)).items():
            directories[os.path.normpath(os.path.join(folder, name))] = found
    digests = {file: _file_digest(os.path.join(root, file)) for file in sorted(files)}
    content = json.dumps([directories, digests])
    return {
        "fingerprint": hashlib.blake2b(content.encode(), digest_size=8).hexdigest(),
        "root": root,
        "folders": {folder: list(skipped) for folder, skipped in folders.items()},
        "directories": directories,
        "files": digests,
        "there": bool(directories) or (not folders and any(digests.values())),
    }


def _changes(then: dict, now: dict) -> list[str]:
    """Return what differs between two states, folders first."""
    lines = []
    for name in sorted({*then["directories"], *now["directories"]}):
        before, after = (state["directories"].get(name) for state in (then, now))
        if before == after:
            continue
        if before is None or after is None:
            count = (after or before)[0]
            lines.append(f"{name} {'is gone' if after is None else 'is new'} ({count:,} images)")
        elif before[0] != after[0]:
            lines.append(f"{name} has {after[0]:,} images, not {before[0]:,}")
        else:
            lines.append(f"images of {name} changed")
    for name in sorted({*then["files"], *now["files"]}):
        before, after = (state["files"].get(name, "") for state in (then, now))
        if before != after:
            lines.append(f"{name} {'changed' if before and after else 'is new' if after else 'is gone'}")
    return lines


class _Listed(NamedTuple):
    """The images of a tree: folder -> name -> size and time, and all their bytes."""

    folders: dict[str, dict[str, _Stat]]
    size: int


def _directories(top: str, skipped: tuple[str, ...]) -> dict[str, list]:
    """Folder relative to `top` -> [number of images, digest of their names and contents], of all that hold any.

    Folders without an image count where nothing lies below them: they name classes.
    """
    key, started = (top, skipped, str(output_root())), time.monotonic()
    until, found = _recent.get(key, (0.0, {}))
    if started < until:
        return found
    listed = _list(top, skipped)
    stat = hashlib.blake2b(repr(sorted(listed.folders.items())).encode(), digest_size=16).hexdigest()
    place = output_root() / "data_digests" / hashlib.blake2b(top.encode(), digest_size=10).hexdigest()
    found = _remembered(place.with_suffix(".json")).get(stat)
    if found is None:
        found = {name: _summary(files) for name, files in _with_contents(top, listed, place).items()}
        _remember({stat: found}, place.with_suffix(".json"))
    ended = time.monotonic()
    _recent[key] = (ended + 2 + 20 * (ended - started), found)
    return found


def _list(top: str, skipped: tuple[str, ...]) -> _Listed:
    folders: dict[str, dict[str, _Stat]] = {}
    size, pending = 0, [("", 0)]
    while pending:
        folder, depth = pending.pop()
        files, below = {}, []
        try:
            with os.scandir(os.path.join(top, folder)) as entries:
                for entry in entries:
                    if entry.name.startswith(".") or entry.name in skipped:
                        continue
                    if entry.name.lower().endswith(IMAGE_SUFFIXES):
                        with contextlib.suppress(OSError):  # a link to nowhere
                            stat = entry.stat()
                            files[entry.name], size = (stat.st_size, stat.st_mtime_ns), size + stat.st_size
                    elif depth < _DEEPEST and entry.is_dir():
                        below.append((os.path.join(folder, entry.name), depth + 1))
        except OSError:
            continue
        if files or (folder and not below):
            folders[folder or "."] = dict(sorted(files.items()))
        pending += below
    return _Listed(folders, size)


def _with_contents(top: str, listed: _Listed, place: Path) -> dict[str, dict[str, str]]:
    """Folder -> name -> digest of every image; what is known of a file of the same size and time is not read again."""
    if listed.size > AFFORDABLE:
        return {folder: {name: repr(stat) for name, stat in files.items()} for folder, files in listed.folders.items()}
    known, table = _remembered(place.with_suffix(".files.json")), {}
    paths = [(folder, name, stat) for folder, files in listed.folders.items() for name, stat in files.items()]
    new = [os.path.join(folder, name) for folder, name, stat in paths]
    new = [path for path, (*_, stat) in zip(new, paths) if known.get(path, [None])[:-1] != list(stat)]
    with ThreadPoolExecutor(4) as pool:  # hashing leaves the interpreter free
        read = dict(zip(new, pool.map(lambda path: _digest_of(os.path.join(top, path)), new)))
    found: dict[str, dict[str, str]] = {folder: {} for folder in listed.folders}
    for folder, name, stat in paths:
        path = os.path.join(folder, name)
        found[folder][name] = read[path] if path in read else known[path][-1]
        table[path] = [*stat, found[folder][name]]
    _remember(table, place.with_suffix(".files.json"))
    return found


def _summary(files: dict[str, str]) -> list:
    return [len(files), hashlib.blake2b(repr(sorted(files.items())).encode(), digest_size=8).hexdigest()]


def _file_digest(path: str) -> str:
    """As `_digest_of`, read once for as long as size and time stay."""
    try:
        stat = os.stat(path)
    except OSError:
        return ""
    key = (path, stat.st_size, stat.st_mtime_ns)
    if key not in _digests:
        _digests[key] = _digest_of(path)
    return _digests[key]


def _digest_of(path: str) -> str:
    """Digest of a file's content, "" where there is none to read."""
    digest = hashlib.blake2b(digest_size=8)
    try:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError:
        return ""
    return digest.hexdigest()


def _remembered(path: Path) -> dict:
    try:
        found = read_json(path)
    except UserError:
        return {}
    return found if isinstance(found, dict) else {}


def _remember(content: dict, path: Path) -> None:
    with contextlib.suppress(OSError):  # it is worked out again
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(content, path)
