"""`promptshift run`: runs a protocol for a trainer on a dataset and prints its table."""

from __future__ import annotations

import argparse
import dataclasses
import os
import re
import shlex
import sys
from collections.abc import Sequence

from dassl.utils.errors import UserError
from promptshift.cli.command import Parser, answer
from promptshift.launch.jobs import Job
from promptshift.launch.local import Runner
from promptshift.protocols.few_shot import from_coop_call, is_coop_call
from promptshift.protocols.registry import Plan, get_protocol, protocols
from promptshift.protocols.request import Request, resolve

_KEY = re.compile(r"[A-Z][A-Z0-9_]*(\.[A-Za-z0-9_]+)*")  # of the configuration
_EPILOG = """\
words after the protocol:
  TRAINER DATASET [BACKBONE] [KEY VALUE ...]   an odd number of words after DATASET begins with BACKBONE
  DATASET may be several names with commas between them, or "all" (CoOp's eleven), where the protocol is base_to_new
  main: multi_source for a dataset with several domains, base_to_new for others
  coop_main: the arguments of CoOp's main.sh (DATASET CFG CTP NCTX SHOTS CSC) run few_shot with CoOp;
  any other words run main with CoOp (DATASET [BACKBONE] [KEY VALUE ...])

environment:
  DATA    folder with the datasets (default: data/ of the checkout)
  OUTPUT  folder to write to (default: output/ of the checkout)
  SEEDS   seeds, e.g. "1 2 3" (the default)
  GPUS    devices to use in turn, e.g. "0 1"
  JOBS    how many jobs run at the same time (default: one per device in GPUS, otherwise 1)
  CFG     name of the trainer's configuration file

Finished jobs are skipped and unfinished ones resumed: run the same command again to go on.
"""


def main(argv: Sequence[str] | None = None, command: Sequence[str] | None = None) -> int:
    """Runs one protocol.

    Args:
        argv: command line without the program's name; `sys.argv[1:]` when None.
        command: program that runs one job; `train.py` when None.

    Returns:
        0 when every job is finished or runs elsewhere, 1 when one failed, 2 after a wrong request (one
        line on stderr), 130 after an interrupt.
    """

    def run(words: Sequence[str]) -> int:
        options = _parse(list(words))
        plan = _plan(options)
        return _show(plan) if options.dry_run else _run(plan, options, command)

    try:
        return answer(run, sys.argv[1:] if argv is None else argv)
    except KeyboardInterrupt:
        print("interrupted: all jobs were ended; run the same command again to go on", file=sys.stderr)
        return 130


def _parse(argv: list[str]) -> argparse.Namespace:
    """Reads the command line and, for what it leaves out, the environment."""
    parser = Parser("promptshift run", description=__doc__, epilog=_EPILOG)
    parser.add_argument("protocol", help=", ".join([*protocols(), "main", "coop_main"]))
    parser.add_argument("words", nargs="*", help="see below")
    parser.add_argument("--seeds", nargs="+", metavar="SEED", default=os.environ.get("SEEDS", "1 2 3").split())
    parser.add_argument("--jobs", default=os.environ.get("JOBS", ""), help="how many run at the same time")
    parser.add_argument("--config", default=os.environ.get("CFG", ""), help="configuration file's name")
    parser.add_argument(
        "--default-config",
        default="default",
        metavar="NAME",
        help="configuration file of datasets without one of their own",
    )
    parser.add_argument("--extend-cfg", default="", metavar="FILE", help="sets EXTEND_CFG, as train.py's flag does")
    parser.add_argument("--targets", default="", metavar="A,B", help="xd, imagenet_variants: datasets to test on")
    parser.add_argument("--weights", default="", metavar="DIR", help="evaluate the weights in DIR/seed<K>, train none")
    parser.add_argument("--train-only", action="store_true", help="leave the evaluation jobs out")
    parser.add_argument("--dry-run", action="store_true", help="show commands and states, run nothing")
    options = parser.parse_intermixed_args(argv)
    _give_back_words(options)
    options.gpus = os.environ.get("GPUS", "").split()
    options.seeds = list(dict.fromkeys(_integer("--seeds (or SEEDS)", seed, least=0) for seed in options.seeds))
    if not options.seeds:
        raise UserError("SEEDS is empty, allowed: one or more whole numbers, e.g. SEEDS='1 2 3'")
    options.jobs = _integer("--jobs (or JOBS)", options.jobs or str(len(options.gpus) or 1), least=1)
    return options


def _give_back_words(options: argparse.Namespace) -> None:
    """KEY VALUE words right behind the seeds belong to the words, not to --seeds, which takes all that follow it."""
    start = next((i for i, word in enumerate(options.seeds) if _KEY.fullmatch(word)), len(options.seeds))
    options.words, options.seeds = [*options.words, *options.seeds[start:]], options.seeds[:start]


def _integer(name: str, word: str, least: int) -> int:
    """Returns `word` as an integer of at least `least`."""
    try:
        number = int(word)
    except ValueError:
        number = least - 1
    if number < least:
        raise UserError(f"{name}: {word!r}, allowed: whole numbers of at least {least}")
    return number


def _plan(options: argparse.Namespace) -> Plan:
    """Turns the words of the command line into a plan."""
    protocol, words, config = options.protocol, options.words, options.config
    if protocol == "coop_main":
        protocol, trainer = "main", "CoOp"
        if is_coop_call(words):
            protocol = "few_shot"
            config, words = from_coop_call(words)
    elif words:
        trainer, *words = words
    else:
        raise UserError("command line: TRAINER and DATASET are missing; --help shows the usage")

    def requested(name: str) -> Request:
        return resolve(
            name,
            trainer,
            [*words, *(["EXTEND_CFG", options.extend_cfg] if options.extend_cfg else [])],
            options.seeds,
            config,
            options.default_config,
            tuple(filter(None, options.targets.split(","))),
            options.weights,
        )

    if protocol == "main":
        protocol = main_protocol(requested("base_to_new"))
    plan = get_protocol(protocol)(requested(protocol))
    return dataclasses.replace(plan, jobs=tuple(job for job in plan.jobs if job.trains)) if options.train_only else plan


def main_protocol(request: Request) -> str:
    """Returns the protocol that a `main.sh` runs: leave one domain out where there are several domains."""
    return "multi_source" if request.facts and len(request.facts.domains) > 1 else "base_to_new"


def _show(plan: Plan) -> int:
    """Prints every job's state and command."""
    for job in plan.jobs:
        print(f"# {job.name}: {job.state().value}")
        print(f"python train.py {shlex.join(job.argv)}")
    return 0


def _run(plan: Plan, options: argparse.Namespace, command: Sequence[str] | None) -> int:
    """Runs the plan, prints its table and writes it beside the results."""
    failed = Runner(plan.jobs, options.jobs, options.gpus, command).run()
    if options.train_only:
        return _report(failed, plan)
    records = {job.name: record for job in plan.jobs if (record := job.record()) is not None}
    table = plan.table(records)
    print(f"\n{table.markdown()}")
    paths = table.write(plan.folder)
    print(f"table: {paths[0]} (also .csv and .tex)")
    return _report(failed, plan)


def _report(failed: Sequence[Job], plan: Plan) -> int:
    """Says how many jobs failed; returns the exit status."""
    if failed:
        print(f"error: {len(failed)} of {len(plan.jobs)} jobs failed, see their lines above", file=sys.stderr)
    return 1 if failed else 0
