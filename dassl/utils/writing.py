"""Writing files: whole or not at all, nothing left behind by a kill, and one line where it fails."""

import contextlib
import errno
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from .errors import UserError, WriteError, shorten

__all__ = ["atomic_path", "lock", "remove_stale_temporaries", "write_problem", "writing"]

_TEMPORARY = re.compile(r"\.tmp-\d+-.+", re.DOTALL)
_HOLDER = ".held"
_LONGEST_NAME = 60  # characters of a temporary folder's name, which need not be unique by its end
_FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk is full: the quota is used up",
    errno.EFBIG: "the disk is full, or files may not grow so large (ulimit -f)",
}
_PYTORCH = re.compile(r"enforce fail at inline_container.*(unexpected pos|file write|failed writing)|iostream error")
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR)


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` (same suffix) and rename it over ``path`` when the block succeeds.

    A reader never sees a half-written file, not even after a power cut; on an exception the temporary file is removed,
    and what a killed process left is removed by the next one that writes to the folder. Several processes, on several
    machines, may write to one folder and to one path.

    Raises:
        WriteError: the disk is full, or the folder cannot be written to.
    """
    path = Path(path)
    with writing(path):
        os.makedirs(path.parent, exist_ok=True)
        remove_stale_temporaries(path.parent)
        with _own_folder(path) as folder:
            temporary = folder / path.name
            os.close(os.open(temporary, os.O_RDWR | os.O_CREAT, 0o666))
            yield temporary
            _to_disk(temporary)
            os.replace(temporary, path)


@contextlib.contextmanager
def _own_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder beside ``path``, held by a locked file in it and removed at the end.

    The lock is not on the temporary file itself: libraries such as safetensors put another file in its place.
    """
    taken = None
    while taken is None:
        folder = path.with_name(f".tmp-{secrets.randbelow(10**9)}-{path.name}"[:_LONGEST_NAME])
        taken = _take(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(taken)


def _take(folder: Path) -> int | None:
    """Make a folder and hold it; return the holder's descriptor, None where the name is taken or was swept at once."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(folder)
    try:
        held = os.open(folder / _HOLDER, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    except (FileExistsError, FileNotFoundError):
        return None
    with contextlib.suppress(OSError):  # some file systems have no locks
        fcntl.flock(held, fcntl.LOCK_EX)  # who sweeps holds it for a moment
    if not _is_at(held, folder / _HOLDER):
        os.close(held)
        return None
    return held


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def lock(descriptor: int) -> bool:
    """Take the lock of an open file without waiting: it says that its writer lives. Some file systems have none."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_stale_temporaries(folder: str | os.PathLike, subfolders: bool = False) -> None:
    """Remove the temporary files of :func:`atomic_path` whose processes are gone.

    Args:
        folder: where to look; it may be missing.
        subfolders: look into its folders as well, e.g. those of a run's models.
    """
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):
            path = os.path.join(folder, name)
            if _TEMPORARY.fullmatch(name):
                _remove_if_stale(path)
            elif subfolders and os.path.isdir(path):
                remove_stale_temporaries(path)


def _remove_if_stale(path: str) -> None:
    """Remove a temporary that nobody holds: a folder as :func:`atomic_path` makes it, or a file, as it once did."""
    holder = os.path.join(path, _HOLDER) if os.path.isdir(path) else path
    try:
        descriptor = os.open(holder, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        with contextlib.suppress(OSError):
            os.rmdir(path)  # killed between the folder and its holder
        return
    try:
        if lock(descriptor):
            with contextlib.suppress(OSError):
                shutil.rmtree(path) if holder != path else os.unlink(path)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def writing(path: str | os.PathLike) -> Iterator[None]:
    """Turn what goes wrong while ``path`` is written in the block into one line.

    Raises:
        WriteError: the disk is full, or the place cannot be written to. A reader that is gone stays BrokenPipeError.
    """
    try:
        yield
    except (UserError, BrokenPipeError):
        raise
    except Exception as error:
        _refuse_to_write(path, error)


def _refuse_to_write(path: str | os.PathLike, error: Exception) -> NoReturn:
    problem, number = write_problem(error), getattr(_cause(error), "errno", None)
    if problem is None and not isinstance(error, OSError):
        raise error
    raise WriteError(f"cannot write {path}: {problem or shorten(error)}", number) from None


def write_problem(error: Exception) -> str | None:
    """Say in words why something could not be written; None for errors that have other reasons.

    PyTorch and safetensors report a full disk by exceptions of their own.
    """
    cause = _cause(error)
    if cause is None:
        return None
    if cause.errno in _FULL:
        return _FULL[cause.errno]
    return cause.strerror if cause.errno in _REFUSED else None


def _cause(error: Exception) -> OSError | None:
    """Return the error of the operating system behind an exception of PyTorch or safetensors, or the error itself."""
    if isinstance(error, OSError):
        return error
    if _PYTORCH.search(str(error)):
        return OSError(errno.EFBIG, "")  # which of the ways of being full it is, PyTorch does not say
    number = re.search(r"\(os error (\d+)\)", str(error))
    return OSError(int(number[1]), os.strerror(int(number[1]))) if number else None
