"""What the protocols share that train on one dataset and test on others."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from promptshift.launch.jobs import Job
from promptshift.protocols.config_files import dataset_file, known_facts
from promptshift.protocols.few_shot import stem_of
from promptshift.protocols.registry import Plan
from promptshift.protocols.request import Request
from promptshift.protocols.seed_table import seed_table
from promptshift.protocols.trained import (
    EVALUATION_OPTIONS,
    Start,
    in_order,
    start,
    training_request,
    trains_itself,
    with_shots,
)
from promptshift.results.layout import TRANSFER, Layout, all_datasets, by_dataset
from promptshift.results.record import Record
from promptshift.results.tables import Table

# What the protocols that share this file have in common: a table has the methods trained on any of `left_out`.
LAYOUT = Layout(
    column=by_dataset,
    table=all_datasets,
    published=all_datasets,
    average=True,
    left_out=("ImageNet", "MiniB2N"),
    free=TRANSFER,
    group="transfer",
)


def plan_transfer(request: Request, targets: Sequence[str], mini_targets: Sequence[str]) -> Plan:
    """Returns, for each seed, one training job on 16 shots of all classes and an evaluation job per target.

    The training job tests its own dataset, the table's first column, which the average leaves out. It depends on the
    source alone, so protocols with other targets find it done.

    Args:
        request: what is to run; its targets stand in for the protocol's where there are some.
        targets: configuration names of the datasets to test on.
        mini_targets: the same for a source of the embedded world.

    Raises:
        UserError: the source has domains or nothing to train on.
    """
    request = with_shots(request)
    names = request.targets or (mini_targets if request.facts and request.facts.rendered else targets)
    files = [dataset_file(name) for name in names]
    jobs = in_order([job for seed in request.seeds for job in _jobs(request, files, seed)])
    columns = list(dict.fromkeys([request.dataset, *map(name_of, files)]))
    shown = sorted((job for job in jobs if job.cell[1] in columns), key=lambda job: columns.index(job.cell[1]))
    folder = request.root / "tables" / request.protocol / request.dataset_file.stem / request.method / stem_of(request)
    return Plan(jobs, folder, lambda records: _table(request, shown, records))


def name_of(path: Path) -> str:
    """Returns the own name of the dataset of a configuration file."""
    facts = known_facts(path.stem)
    return facts.name if facts else path.stem


def tests_source(request: Request, files: Sequence[Path]) -> bool:
    """Returns whether the source is among the targets, so that an evaluation job tests it and not the training job."""
    return request.dataset in map(name_of, files)


def _jobs(request: Request, files: Sequence[Path], seed: int) -> list[Job]:
    """Returns the jobs of one seed."""

    def train(trained: Request) -> Job:
        own = trained.trainer == request.trainer
        name = request.dataset if own else f"{request.dataset} {trained.trainer}"
        name += " train" if own and tests_source(request, files) else ""
        folder = trained.root / trained.dataset_file.stem / trained.method / stem_of(trained) / f"seed{seed}"
        return trained.job(f"{name} seed {seed}", folder, (trained.trainer, name), seed)

    begin = start(request, seed, train)
    own = [] if request.targets or trains_itself(request) else [request.dataset_file]
    place = request.root / "evaluation" / request.method / stem_of(request)
    tests = [
        evaluation_job(request, path, place / path.stem / f"seed{seed}", seed, begin)
        for path in dict.fromkeys([*own, *files])
    ]
    return [begin.job, *tests] if begin.job else tests


def evaluation_job(request: Request, target: Path, folder: Path, seed: int, begin: Start) -> Job:
    """Returns the job that tests weights on the dataset of a configuration file; on every image where it has domains.

    The prompts are built for the target's class names.
    """
    facts = known_facts(target.stem)
    domains = facts.domains if facts else ()
    options = [*EVALUATION_OPTIONS, *(["DATASET.TEST_ALL", "True"] if domains else [])]
    name = name_of(target)
    return dataclasses.replace(request, dataset_file=target).job(
        f"{name} seed {seed}",
        folder,
        (request.trainer, name),
        seed,
        options,
        sources=domains,
        targets=domains,
        always=bool(request.weights),
        **begin.evaluation,
    )


def _table(request: Request, jobs: Sequence[Job], records: Mapping[str, Record]) -> Table:
    table = seed_table(request, jobs, records, left_out=(request.dataset,))
    shots = request.cfg.DATASET.NUM_SHOTS
    trained = request.weights or training_request(request)
    what = f"Trained on {shots} images of each class of {request.dataset}" if trained else "Nothing is trained"
    note = f"{what}; its own column is not part of the average."
    return dataclasses.replace(table, notes=(note, *table.notes))
