"""`promptshift study NAME DATASET [BACKBONE] [KEY VALUE ...]`: a figure or check of the papers."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from dassl.utils.errors import UserError
from promptshift.cli import launching
from promptshift.cli.command import Parser, answer, is_dry_run
from promptshift.cli.run import show_jobs
from promptshift.launch.jobs import Job
from promptshift.launch.stage_jobs import with_stages
from promptshift.paths import output_root
from promptshift.studies.bench import Bench, Runs
from promptshift.studies.registry import get_study, studies

_EPILOG = """\
What it needs is run first, as the protocols run it; what has been run is used again. DATASET [BACKBONE] [KEY VALUE ...]
and the environment variables DATA, OUTPUT, SEEDS, GPUS, JOBS, LAUNCHER and CFG mean what they mean for
`promptshift run`; BACKBONE may be any open_clip `model:pretrained` pair, such as
ViT-B-32:laion2b_s34b_b79k. The numbers, the picture and the verdict go to $OUTPUT/figures/, from where
`promptshift report` takes them. --dry-run (or DRY_RUN=1) shows the runs up to the first that the choice of further
ones depends on, and runs nothing.
"""


class _NeedsResults(Exception):
    """A dry run has come to where a study looks at its runs."""


class _NotRun:
    """Stands for a run in a dry run: whatever is asked of it ends the plan."""

    def __getattr__(self, name: str) -> NoReturn:
        raise _NeedsResults


class _DryBench(Bench):
    """Shows the jobs that a study asks for instead of running them."""

    shown = 0  # jobs

    def run(self, jobs: Sequence[Job]) -> Runs:
        shown = with_stages(jobs)
        show_jobs(shown)
        self.shown += len(shown)
        return {(job.cell[1], job.seed): _NotRun() for job in jobs}

    def leave_plan(self) -> NoReturn:
        raise _NeedsResults


def main(argv: Sequence[str] | None = None) -> int:
    """Answers one study: 0 when done, 2 after bad input or a failed run (one line on stderr), 130 after Ctrl-C."""
    try:
        return answer(_main, argv)
    except KeyboardInterrupt as end:
        print(launching.interrupted(end), file=sys.stderr)
        return 130


def _main(argv: Sequence[str] | None) -> int:
    names = "\n".join(f"  {study.name:<20} {study.about}" for study in studies().values())
    parser = Parser("promptshift study", description=__doc__, epilog=f"names:\n{names}\n\n{_EPILOG}")
    parser.add_argument("name", metavar="NAME", help="see below")
    parser.add_argument("words", nargs="*", default=[], metavar="WORD", help="DATASET [BACKBONE] [KEY VALUE ...]")
    parser.add_argument("--seeds", nargs="+", default=os.environ.get("SEEDS", "1 2 3").split(), metavar="SEED")
    launching.add_options(parser)
    parser.add_argument("--config", default=os.environ.get("CFG", ""), help="name of the trainers' configuration file")
    parser.add_argument("--dry-run", action="store_true", help="show what would be run, run nothing")
    options = parser.parse_intermixed_args(sys.argv[1:] if argv is None else list(argv))
    options.dry_run = is_dry_run(options)
    chosen, bench = get_study(options.name), _bench(options)
    if options.dry_run:
        with contextlib.suppress(_NeedsResults):
            chosen.answer(bench)
        if not bench.shown:
            print(f"# {chosen.name} computes what it shows by itself; no run of a protocol comes first")
        return 0
    for outcome in chosen.answer(bench):
        paths = outcome.write(output_root())
        print(
            "\n"
            + "\n\n".join(
                part
                for part in (
                    outcome.title,
                    outcome.table and outcome.table.markdown().rstrip(),
                    outcome.verdict,
                    *outcome.notes,
                )
                if part
            )
        )
        print(f"\nwritten: {', '.join(str(path) for path in paths[:2])}")
    return 0


def _bench(options: argparse.Namespace) -> Bench:
    """Returns the bench that the command line and the environment ask for."""
    launch = launching.choice(options)
    for seed in options.seeds:
        if not seed.isdecimal():
            raise UserError(f"--seeds (or SEEDS): {seed!r}, allowed: whole numbers of at least 0")
    if not options.seeds:
        raise UserError("SEEDS is empty, allowed: one or more whole numbers, e.g. SEEDS='1 2 3'")
    seeds = list(dict.fromkeys(map(int, options.seeds)))
    kind = _DryBench if options.dry_run else Bench
    return kind(options.words, seeds, config=options.config, launch=launch)
