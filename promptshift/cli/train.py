"""`promptshift train`: one run, with the flags of CoOp's train.py."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from promptshift.runs.run import main as run


def main(argv: Sequence[str] | None = None) -> int:
    """Train and test one configuration: 0 when done, 2 after bad input (one line on stderr)."""
    return run(list(sys.argv[1:] if argv is None else argv))
