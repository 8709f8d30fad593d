"""How the runs of a protocol make tables: what shares a table, what is a column, what may differ within a row."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from promptshift.protocols.request import known_facts
from promptshift.report.runs import Run
from promptshift.results.collect import inspect
from promptshift.runs.stored_config import prefixes
from promptshift.studies.bench import PROTOCOL as STUDIES

# Keys that differ between the seeds and domains of every row.
_SEEDS_AND_DOMAINS = ("SEED", "DATASET.SOURCE_DOMAINS", "DATASET.TARGET_DOMAINS", "DATASET.FINGERPRINT", "STAGE")
# Keys of an evaluation job, whose dataset is not the one trained on.
_EVALUATION = (*_SEEDS_AND_DOMAINS, "DATASET", "TEST.SPLIT", "DATALOADER.TRAIN_X.FEATURE_VIEWS")
SOURCES = ("ImageNet", "MiniB2N")  # what `xd` and `imagenet_variants` train on; they share these runs
TRANSFER = ("xd", "imagenet_variants")


@dataclasses.dataclass(frozen=True)
class Layout:
    """The tables of one protocol.

    Attributes:
        title: of the section.
        about: one sentence that says what is trained on and what a column is.
        table: run -> name of what is trained on (or tested on), which with the backbone names the table; None where
            the run belongs to no table.
        column: run -> its column.
        paper_dataset: run -> `dataset` of the published tables to compare with.
        free: keys that may differ within a row.
        average: whether the mean over columns is a column.
        left_out: columns that the average leaves out: what was trained on.
    """

    title: str
    about: str
    table: Callable[[Run], str | None]
    column: Callable[[Run], str]
    paper_dataset: Callable[[Run], str] = lambda run: run.dataset
    free: tuple[str, ...] = _SEEDS_AND_DOMAINS
    average: bool = True
    left_out: tuple[str, ...] = ()

    def is_free(self, key: str) -> bool:
        """Return whether a configuration key may differ within a row."""
        return prefixes(self.free)(key)


def _trained_on(run: Run) -> str | None:
    """Return the dataset that an evaluation job's weights were trained on; None for the training job itself."""
    if run.split == "val":
        return None
    training = inspect(run.folder.parents[1] / "train" / run.folder.name).record
    return training["dataset"] if training else f"unknown training data ({run.folder.parents[1].name})"


def _other_column(run: Run) -> str:
    """Return what a run outside the known protocols was tested on."""
    part = "" if run.classes == "all" else f" {run.classes} classes"
    return ("+".join(run.targets) or run.dataset) + part


_OTHER = Layout("Other runs", "Runs that no protocol asked for.", lambda run: run.dataset, _other_column, average=False)
_STUDIES = Layout(
    "Runs of studies",
    "Settings that the figures below vary; a column is the domain held out and tested on.",
    lambda run: run.dataset,
    lambda run: "+".join(run.targets),
    average=False,
)
LAYOUTS = {
    "multi_source": Layout(
        "Leave one domain out",
        "Trained on all domains but one; a column is the domain held out and tested on.",
        lambda run: run.dataset,
        lambda run: "+".join(run.targets),
    ),
    "single_source": Layout(
        "Single source",
        "Trained on one domain, the column; tested on all images of the others together.",
        lambda run: run.dataset,
        lambda run: "+".join(run.sources),
    ),
    "cross_dataset": Layout(
        "Cross-dataset domain generalization",
        "Trained on one dataset; a column is the dataset tested on, all of its images together.",
        _trained_on,
        lambda run: run.dataset,
        lambda run: "all",
        _EVALUATION,
    ),
    "xd": Layout(
        "Cross-dataset transfer",
        "Trained on one dataset with few images per class; a column is the dataset tested on.",
        lambda run: "all",
        lambda run: run.dataset,
        lambda run: "all",
        _EVALUATION,
        left_out=SOURCES,
    ),
    "imagenet_variants": Layout(
        "Variants of the training set",
        "Trained on one dataset with few images per class; a column is the variant tested on.",
        lambda run: "all",
        lambda run: run.dataset,
        lambda run: "all",
        _EVALUATION,
        left_out=SOURCES,
    ),
    "few_shot": Layout(
        "Few-shot classification",
        "A column is the number of training images per class.",
        lambda run: run.dataset,
        lambda run: str(run.shots),
        free=(*_SEEDS_AND_DOMAINS, "DATASET.NUM_SHOTS"),
        average=False,
    ),
    "base_to_new": Layout(
        "Base to new classes",
        "Trained on the base half of the classes; H is the harmonic mean of the mean accuracies "
        "on the base and on the new half.",
        lambda run: run.dataset,
        lambda run: run.classes.capitalize(),
        free=(*_SEEDS_AND_DOMAINS, "DATASET.SUBSAMPLE_CLASSES", "TEST.SPLIT", "DATALOADER.TRAIN_X.FEATURE_VIEWS"),
        average=False,
    ),
}


def runs_of(protocol: str, runs: Sequence[Run]) -> list[Run]:
    """Return the runs of a protocol's tables; `TRANSFER` protocols share the runs on what was trained on."""
    own = [run for run in runs if run.protocol == protocol]
    if protocol not in TRANSFER:
        return own
    trainers, folders = {run.trainer for run in own}, {run.folder for run in own}
    return own + [
        run
        for run in runs
        if run.protocol in TRANSFER and run.dataset in SOURCES and run.trainer in trainers and run.folder not in folders
    ]


def layout_of(protocol: str) -> Layout:
    """Return the layout of a protocol, that of "other runs" for protocols without one."""
    return _STUDIES if protocol == STUDIES else LAYOUTS.get(protocol, _OTHER)


def ordered_columns(protocol: str, dataset: str, present: Iterable[str]) -> list[str]:
    """Return the columns of a table: every domain of the dataset where they are domains, else those present."""
    present = set(present)
    if protocol in ("multi_source", "single_source"):
        known = _domains(dataset)
        if present <= set(known):
            return list(known)
    if protocol == "base_to_new":
        return ["Base", "New"]
    if all(name.lstrip("-").isdigit() for name in present):
        return sorted(present, key=int)
    return sorted(present, key=lambda name: (name not in SOURCES, name))


def _domains(dataset: str) -> tuple[str, ...]:
    facts = known_facts(dataset)
    return tuple(facts.domains) if facts else ()


def run_links(run: Run) -> list[tuple[str, Path]]:
    """Return (what, file) of a run's files that exist: configuration, log, result."""
    names = (("configuration", "config.yaml"), ("log", "log.txt"), ("result", "result.json"))
    return [(what, run.folder / name) for what, name in names if (run.folder / name).is_file()]
