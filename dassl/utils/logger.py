"""Standard output that is also kept in a file."""

import contextlib
import os
import sys
import time
from typing import TextIO

from .errors import WriteError
from .tools import mkdir_if_missing
from .writing import writing

__all__ = ["Logger", "setup_logger"]


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
    """Copy everything printed from now on into ``output`` (a .txt/.log file, or a folder that gets ``log.txt``).

    An existing log is kept: the new one has the time appended to its name. A second call ends the first log.
    """
    if output is None:
        return
    fpath = output if output.endswith((".txt", ".log")) else os.path.join(output, "log.txt")
    if os.path.exists(fpath):
        fpath += time.strftime("-%Y-%m-%d-%H-%M-%S")
    console = sys.stdout
    if isinstance(console, Logger):
        console.close()
        console = console.console
    sys.stdout = Logger(fpath, console)
