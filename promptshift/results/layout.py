"""How the runs of a protocol make tables, as data: every protocol declares its `Layout` where it is registered.

A plan, the table at its end, a report, the published numbers beside them and the record of a run all ask it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from promptshift.discovery import import_modules

ALL = "all"  # as the dataset of published tables: the columns are datasets
# Keys that differ between the seeds and domains of every row.
SEEDS_AND_DOMAINS = ("SEED", "DATASET.SOURCE_DOMAINS", "DATASET.TARGET_DOMAINS", "DATASET.FINGERPRINT", "STAGE")
# Keys of evaluations on the dataset trained on.
EVALUATION = (*SEEDS_AND_DOMAINS, "TEST.SPLIT", "DATALOADER.TRAIN_X.FEATURE_VIEWS")
# Keys of evaluations on another dataset.
TRANSFER = (*EVALUATION, "DATASET")


@dataclasses.dataclass(frozen=True)
class Setting:
    """What a run was asked for, as far as its place in a table depends on it.

    Attributes:
        dataset, classes, shots, split: as in `Record`.
        sources, targets: domains trained on and tested on.
        folder: where the run wrote, None where that is not known yet.
    """

    dataset: str
    sources: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    classes: str = "all"
    shots: int = -1
    split: str = "test"
    folder: Path | None = None


def by_dataset(run: Setting) -> str:
    """The dataset tested on."""
    return run.dataset


def by_source(run: Setting) -> str:
    """The domains trained on."""
    return "+".join(run.sources)


def by_target(run: Setting) -> str:
    """The domains tested on."""
    return "+".join(run.targets)


def by_shots(run: Setting) -> str:
    """The number of training images per class."""
    return str(run.shots)


def by_classes(run: Setting) -> str:
    """The half of the classes tested on: Base or New."""
    return run.classes.capitalize()


def all_datasets(run: Setting) -> str:
    """The same for every run, of tables whose columns are datasets."""
    return ALL


def by_test(run: Setting) -> str:
    """The domains tested on, or the dataset, and the half of the classes."""
    part = "" if run.classes == "all" else f" {run.classes} classes"
    return ("+".join(run.targets) or run.dataset) + part


@dataclasses.dataclass(frozen=True)
class Layout:
    """The tables of one protocol.

    Attributes:
        title: heading of the protocol in a report.
        about: one sentence that says what is trained on and what a column is.
        column: run -> its column.
        columns: the columns in their order, where the protocol has the same in every table.
        domains: whether a column is a domain of the dataset, so that a table has all of them.
        table: run -> name of what the table is about (the dataset trained on or tested on); None where the run belongs
            to no table.
        published: run -> `dataset` of the published tables to compare with.
        average: whether the mean over columns is a column.
        left_out: columns that the average leaves out and that come first: what was trained on.
        derived: name of a further column -> function of the accuracies of each column in turn, one sequence a column.
        over: what a derived number is taken of: "seeds" (of the means over seeds; its spread is that of single seeds)
            or "each" (of every seed; then the mean).
        free: configuration keys that may differ within a row.
        group: word that protocols share which share the runs on what was trained on.
        tables_of: another protocol whose tables these runs fill.
        untrained: column of methods that learn nothing; they lack no run in the others, nor do others in it.
        figure: what a report draws of a table: "columns" (accuracy against the column, a number), "epochs"
            (validation accuracy over epochs) or nothing.
        held_out: column -> how a study of this column alone calls it.
        main_for: what a `main.sh` runs this protocol for: "domains" (datasets of several), "classes" (others) or "".
        recognises: whether a run of another repository, which names no protocol, belongs here; asked in the order of
            the protocols' names.
        rank: place in a report; protocols of the same rank stand in the order of their names.
        note: what a reader of the table at the end of a plan must know.

    Raises:
        ValueError: `over` is something else.
    """

    title: str = "Other runs"
    about: str = "Runs that no protocol asked for."
    column: Callable[[Setting], str] = by_test
    columns: tuple[str, ...] = ()
    domains: bool = False
    table: Callable[[Setting], str | None] = by_dataset
    published: Callable[[Setting], str] = by_dataset
    average: bool = False
    left_out: tuple[str, ...] = ()
    derived: Mapping[str, Callable[..., float]] = dataclasses.field(default_factory=dict)
    over: str = "seeds"
    free: tuple[str, ...] = SEEDS_AND_DOMAINS
    group: str = ""
    tables_of: str = ""
    untrained: str = ""
    figure: str = ""
    held_out: Callable[[str], str] = "{} held out".format
    main_for: str = ""
    recognises: Callable[[Setting], bool] = lambda run: False
    rank: int = 99
    note: str = ""

    def __post_init__(self) -> None:
        if self.over not in ("seeds", "each"):
            raise ValueError(f"over: {self.over!r}, allowed: seeds, each")

    @property
    def has_overview(self) -> bool:
        """Whether several datasets have numbers that can be averaged: every table is about one of them."""
        return self.table is by_dataset and bool(self.columns or self.average)

    def ordered(self, present: Iterable[str], domains: Sequence[str] = ()) -> list[str]:
        """Return the columns of a table in their order.

        Args:
            present: columns that some run fills.
            domains: all domains of the dataset that the table is about.
        """
        present = set(present)
        if self.columns:
            return list(self.columns)
        if self.domains and present <= set(domains):
            return list(domains)
        if all(name.lstrip("-").isdigit() for name in present):
            return sorted(present, key=int)
        return sorted(present, key=lambda name: (name not in self.left_out, name))

    def lacks_nothing(self, column: str, filled: Iterable[str]) -> bool:
        """Whether an empty cell is no missing run: a method fills either the untrained column or the others."""
        return bool(self.untrained) and (column == self.untrained) != (self.untrained in filled)


OTHER = Layout()
_LAYOUTS: dict[str, Layout] = {}


def register_layout(protocol: str, layout: Layout) -> None:
    """Make the layout of a protocol known to everything that shows results."""
    _LAYOUTS[protocol] = layout


def layouts() -> dict[str, Layout]:
    """Return every layout by the name of its protocol, in that order."""
    import_modules("promptshift.protocols")  # the rooms above declare them; importing registers them
    return dict(sorted(_LAYOUTS.items()))


def layout_of(protocol: str) -> Layout:
    """Return the layout of a protocol, `OTHER` for one that declares none."""
    return layouts().get(protocol, OTHER)


def tables_of(protocol: str) -> str:
    """Return the protocol whose tables the runs of a protocol fill, mostly itself."""
    return layout_of(protocol).tables_of or protocol
