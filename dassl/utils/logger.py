"""Standard output that is also kept in a file."""

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from .errors import WriteError
from .tools import mkdir_if_missing
from .writing import writing

__all__ = ["Logger", "log_to", "setup_logger"]


class Logger:
    """Writes to the console and, line by line, to a file."""

    def __init__(self, fpath: str | None = None, console: TextIO | None = None) -> None:
        self.console = console or sys.stdout
        self.file = None
        if fpath is not None:
            with writing(fpath):
                mkdir_if_missing(os.path.dirname(fpath) or ".")
                self.file = open(fpath, "w", buffering=1, encoding="utf-8")  # noqa: SIM115 - lives as long as the run

    def __enter__(self) -> "Logger":
        return self

    def __exit__(self, *args: object) -> None:
        self.close()

    def write(self, msg: str) -> None:
        """Write to both.

        Raises:
            WriteError: the disk is full; the file is given up, so that the message about it can still be shown.
        """
        with writing("standard output"):
            self.console.write(msg)
        if self.file is not None:
            try:
                with writing(self.file.name):
                    self.file.write(msg)
            except WriteError:
                self.close()
                raise

    def flush(self) -> None:
        """Flush both."""
        with writing("standard output"):
            self.console.flush()
        if self.file is not None:
            self.file.flush()

    def isatty(self) -> bool:
        """Whether the console is a terminal."""
        return self.console.isatty()

    def close(self) -> None:
        """Close the file; the console stays open."""
        file, self.file = self.file, None
        if file is not None:
            with contextlib.suppress(OSError):  # lines are written when they end: what is left was refused before
                file.close()


def setup_logger(output: str | None = None) -> None:
    """Copy everything said and printed from now on into ``output`` (a .txt/.log file, or a folder: ``log.txt`` in it).

    An existing log is kept: the new one has the time appended to its name. A second call ends the first log.
    """
    if output is None:
        return
    fpath = _free_path(output)
    console = sys.stdout
    if isinstance(console, Logger):
        console.close()
        console = console.console
    sys.stdout = Logger(fpath, console)


@contextmanager
def log_to(output: str) -> Iterator[Logger]:
    """Copy everything said and printed inside into ``output``, named as for :func:`setup_logger`.

    Inside another ``log_to`` both files get it; the outer one goes on afterwards.
    """
    outside = sys.stdout
    sys.stdout = log = Logger(_free_path(output), outside)
    try:
        yield log
    finally:
        log.close()
        if isinstance(sys.stdout, Logger) and sys.stdout is not outside:  # one that a public trainer set up
            sys.stdout.close()
        sys.stdout = outside


def _free_path(output: str) -> str:
    fpath = output if output.endswith((".txt", ".log")) else os.path.join(output, "log.txt")
    return fpath + time.strftime("-%Y-%m-%d-%H-%M-%S") if os.path.exists(fpath) else fpath
