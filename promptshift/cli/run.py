"""`promptshift run`: runs a protocol for a trainer on a dataset and prints its table."""

from __future__ import annotations

import argparse
import dataclasses
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from dassl.utils.errors import UserError
from promptshift.cli import launching, upstream
from promptshift.cli.command import Parser, answer, is_dry_run
from promptshift.launch.driver import Driver
from promptshift.launch.jobs import Job, State
from promptshift.launch.preflight import look
from promptshift.launch.resources import Choice
from promptshift.launch.stage_jobs import with_stages
from promptshift.paths import is_installed
from promptshift.protocols.config_files import is_mini_world
from promptshift.protocols.registry import Plan, get_protocol, main_protocol, protocols
from promptshift.protocols.request import Request, resolve
from promptshift.results.collect import inspect

_EPILOG = f"""\
words after the protocol:
  TRAINER DATASET [BACKBONE] [KEY VALUE ...]   an odd number of words after DATASET begins with BACKBONE
  LAUNCH.KEY VALUE asks the launcher for something, e.g. LAUNCH.TIME 600
  DATASET may be several names with commas between them, or "all" (CoOp's eleven), where the protocol is base_to_new
  main: multi_source for a dataset with several domains, base_to_new for others
  coop_main: CoOp's main.sh, the same as --as coop_main CoOp

with --as FORM the words are TRAINER and those of a public script:
{upstream.help_text()}

environment:
  DATA    folder with the datasets (default: data/ of the checkout; of the current folder where there is none)
  OUTPUT  folder to write to (default: output/ of the same)
  SEEDS   seeds, e.g. "1 2 3" (the default)
{launching.HELP.rstrip()}
  CFG     name of the trainer's configuration file
  DRY_RUN 1 for --dry-run

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
        launch = launching.choice(options, command)
        plans = [(_plan(call), call) for call in _calls(options)]
        if options.dry_run:
            show_jobs([job for plan, _ in plans for job in with_stages(plan.jobs)])
            return 0
        if command is None:
            for line in look([job for plan, _ in plans for job in plan.jobs]):
                print(line)
        return next((status for plan, call in plans if (status := _run(plan, call, launch))), 0)

    try:
        return answer(run, sys.argv[1:] if argv is None else argv)
    except KeyboardInterrupt as end:
        print(launching.interrupted(end), file=sys.stderr)
        return 130


def _parse(argv: list[str]) -> argparse.Namespace:
    """Reads the command line and, for what it leaves out, the environment."""
    parser = Parser("promptshift run", description=__doc__, epilog=_EPILOG)
    parser.add_argument("protocol", help=", ".join([*protocols(), "main", "coop_main"]))
    parser.add_argument("words", nargs="*", help="see below")
    parser.add_argument("--as", dest="form", default="", metavar="FORM", help="take the words of a public script")
    parser.add_argument("--seeds", nargs="+", metavar="SEED", default=_seeds_of_environment())
    launching.add_options(parser)
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
    parser.add_argument(
        "--model-dir", default="", metavar="DIR", help="evaluate what the run in DIR learnt, train none"
    )
    parser.add_argument("--train-only", action="store_true", help="leave the evaluation jobs out")
    parser.add_argument("--dry-run", action="store_true", help="show commands and states, run nothing")
    options = parser.parse_intermixed_args(argv)
    options.said, options.place = (), None
    _give_back_words(options)
    options.dry_run = is_dry_run(options)
    return options


def _calls(options: argparse.Namespace) -> list[argparse.Namespace]:
    """Returns what is asked for, one protocol each: several where the words of a form stand for several."""
    calls = [options]
    if options.protocol == "coop_main":
        options.form, options.protocol = "coop_main", "CoOp"
    if options.form:
        asked = upstream.calls(options.form, options.protocol, options.words)
        calls = [_asked(options, call) for call in asked]
    for call in calls:
        seeds = "1 2 3".split() if call.seeds is None else call.seeds
        call.seeds = list(dict.fromkeys(_integer("--seeds (or SEEDS)", seed, least=0) for seed in seeds))
        if not call.seeds:
            raise UserError("SEEDS is empty, allowed: one or more whole numbers, e.g. SEEDS='1 2 3'")
        call.weights = call.weights and os.path.abspath(os.path.expanduser(call.weights))
    return calls


def _asked(options: argparse.Namespace, call: upstream.Call) -> argparse.Namespace:
    """Returns the flags of the command line, changed by what a form asks for."""
    changed = {"protocol": call.protocol, "words": [call.trainer or options.protocol, *call.words]}
    changed |= {"said": call.said, "place": call.place, "seeds": options.seeds or call.seeds}
    if call.preferred and not options.config and not is_mini_world(call.words[0]):
        changed["config"] = call.preferred
    flags = {key: value for key, value in call.flags.items() if key != "gpus" or not options.gpus}
    return argparse.Namespace(**vars(options) | changed | flags)


def _seeds_of_environment() -> list[str] | None:
    """Returns the words of SEEDS, None where it is not set."""
    return os.environ["SEEDS"].split() if "SEEDS" in os.environ else None


def _give_back_words(options: argparse.Namespace) -> None:
    """KEY VALUE words right behind the seeds belong to the words, not to --seeds, which takes all that follow it."""
    if options.seeds is None:
        return
    start = next((i for i, word in enumerate(options.seeds) if upstream.KEY.fullmatch(word)), len(options.seeds))
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
    protocol = options.protocol
    if not options.words:
        raise UserError("command line: TRAINER and DATASET are missing; --help shows the usage")
    trainer, *words = options.words

    folder = os.path.abspath(os.path.expanduser(options.model_dir)) if options.model_dir else ""
    kept = ["TEST.WEIGHTS", folder] if folder else []

    def requested(name: str) -> Request:
        return resolve(
            name,
            trainer,
            [*words, *(["EXTEND_CFG", options.extend_cfg] if options.extend_cfg else []), *kept],
            options.seeds,
            options.config,
            options.default_config,
            tuple(filter(None, options.targets.split(","))),
            options.weights,
        ).saying(options.said)

    if protocol == "main":
        protocol = main_protocol(requested("main"))
    plan = get_protocol(protocol)(requested(protocol))
    plan = plan.loading(Path(folder)) if folder else plan
    plan = plan.moved(options.place) if options.place else plan
    return dataclasses.replace(plan, jobs=tuple(job for job in plan.jobs if job.trains)) if options.train_only else plan


def show_jobs(jobs: Sequence[Job]) -> None:
    """Prints every job's state and command."""
    program = "promptshift train" if is_installed() else "python train.py"
    for job in jobs:
        print(f"# {job.name}: {_state(job)}")
        print(f"{program} {shlex.join(job.argv)}")


