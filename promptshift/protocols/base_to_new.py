"""Base-to-new generalization: train on half of the classes, test on that half and on the other (arXiv 2203.05557).

Base are the first ceil(n/2) classes; 16 images of each are trained on. Each half is tested with its own class names
alone. H = 2BN/(B+N), of the means over seeds (arXiv 2203.05557, section 4.1).
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from promptshift.launch.jobs import Job
from promptshift.protocols.registry import Plan, register
from promptshift.protocols.request import Request, refuse_keys
from promptshift.protocols.seed_table import seed_table
from promptshift.protocols.trained import EVALUATION_OPTIONS, in_order, start, trains_itself, with_shots
from promptshift.results.layout import EVALUATION, Layout, by_classes
from promptshift.results.statistics import harmonic_mean

HALVES = {"Base": "base", "New": "new"}  # column -> DATASET.SUBSAMPLE_CLASSES
LAYOUT = Layout(
    "Base to new classes",
    "Trained on the base half of the classes; H is the harmonic mean of the mean accuracies "
    "on the base and on the new half.",
    by_classes,
    columns=("Base", "New"),
    derived={"H": harmonic_mean},
    over="seeds",
    free=(*EVALUATION, "DATASET.SUBSAMPLE_CLASSES"),
    held_out=lambda column: f"{column.lower()} classes",
    main_for="classes",
    recognises=lambda run: run.classes in HALVES.values() or "base2new" in run.folder.parts,
    rank=7,
    note="Base, New: half of the classes each, tested with its own class names. H = 2BN/(B+N) of the means; its "
    "spread is that of H per seed.",
)
_TAKEN = dict.fromkeys(("DATASET.SUBSAMPLE_CLASSES", "TEST.SPLIT"), "train.py (the protocol tests both halves)")


@register("base_to_new", layout=LAYOUT, takes=("also", "weights"))
def base_to_new(request: Request) -> Plan:
    """Returns, for each dataset and seed, the jobs that train on base, test on base and test on new.

    A trainer that is trained tests base at the end of its training; the others evaluate both halves.

    Raises:
        UserError: a dataset has domains or nothing to train on.
    """
    refuse_keys(request.options, _TAKEN)
    first, *others = [with_shots(part) for part in request.datasets]
    request = dataclasses.replace(first, also=tuple(others))
    jobs = in_order([job for part in request.datasets for seed in part.seeds for job in _jobs(part, seed)])
    names = "all" if len(others) > 2 else "+".join(part.dataset_file.stem for part in request.datasets)
    folder = (
        request.root
        / "base2new"
        / "tables"
        / names
        / request.method
        / request.stem("DATASET.NUM_SHOTS", request.method_key)
    )
    return Plan(jobs, folder, lambda records: seed_table(request, jobs, records))


def folder_of(request: Request, kind: str, seed: int) -> Path:
    """Returns upstream's folder of a run; `kind` is train_base, test_base or test_new."""
    place = request.root / "base2new" / kind / request.dataset_file.stem / f"shots_{request.cfg.DATASET.NUM_SHOTS}"
    return place / request.method / request.stem("DATASET.NUM_SHOTS", request.method_key) / f"seed{seed}"


def _jobs(request: Request, seed: int) -> list[Job]:
    """Returns the jobs of one dataset and seed."""

    def train(trained: Request) -> Job:
        own = trained.trainer == request.trainer
        name = f"{request.dataset} {'base' if own else trained.trainer} seed {seed}"
        cell = (request.dataset, "Base" if own else trained.trainer)
        return trained.job(
            name, folder_of(trained, "train_base", seed), cell, seed, options=["DATASET.SUBSAMPLE_CLASSES", "base"]
        )

    begin = start(request, seed, train)
    columns = ("New",) if trains_itself(request) else ("Base", "New")
    tests = [
        request.job(
            f"{request.dataset} {half} seed {seed}",
            folder_of(request, f"test_{half}", seed),
            (request.dataset, column),
            seed,
            ["DATASET.SUBSAMPLE_CLASSES", half, *EVALUATION_OPTIONS],
            always=bool(request.weights),
            **begin.evaluation,
        )
        for column, half in HALVES.items()
        if column in columns
    ]
    return [begin.job, *tests] if begin.job else tests
