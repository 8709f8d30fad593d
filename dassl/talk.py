"""What a run says: `logging` records of INFO and above, shown on standard output as plain lines."""

import contextlib
import io
import logging
import sys
from collections.abc import Iterator

__all__ = ["quiet", "show"]

_shown: list[logging.Logger] = []


class _Standard(logging.Handler):
    """Writes each message to what is standard output at that moment, a copy in a file included."""

    def emit(self, record: logging.LogRecord) -> None:
        sys.stdout.write(f"{self.format(record)}\n")
        sys.stdout.flush()


def show(name: str) -> None:
    """Show what the logger ``name`` and those below it say, from INFO on."""
    logger = logging.getLogger(name)
    if logger not in _shown:
        logger.addHandler(_Standard())
        logger.setLevel(logging.INFO)
        logger.propagate = False  # a handler of the root logger would say it twice
        _shown.append(logger)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep everything said inside, short of warnings, from standard output, and what public trainers print too."""
    levels = [logger.level for logger in _shown]
    for logger in _shown:
        logger.setLevel(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # for files that print, which no level silences
            yield
    finally:
        for logger, level in zip(_shown, levels):
            logger.setLevel(level)