def _state(job: Job) -> str:
    """Returns a job's state in words; what somebody else left in its folder is no failure of this job."""
    state = job.state()
    if state is State.FAILED and inspect(job.output_dir).record is not None:
        return f"{State.NOT_STARTED.value} (its folder holds a finished run of another configuration)"
    if state is State.FAILED and not job.log.exists() and not (job.output_dir / "config.yaml").exists():
        return f"{State.NOT_STARTED.value} (its folder holds a run of another repository)"
    return state.value


def _run(plan: Plan, options: argparse.Namespace, launch: Choice) -> int:
    """Runs the plan, prints its table and writes it beside the results."""
    jobs = with_stages(plan.jobs, unfinished=True)
    if launch.name == "local" and options.gpus:  # a public script may name one
        launch = dataclasses.replace(launch, gpus=options.gpus)
    failed = Driver(jobs, launch.make()).run()
    if options.train_only:
        return _report(failed, jobs)
    records = {job.name: record for job in plan.jobs if (record := job.record()) is not None}
    table = plan.table(records)
    print(f"\n{table.markdown()}")
    paths = table.write(plan.folder)
    print(f"table: {paths[0]} (also .csv and .tex)")
    return _report(failed, jobs)


def _report(failed: Sequence[Job], jobs: Sequence[Job]) -> int:
    """Says how many jobs failed; returns the exit status."""
    if failed:
        print(f"error: {len(failed)} of {len(jobs)} jobs failed, see their lines above", file=sys.stderr)
    return 1 if failed else 0
