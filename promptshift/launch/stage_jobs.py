"""The stages that jobs start from, as jobs: they run side by side and survive a kill like any other."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from yacs.config import CfgNode as CN

from promptshift.launch.jobs import Job


def with_stages(jobs: Sequence[Job], unfinished: bool = False) -> tuple[Job, ...]:
    """Return the jobs, and before the first that needs it a job for every stage that one of them starts from.

    A stage that several jobs need is one job. A run makes a stage by itself where its job found it done but made from
    other data than the run has now.

    Args:
        jobs: the jobs of a plan.
        unfinished: whether to leave out stages that finished jobs alone need.

    Raises:
        UserError: the configuration of a stage is refused.
    """
    places: dict[Path, Job] = {}
    found: list[Job] = []
    for job in jobs:
        if job.trains and not (unfinished and job.record() is not None):
            made = _stages_of(job, places)
            found += [stage for stage in made if stage not in found]
            job = dataclasses.replace(job, after=(*(stage.name for stage in made), *job.after))
        found.append(job)
    return tuple(found)


def _stages_of(job: Job, places: dict[Path, Job]) -> list[Job]:
    """The jobs of the stages that a job starts from, a stage's own before it; `places` has those of other jobs."""
    from promptshift.runs.stage_runs import planned_folder
    from promptshift.runs.stages import walk

    made: dict[str, Job] = {}  # by `--stage` words
    for path, stage, cfg in walk(job.cfg):
        folder = planned_folder(cfg, stage)
        if folder not in places:
            before = tuple(other.name for words, other in made.items() if words.startswith(f"{path}/"))
            places[folder] = _job(job, path, folder, cfg, before, {other.name for other in places.values()})
        made[path] = places[folder]
    return list(made.values())


def _job(needing: Job, path: str, folder: Path, cfg: CN, before: tuple[str, ...], taken: set[str]) -> Job:
    cfg.OUTPUT_DIR = str(folder)
    cfg.freeze()
    domains = "+".join(cfg.DATASET.SOURCE_DOMAINS)
    label, _, short_hash = folder.name.rpartition("-")
    name = f"{cfg.TRAINER.NAME} {cfg.DATASET.NAME} {domains or label} seed {cfg.SEED}"
    name = f"{name} ({short_hash})" if name in taken else name
    return Job(
        name,
        dataclasses.replace(needing.call, output_dir=folder, stage=path),
        (cfg.TRAINER.NAME, name),
        cfg,
        before,
    )
