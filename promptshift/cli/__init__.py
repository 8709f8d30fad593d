"""The command `promptshift`; a command is the module of its name, imported when it is asked for.

    run         a protocol for a trainer on a dataset, ending in its table
    train       one run, with the flags of CoOp's train.py
    status      which runs are done, running, waiting, failed or stale
    predict     class probabilities of images from a finished run
    data        which datasets there are, whether one is complete, and getting one
    prototypes  what PromptAlign and PromptSync compare test images with
    study       a figure, an ablation or a check of the papers
    report      all finished runs on one page
    list        trainers, datasets, configurations, protocols and papers by name

`promptshift COMMAND --help` shows what a command takes.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from promptshift.cli.command import answer
from promptshift.discovery import look_up

COMMANDS = {
    name: f"{__name__}.{name}"
    for name in ("run", "train", "status", "predict", "data", "prototypes", "study", "report", "list")
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the first word names; return its exit status, 2 when there is no such command."""
    return answer(_main, sys.argv[1:] if argv is None else argv)


def _main(words: Sequence[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(__doc__)
        return 0
    return importlib.import_module(look_up("command", words[0], COMMANDS)).main(words[1:])
