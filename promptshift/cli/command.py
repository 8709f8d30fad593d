"""What the small commands share: a mistake is one line and exit status 2."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from dassl.utils.errors import UserError
from dassl.utils.writing import write_problem


class Parser(argparse.ArgumentParser):
    """Reports a wrong command line as one line; keeps the line breaks of its texts."""

    def __init__(self, prog: str, **options: str | None) -> None:
        super().__init__(prog, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        raise UserError(f"command line: {message}; --help shows the usage")


def is_dry_run(options: argparse.Namespace) -> bool:
    """Whether a command is to plan and to run nothing: --dry-run, or DRY_RUN in the environment unless it is 0."""
    return options.dry_run or os.environ.get("DRY_RUN", "0") not in ("", "0")


def answer(command: Callable[[Sequence[str] | None], int], argv: Sequence[str] | None) -> int:
    """The exit status of a command; bad input is one `error: ...` line on stderr and status 2.

    Where the reader of the output is gone (`... | head`), the command ends silently with status 141, as in a shell.

    Args:
        command: takes the words of the command line, None for those of the process.
        argv: the words.
    """
    try:
        status = command(argv)
        sys.stdout.flush()
        return status
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        return _not_written(error)


def _not_written(error: OSError) -> int:
    """The exit status where what a command prints or writes is not taken any more."""
    if error.filename is None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left is written nowhere
    if isinstance(error, BrokenPipeError):
        return 141
    if (problem := write_problem(error)) is None:
        raise error
    print(f"error: cannot write {error.filename or 'standard output'}: {problem}", file=sys.stderr)
    return 2
