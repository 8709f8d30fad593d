"""One training run: its command line, its folder and the state of that folder."""

from __future__ import annotations

import dataclasses
import enum
import functools
from pathlib import Path

from yacs.config import CfgNode

from promptshift.launch.locks import Locked, is_locked, lock
from promptshift.results.collect import inspect
from promptshift.results.record import Record

__all__ = ["LOG_NAME", "Call", "Job", "Locked", "State", "is_locked", "last_start", "lock"]

LOG_NAME = "job.log"  # what the run printed; not log.txt, which belongs to the run itself
STARTED = "==== started "  # begins the line in front of what each start of a run printed


class State(enum.Enum):
    """State of a job, read from its folder alone."""

    NOT_STARTED = "not started"
    RUNNING = "running"
    FAILED = "failed"
    DONE = "done"


@dataclasses.dataclass(frozen=True)
class Call:
    """What `train.py` is called with. KEY VALUE words win over flags, flags over files.

    Attributes:
        root: folder with the datasets.
        trainer: registered name.
        dataset_file, config_file: YAML files of the dataset and of the trainer.
        output_dir: absolute folder that the run writes to, None for what the files say.
        seed: seed of the run, None for one without randomness.
        sources, targets: domains to train on and to test on; empty for what the files say.
        eval_only: whether the run tests weights and trains none.
        model_dir: folder with the weights that it tests, None for none.
        options: KEY VALUE words.
    """

    root: Path
    trainer: str
    dataset_file: Path
    config_file: Path
    output_dir: Path | None = None
    seed: int | None = None
    sources: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    eval_only: bool = False
    model_dir: Path | None = None
    options: tuple[str, ...] = ()

    @property
    def argv(self) -> tuple[str, ...]:
        """The words of the command line."""
        words = ["--root", self.root, "--trainer", self.trainer]
        words += ["--dataset-config-file", self.dataset_file, "--config-file", self.config_file]
        words += ["--seed", self.seed] if self.seed is not None else []
        words += ["--source-domains", *self.sources] if self.sources else []
        words += ["--target-domains", *self.targets] if self.targets else []
        words += ["--eval-only"] if self.eval_only else []
        words += ["--model-dir", self.model_dir] if self.model_dir else []
        words += ["--output-dir", self.output_dir] if self.output_dir else []
        return (*map(str, words), *self.options)


@dataclasses.dataclass(frozen=True)
class Job:
    """One run of `train.py`.

    Attributes:
        name: unique within a plan and short enough for a progress line, e.g. "sketch seed 1".
        call: what `train.py` is called with.
        cell: (row, column) of the protocol's table that the result belongs to.
        cfg: the frozen configuration that `call` stands for.
        after: names of the plan's jobs whose results this one reads; it starts when they are done.
        always: run it even where its folder holds a result: what it reads is not part of its configuration.
    """

    name: str
    call: Call
    cell: tuple[str, str]
    cfg: CfgNode = dataclasses.field(compare=False, repr=False)
    after: tuple[str, ...] = ()
    always: bool = False

    @property
    def argv(self) -> tuple[str, ...]:
        """Arguments of `train.py`."""
        return self.call.argv

    @property
    def output_dir(self) -> Path:
        """Absolute folder that the run writes to."""
        return self.call.output_dir

    @property
    def seed(self) -> int | None:
        """Seed of the run, None for one without randomness."""
        return self.call.seed

    @functools.cached_property
    def config_hash(self) -> str:
        """Hash of the configuration, which the run writes into its record."""
        from promptshift.runs.config import config_hash

        return config_hash(self.cfg)

    @property
    def trains(self) -> bool:
        """Whether the job makes weights; the others evaluate."""
        return not self.call.eval_only

    @property
    def log(self) -> Path:
        """File with everything the run printed."""
        return self.output_dir / LOG_NAME

    def moved(self, folder: Path) -> Job:
        """Return the same job in another folder."""
        cfg = self.cfg.clone()
        cfg.defrost()
        cfg.OUTPUT_DIR = str(folder)
        cfg.freeze()
        return dataclasses.replace(self, call=dataclasses.replace(self.call, output_dir=folder), cfg=cfg)

    def record(self) -> Record | None:
        """Returns the complete record of this very configuration, None when the folder has none."""
        record = inspect(self.output_dir).record
        return record if record is not None and record["config_hash"] == self.config_hash else None

    def state(self) -> State:
        """Returns what the folder says about the job."""
        if is_locked(self.output_dir):
            return State.RUNNING
        if self.record() is not None:
            return State.DONE
        started = self.log.exists() or inspect(self.output_dir).kind != "missing"
        return State.FAILED if started else State.NOT_STARTED


def last_start(log: str) -> str:
    """Returns what the last start of a run printed: the part of its job.log behind the line that begins it."""
    _, found, text = f"\n{log}".rpartition(f"\n{STARTED}")
    return text.partition("\n")[2] if found else log
