"""Every run below some folders as one kind of value, and everything there that cannot be used, with the reason."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable
from pathlib import Path

from yacs.config import CfgNode as CN

from dassl.utils.errors import UserError
from promptshift.launch.jobs import is_locked
from promptshift.paths import load_plugins
from promptshift.protocols.config_files import known_facts
from promptshift.results.collect import Found, collect
from promptshift.results.layout import Setting, layouts, tables_of
from promptshift.results.record import Record
from promptshift.results.upstream_logs import LogRun, read_log_run
from promptshift.runs.config import config_hash
from promptshift.runs.published import method_name
from promptshift.runs.stored_config import read_config


@dataclasses.dataclass(frozen=True)
class Run:
    """One finished run.

    Attributes:
        folder: where it wrote.
        place: the folder as people name it: from the root that was looked at.
        trainer: registered name, followed by the method it builds on (DPC_CoOp) where the configuration is known.
        protocol, dataset, backbone, classes, split, selection: as in `Record`.
        sources, targets: domains trained on and tested on.
        shots, seed: as in `Record`.
        accuracy: percent.
        finished: ISO 8601 time, "" where unknown.
        record: the whole record, None for a run known from its log alone.
        cfg: its configuration, None where there is none to read.
    """

    folder: Path
    place: str
    trainer: str
    protocol: str
    dataset: str
    backbone: str
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    classes: str
    shots: int
    split: str
    selection: str
    seed: int
    accuracy: float
    finished: str = ""
    record: Record | None = None
    cfg: CN | None = dataclasses.field(default=None, compare=False, hash=False)

    @property
    def log_only(self) -> bool:
        """Whether the accuracy is the rounded one of a log."""
        return self.record is None

    @property
    def setting(self) -> Setting:
        """What its place in a table depends on."""
        return Setting(self.dataset, self.sources, self.targets, self.classes, self.shots, self.split, self.folder)


@dataclasses.dataclass(frozen=True)
class Problem:
    """Something in the folders that no table uses as it stands: what kind of thing, where, and why."""

    kind: str
    place: str
    text: str


@dataclasses.dataclass
class Gathered:
    """What was found: usable runs, problems, and the folders looked at."""

    runs: list[Run]
    problems: list[Problem]
    roots: tuple[Path, ...]

    def name_of(self, root: Path) -> str:
        """Return a root's own name, its whole path where another one is called the same."""
        return root.name if [other.name for other in self.roots].count(root.name) == 1 else str(root)

    def place_of(self, folder: Path) -> str:
        """Return a folder's path from the root it was found in, which is named too."""
        root = next(root for root in self.roots if folder.is_relative_to(root))
        return Path(self.name_of(root), folder.relative_to(root)).as_posix()


def gather(roots: Iterable[str | Path]) -> Gathered:
    """Read every run below `roots`; runs of stages (prompt labels) are used by other runs and shown nowhere.

    Raises:
        UserError: a root is not a folder, or there is no run below any of them.
    """
    roots = tuple(dict.fromkeys(Path(root).resolve() for root in roots))
    gathered = Gathered([], [], roots)
    for found in collect(roots):
        _take(found, gathered)
    return gathered


def _take(found: Found, gathered: Gathered) -> None:
    """Add one run folder to the runs or to the problems."""
    folder, place = found.folder, gathered.place_of(found.folder)
    if "/previous-" in place:
        text = "a run of another configuration that was moved aside when this folder was used again"
        gathered.problems.append(Problem("superseded", place, text))
    elif found.record is not None:
        _take_record(found, place, gathered)
    elif is_locked(folder):
        gathered.problems.append(Problem("running", place, "some process is working on it"))
    elif found.kind == "partial" and not (folder / "config.yaml").exists() and (log := read_log_run(folder)):
        gathered.runs.append(_from_log(folder, place, log))
    else:
        gathered.problems.append(Problem(found.kind, place, found.problem.replace(f"{folder}/", "")))


def _take_record(found: Found, place: str, gathered: Gathered) -> None:
    """Add a complete result; one whose configuration file is unusable or another's is named too."""
    record = found.record
    if record["protocol"] == "stage":
        return
    try:
        cfg = read_config(found.folder / "config.yaml")
    except UserError as error:
        cfg = None
        text = str(error).replace(f"{found.folder}/", "")
        gathered.problems.append(Problem("configuration unknown", place, text))
    if cfg is not None and config_hash(cfg) != record["config_hash"]:
        text = (
            "config.yaml has another configuration hash than result.json: one of them, or the way to hash, has "
            "changed since; the numbers are in no table"
        )
        gathered.problems.append(Problem("stale", place, text))
        return
    gathered.runs.append(
        Run(
            found.folder,
            place,
            record["trainer"] if cfg is None else method_name(cfg),
            tables_of(record["protocol"]),
            record["dataset"],
            record["backbone"],
            tuple(record["source_domains"]),
            tuple(record["target_domains"]),
            record["classes"],
            record["shots"],
            record["split"],
            record["selection"],
            record["seed"],
            record["metrics"]["accuracy"],
            record["finished"],
            record,
            cfg,
        )
    )


def _from_log(folder: Path, place: str, log: LogRun) -> Run:
    """Return the run that a log of another repository describes."""
    options, dataset = log.options, _dataset_name(log.options["DATASET.NAME"])
    sources, targets = log.words("DATASET.SOURCE_DOMAINS"), log.words("DATASET.TARGET_DOMAINS")
    classes = options.get("DATASET.SUBSAMPLE_CLASSES", "all")
    shots, split = _integer(options.get("DATASET.NUM_SHOTS", ""), -1), options.get("TEST.SPLIT", "test")
    setting = Setting(dataset, tuple(sources), tuple(targets), classes, shots, split, folder)
    return Run(
        folder,
        place,
        _trainer_name(options.get("TRAINER.NAME", "")),
        next((name for name, layout in layouts().items() if layout.recognises(setting)), ""),
        dataset,
        options.get("MODEL.BACKBONE.NAME", ""),
        setting.sources,
        setting.targets,
        classes,
        shots,
        split,
        options.get("TEST.FINAL_MODEL", "last_step"),
        _integer(options.get("SEED", ""), -1),
        log.accuracy,
    )


def _integer(text: str, otherwise: int) -> int:
    try:
        return int(text)
    except ValueError:
        return otherwise


@functools.cache
def _dataset_name(name: str) -> str:
    """Return the project's name of a dataset (PACS for SPG_PACS), the name itself where it is unknown."""
    load_plugins()
    facts = known_facts(name)
    return facts.name if facts else name


@functools.cache
def _trainer_name(name: str) -> str:
    """Return the project's name of a trainer (SPG for SPG_CGAN), the name itself where it is unknown."""
    load_plugins()
    from dassl.engine import TRAINER_REGISTRY

    try:
        return TRAINER_REGISTRY.get(name).__name__
    except UserError:
        return name
