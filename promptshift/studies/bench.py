"""Running what a study needs: protocols with settings of its own, with everything that has been run already reused."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from dassl.utils.errors import UserError
from promptshift.launch.driver import Driver
from promptshift.launch.jobs import Job
from promptshift.launch.resources import Choice
from promptshift.launch.stage_jobs import with_stages
from promptshift.protocols.registry import get_protocol
from promptshift.protocols.request import Request, resolve, split_words
from promptshift.results.collect import inspect
from promptshift.results.layout import Layout, by_target, register_layout
from promptshift.results.record import Record

PROTOCOL = "ablation"  # recorded in the results of studies; their rows are no rows of the main tables
register_layout(
    PROTOCOL,
    Layout(
        "Runs of studies",
        "Settings that the figures below vary; a column is the domain held out and tested on.",
        by_target,
    ),
)


@dataclasses.dataclass(frozen=True)
class Done:
    """A finished run: its job, its folder and its record."""

    job: Job
    folder: Path
    record: Record

    @property
    def accuracy(self) -> float:
        """Percent."""
        return self.record["metrics"]["accuracy"]


Runs = dict[tuple[str, int], Done]  # by (column, seed)


class Bench:
    """Run the jobs of a study.

    Args:
        words: DATASET [BACKBONE] [KEY VALUE ...], as protocols take them.
        seeds: seeds to run.
        slots: how many jobs run at the same time.
        gpus: devices to use in turn.
        config: name of the trainers' configuration file, "" for the usual one.
        command: program that runs one job; `train.py` when None.
        launch: where jobs run; on this machine, as the arguments above say, when None.
    """

    def __init__(
        self,
        words: Sequence[str],
        seeds: Sequence[int],
        slots: int = 1,
        gpus: Sequence[str] = (),
        config: str = "",
        command: Sequence[str] | None = None,
        launch: Choice | None = None,
    ) -> None:
        self.dataset, self.backbone, self.options = split_words(words)
        self.seeds, self.config = tuple(seeds), config
        self.launch = launch or Choice(slots=slots, gpus=tuple(gpus), command=command)

    def request(self, trainer: str, *options: str, protocol: str = PROTOCOL) -> Request:
        """Return the request of a trainer on the bench's dataset, `options` after the user's own."""
        backbone = [self.backbone] if self.backbone else []
        words = [self.dataset, *backbone, *self.options, *map(str, options)]
        return resolve(protocol, trainer, words, self.seeds, self.config)

    def leave_one_out(self, trainer: str, *options: str) -> Runs:
        """Return the runs of the leave-one-domain-out protocol by (held-out domain, seed), run where missing."""
        return self.run(self._leave_one_out(trainer, *options))

    def one_run(self, trainer: str) -> Runs:
        """Return the run of the last domain held out with the first seed alone, for figures that show a single one."""
        jobs = self._leave_one_out(trainer)
        return self.run([max((job for job in jobs if job.seed == self.seeds[0]), key=lambda job: job.cell[1])])

    def _leave_one_out(self, trainer: str, *options: str) -> list[Job]:
        make_plan, usual = get_protocol("multi_source"), self.request(trainer, *options, protocol="multi_source")
        variant = ",".join(f"{key}={value}" for key, value in _pairs((*self.options, *map(str, options))))
        if not variant:  # what the protocol itself would run
            return list(make_plan(usual).jobs)
        request = self.request(trainer, *options)
        folder = request.saying(request.options[::2]).folder / _safe(variant)  # which names every word by itself
        return [_placed(job, folder, usual.folder) for job in make_plan(request).jobs]

    def of_protocol(self, protocol: str, trainer: str) -> Runs:
        """Return the runs of a protocol by (column of its table, seed), run where missing."""
        return self.run(get_protocol(protocol)(self.request(trainer, protocol=protocol)).jobs)

    def leave_plan(self) -> None:
        """Marks where a study does more than ask for runs; a dry run ends here."""

    def run(self, jobs: Sequence[Job]) -> Runs:
        """Run what is not finished; return every job by (column, seed).

        Raises:
            UserError: a job failed, or another process is running it; the line names it.
        """
        Driver(with_stages(jobs, unfinished=True), self.launch.make()).run()
        done: Runs = {}
        for job in jobs:
            record = job.record()
            if record is None:
                raise UserError(f"{job.name} is not finished ({job.state().value}); see {job.log} and run this again")
            done[job.cell[1], job.seed] = Done(job, job.output_dir, record)
        return done


def _pairs(options: Sequence[str]) -> list[tuple[str, str]]:
    return list(zip(options[::2], options[1::2], strict=True))


def _safe(variant: str) -> str:
    """Return a folder name of KEY=VALUE pairs."""
    return "".join(sign if sign.isalnum() or sign in "=,._-+" else "_" for sign in variant)


def _placed(job: Job, folder: Path, usual: Path) -> Job:
    """Return a job in the protocol's own folder where it has run there, in the study's otherwise."""
    place = Path(*job.output_dir.parts[-2:])  # <domain>/seed<K>
    finished = inspect(usual / place).record
    where = usual / place if finished and finished["config_hash"] == job.config_hash else folder / place
    return job.moved(where)


def place_of(runs: Runs) -> str:
    """Return dataset and backbone of some runs, fit for a file name."""
    record = next(iter(runs.values())).record
    return "-".join((record["dataset"], _safe(record["backbone"].replace("/", ""))))
