"""Writes a world to a folder in PACS's layout: `images/<domain>/<class>/<class>_0000.png`."""

import contextlib
import json
import multiprocessing
import os
import re
import shutil
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from PIL import Image

from dassl.utils import read_json
from dassl.utils.errors import UserError, shorten
from dassl.utils.writing import lock, writing

from .world import RENDERER_VERSION, WorldSpec, render_image

MARKER = "world.json"


def _settings(spec: WorldSpec, per_class: int, seed: int) -> dict:
    return {
        "name": spec.name,
        "seed": seed,
        "per_class": per_class,
        "renderer_version": RENDERER_VERSION,
        "spec_crc32": zlib.crc32(repr(spec).encode()),
    }


def _is_rendered(folder: Path, wanted: dict) -> bool:
    """Whether `folder` already holds this world; other content is an error, an absent or empty folder is not."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    if not (folder / MARKER).is_file():
        raise UserError(
            f"{folder}: not empty and holds no {MARKER}; name an empty or new folder for the world {wanted['name']!r}"
        )
    found = read_json(folder / MARKER)
    if found != wanted:
        raise UserError(
            f"{folder}: holds another world, {shorten(json.dumps(found))}, not the wanted {json.dumps(wanted)}; "
            "remove the folder or name another one"
        )
    return True


def _write_class(job: tuple[str, str], spec: WorldSpec, root: str, per_class: int, seed: int) -> None:
    domain, classname = job
    folder = Path(root, "images", domain, classname)
    folder.mkdir(parents=True)
    for index in range(per_class):
        array, _ = render_image(spec, domain, classname, index, seed)
        Image.fromarray(array).save(folder / f"{classname}_{index:04d}.png")


def _default_workers() -> int:
    # Forked workers start at once and need no guarded main module; other systems lack a safe fork.
    return min(8, os.cpu_count() or 1) if sys.platform == "linux" else 1


def render_world(
    spec: WorldSpec, folder: str | os.PathLike, per_class: int = 60, seed: int = 0, workers: int | None = None
) -> None:
    """Render a world into `folder`, all or nothing; returns at once if the same world is already there.

    Args:
        spec: the world.
        folder: target folder, absent or empty; its parents are made.
        per_class: images per class and domain, >= 1.
        seed: data seed, >= 0.
        workers: processes; None takes the cores of the machine. The bytes do not depend on it.

    Raises:
        UserError: `folder` holds something else, or `per_class` or `seed` is out of range.
    """
    if per_class < 1 or seed < 0:
        raise UserError(f"render_world: per_class={per_class} must be >= 1 and seed={seed} must be >= 0 ({folder})")
    folder, wanted = Path(folder), _settings(spec, per_class, seed)
    _remove_unfinished(folder)
    if _is_rendered(folder, wanted):
        return
    with writing(folder), _workshop(folder) as parent:
        root = Path(parent, "world")  # mkdtemp's own folder is private (0700); this one has the usual permissions
        _write_all(spec, root, per_class, seed, workers or _default_workers())
        (root / MARKER).write_text(json.dumps(wanted, indent=1) + "\n", encoding="utf-8")
        _publish(root, folder, wanted)


@contextlib.contextmanager
def _workshop(folder: Path) -> Iterator[str]:
    """A hidden folder beside `folder`, locked for as long as this process or one of its forked workers lives."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        while True:
            temporary = tempfile.TemporaryDirectory(
                prefix=f".{folder.name}-", dir=folder.parent, ignore_cleanup_errors=True
            )
            parent = stack.enter_context(temporary)
            with contextlib.suppress(FileNotFoundError):  # taken for a killed process's before it was locked
                descriptor = os.open(parent, os.O_RDONLY)
                stack.callback(os.close, descriptor)
                if not lock(descriptor):
                    time.sleep(0.2)  # somebody is removing it, or the file system has no locks
                if os.path.isdir(parent):
                    break
        yield parent


def _remove_unfinished(folder: Path) -> None:
    """Removes the hidden folders that killed processes left while they rendered this world."""
    hidden = re.compile(re.escape(f".{folder.name}-") + r"\w{8}")  # as tempfile names them
    for path in folder.parent.iterdir() if folder.parent.is_dir() else ():
        if hidden.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                if lock(descriptor):
                    shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(descriptor)


def _end_with(parent: int) -> None:
    """Ends a worker soon after its parent was killed: the pool's own pipes stay open and it would wait for ever."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _write_all(spec: WorldSpec, root: Path, per_class: int, seed: int, workers: int) -> None:
    root.mkdir()
    jobs = [(domain, classname) for domain in spec.domains for classname in spec.classes]
    write = partial(_write_class, spec=spec, root=str(root), per_class=per_class, seed=seed)
    if workers == 1:
        for job in jobs:
            write(job)
        return
    with multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn").Pool(
        workers, _end_with, (os.getpid(),)
    ) as pool:
        pool.map(write, jobs, chunksize=4)


def _publish(root: Path, folder: Path, wanted: dict) -> None:
    """Rename the finished world into place; the same world published meanwhile by another process is kept."""
    try:
        if folder.exists():
            folder.rmdir()
        root.rename(folder)
    except OSError:
        if not _is_rendered(folder, wanted):
            raise
