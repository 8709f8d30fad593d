"""The options of commands that run jobs: how many at a time, and where."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from dassl.utils.errors import UserError
from promptshift.launch.resources import LAUNCHERS, Choice, resources, split_launch_words

HELP = """\
  JOBS    how many jobs run at the same time (default: one per device in GPUS, otherwise 1)
  GPUS    devices to use in turn, e.g. "0 1"
  LAUNCHER        local (the default), slurm or ray: where jobs run (docs/clusters.md)
  LAUNCH_CONFIG   YAML file with what the launcher asks for, over configs/launch/<launcher>.yaml
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add --jobs, --launcher and --launch-config; the environment says what they leave out, and `gpus`."""
    parser.set_defaults(gpus=os.environ.get("GPUS", "").split())
    parser.add_argument("--jobs", default=os.environ.get("JOBS", ""), help="how many run at the same time")
    parser.add_argument("--launcher", default=os.environ.get("LAUNCHER", ""), help=f"one of {', '.join(LAUNCHERS)}")
    parser.add_argument(
        "--launch-config",
        default=os.environ.get("LAUNCH_CONFIG", ""),
        metavar="FILE",
        help="what the launcher asks for; each of its keys also as LAUNCH.KEY VALUE",
    )


def choice(options: argparse.Namespace, command: Sequence[str] | None = None) -> Choice:
    """Return the launcher that a command line asks for; LAUNCH.KEY VALUE pairs are taken out of `options.words`.

    Raises:
        UserError: an unknown launcher, key or value, or a number of jobs that is none.
    """
    options.words, words = split_launch_words(options.words)
    name = options.launcher or "local"
    asked = resources(name, options.launch_config, words)
    if name != "local":
        return Choice(name, asked, command=command)
    slots = options.jobs or str(len(options.gpus) or 1)
    if not (slots.isdecimal() and slots.isascii() and int(slots) >= 1):
        raise UserError(f"--jobs (or JOBS): {slots!r}, allowed: whole numbers of at least 1")
    return Choice(name, slots=int(slots), gpus=options.gpus, command=command)


def interrupted(end: KeyboardInterrupt) -> str:
    """Return the line that a command ends with after Ctrl-C, SIGTERM or SIGHUP."""
    left = getattr(end, "left", "")
    what = f"the jobs go on in {left}" if left else "all jobs were ended"
    return f"interrupted: {what}; run the same command again to go on"
