"""Cross-dataset domain generalization: train on one dataset, test on whole other ones (arXiv 2404.19286, Table 3).

In the paper: trained on the 3 % subset of DomainNet (all six domains, selected by its val split), tested on every
image of PACS, VLCS, OfficeHome and TerraIncognita; the accuracy is over all images of a dataset together.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from dassl.utils.errors import UserError
from promptshift.launch.jobs import Job
from promptshift.protocols.config_files import dataset_file, known_facts
from promptshift.protocols.registry import Plan, register
from promptshift.protocols.request import TAKEN_DOMAINS, Request, refuse_keys
from promptshift.protocols.seed_table import seed_table
from promptshift.protocols.trained import Start
from promptshift.protocols.transfer import evaluation_job
from promptshift.results.layout import TRANSFER, Layout, Setting, all_datasets, by_dataset
from promptshift.results.record import Record, read_result
from promptshift.results.statistics import mean
from promptshift.results.tables import Table

TARGETS = ("pacs", "vlcs", "office_home", "terra_incognita")
MINI_TARGETS = ("mini", "mini2", "mini3")  # of a method trained in the embedded world

_TAKEN = TAKEN_DOMAINS | dict.fromkeys(
    ("DATASET.TEST_ALL", "TEST.SPLIT"), "train.py (here the training job tests on val, the others on all images)"
)


def trained_on(run: Setting) -> str | None:
    """Return the dataset that an evaluation job's weights were trained on; None for the training job itself."""
    if run.split == "val":
        return None
    try:
        return read_result(run.folder.parents[1] / "train" / run.folder.name)["dataset"]
    except UserError:
        return f"unknown training data ({run.folder.parents[1].name})"


LAYOUT = Layout(
    "Cross-dataset domain generalization",
    "Trained on one dataset; a column is the dataset tested on, all of its images together.",
    by_dataset,
    table=trained_on,
    published=all_datasets,
    average=True,
    free=TRANSFER,
    rank=3,
)


@register("cross_dataset", layout=LAYOUT)
def cross_dataset(request: Request) -> Plan:
    """Returns, for each seed, one training job and an evaluation job per target; the table's columns are the targets.

    An evaluation job loads what the training job chose and builds its prompts for the target's class names.

    Raises:
        UserError: the dataset has no domains.
    """
    refuse_keys(request.options, _TAKEN)
    training, evaluations = [], []
    for seed in request.seeds:
        train = _training_job(request, seed)
        training.append(train)
        evaluations += [_evaluation_job(request, dataset_file(name), train) for name in _targets(request)]
    evaluations.sort(key=lambda job: _names(request).index(job.cell[1]))  # columns in the paper's order, seeds within
    return Plan((*training, *evaluations), request.folder, lambda records: _table(request, evaluations, records))


def _targets(request: Request) -> tuple[str, ...]:
    """Returns the configuration names of the datasets to test on: never the one trained on."""
    pool = MINI_TARGETS if request.facts and request.facts.rendered else TARGETS
    return tuple(name for name in pool if known_facts(name).name != request.dataset)


def _names(request: Request) -> list[str]:
    """Returns the own names of the target datasets, the table's columns."""
    return [known_facts(name).name for name in _targets(request)]


def _training_job(request: Request, seed: int) -> Job:
    """Returns the job that trains on all domains; there is nothing to test on yet, so it reports its val split."""
    folder, cell = request.folder / "train" / f"seed{seed}", (request.trainer, "train")
    domains, options = request.domains, ["TEST.SPLIT", "val"]
    return request.job(f"train seed {seed}", folder, cell, seed, options, sources=domains, targets=domains)


def _evaluation_job(request: Request, target: Path, train: Job) -> Job:
    """Returns the job that tests the trained weights on every image of the dataset of a configuration file."""
    folder = request.folder / known_facts(target.stem).name / f"seed{train.seed}"
    return evaluation_job(request, target, folder, train.seed, Start(train, train.output_dir))


def _table(request: Request, jobs: list[Job], records: Mapping[str, Record]) -> Table:
    """Returns the table of pooled accuracies, with the accuracy on each domain of a target in a note."""
    table = seed_table(request, jobs, records)
    notes = [f"Trained on {request.dataset}; a column is the accuracy over all images of a dataset together."]
    for name in _names(request):
        metrics = [records[job.name]["metrics"] for job in jobs if job.cell[1] == name and job.name in records]
        domains = [key for key in metrics[0] if key.startswith("accuracy_")] if metrics else []
        values = ", ".join(f"{key.removeprefix('accuracy_')} {mean([m[key] for m in metrics]):.2f}" for key in domains)
        notes += [f"{name} by domain: {values}."] if values else []
    return dataclasses.replace(table, notes=(*notes, *table.notes))
