"""Writing files: whole or not at all, nothing left behind by a kill, and one line where it fails."""

import contextlib
import errno
import fcntl
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from .errors import UserError, WriteError, shorten

__all__ = ["atomic_path", "lock", "remove_stale_temporaries", "write_problem", "writing"]

_TEMPORARY = re.compile(r"\.tmp-\d+-.+", re.DOTALL)
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
    and what a killed process left is removed by the next one that writes to the folder.

    Raises:
        WriteError: the disk is full, or the folder cannot be written to.
    """
    path = Path(path)
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    with writing(path):
        os.makedirs(path.parent, exist_ok=True)
        remove_stale_temporaries(path.parent)
        held = _opened(temporary)
        try:
            yield temporary
            _to_disk(temporary)
            os.replace(temporary, path)
        finally:
            os.close(held)
            with contextlib.suppress(OSError):
                temporary.unlink()


def _opened(temporary: Path) -> int:
    """Create a temporary file and lock it; again where another process swept it before it was locked."""
    while True:
        held = os.open(temporary, os.O_RDWR | os.O_CREAT, 0o666)
        with contextlib.suppress(OSError):  # some file systems have no locks
            fcntl.flock(held, fcntl.LOCK_EX)  # who sweeps holds it for a moment
        try:
            if os.path.samestat(os.fstat(held), os.stat(temporary)):
                return held
        except FileNotFoundError:
            pass
        os.close(held)


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
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            if lock(descriptor):
                os.unlink(path)
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
