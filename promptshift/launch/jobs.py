"""One training run: its command line, its folder and the state of that folder."""

from __future__ import annotations

import dataclasses
import enum
import functools
from collections.abc import Mapping
from pathlib import Path

from yacs.config import CfgNode

from promptshift.launch.locks import LOCK_NAME, STAGE_LOCK_NAME, Locked, is_locked, lock
from promptshift.results.collect import Found, inspect
from promptshift.results.record import Record

__all__ = ["LOG_NAME", "Call", "Job", "Locked", "State", "is_locked", "last_start", "lock"]

LOG_NAME = "job.log"  # what the run printed; not log.txt, which belongs to the run itself
STARTED = "==== started "  # begins the line in front of what each start of a run printed


class State(enum.Enum):
    """State of a job, read from its folder alone."""

    NOT_STARTED = "not started"
    RUNNING = "running"
    FAILED = "failed"
    STALE = "stale"
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
        stage: which stage of the run is made and nothing else (`promptshift.runs.stages`); "" for the run itself.
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
    stage: str = ""
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
        words += ["--stage", self.stage] if self.stage else []
        words += ["--output-dir", self.output_dir] if self.output_dir else []
        return (*map(str, words), *self.options)


@dataclasses.dataclass(frozen=True)
class Job:
    """One run of `train.py`; of a stage, `call` is that of a run which needs it, in the stage's own folder.

    Attributes:
        name: unique within a plan and short enough for a progress line, e.g. "sketch seed 1".
        call: what `train.py` is called with.
        cell: (row, column) of the protocol's table that the result belongs to.
        cfg: the frozen configuration that `call` stands for; of a stage its own, without the data that it is made from.
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
    def lock_name(self) -> str:
        """File in the folder whose lock the job's process holds from its start to its end."""
        return STAGE_LOCK_NAME if self.call.stage else LOCK_NAME

    @property
    def trains(self) -> bool:
        """Whether the job makes weights; the others evaluate."""
        return not self.call.eval_only

    @property
    def log(self) -> Path:
        """File with everything the run printed."""
        return self.output_dir / LOG_NAME

    def moved(self, folder: Path, others: Mapping[Path, Path] | None = None) -> Job:
        """Return the same job in another folder; `others` says where the jobs that it reads have gone."""
        cfg = self.cfg.clone()
        cfg.defrost()
        cfg.OUTPUT_DIR = str(folder)
        cfg.freeze()
        model_dir = (others or {}).get(self.call.model_dir, self.call.model_dir)
        call = dataclasses.replace(self.call, output_dir=folder, model_dir=model_dir)
        return dataclasses.replace(self, call=call, cfg=cfg)

    def loading(self, folder: Path) -> Job:
        """Return the same evaluation of the weights in another folder, which waits for nothing."""
        call = dataclasses.replace(self.call, model_dir=folder)
        return dataclasses.replace(self, call=call, after=(), always=True)

    def found(self) -> Found:
        """Returns what the folder holds, a result of other data than the job would read being stale."""
        return inspect(self.output_dir, self.cfg.get("DATASET", {}).get("ROOT", ""))

    def record(self) -> Record | None:
        """Returns the complete record of this very configuration, None when the folder has none."""
        return self._own(self.found())

    def _own(self, found: Found) -> Record | None:
        """The record of what was found, where it is one of this very configuration."""
        record = found.record
        return record if record is not None and record["config_hash"] == self._hash_of_a_result() else None

    def _hash_of_a_result(self) -> str:
        """What the record of the job's folder must say: of a stage, made from the data that are named there."""
        from promptshift.runs.config import config_hash
        from promptshift.runs.stage_runs import as_in

        return config_hash(as_in(self.output_dir, self.cfg)) if self.call.stage else self.config_hash

    def state(self) -> State:
        """Returns what the folder says about the job."""
        if is_locked(self.output_dir) or is_locked(self.output_dir, self.lock_name):
            return State.RUNNING
        found = self.found()
        if self._own(found) is not None:
            return State.DONE
        if found.kind == "stale":
            return State.STALE
        started = self.log.exists() or found.kind != "missing"
        return State.FAILED if started else State.NOT_STARTED


def last_start(log: str) -> str:
    """Returns what the last start of a run printed: the part of its job.log behind the line that begins it."""
    _, found, text = f"\n{log}".rpartition(f"\n{STARTED}")
    return text.partition("\n")[2] if found else log
