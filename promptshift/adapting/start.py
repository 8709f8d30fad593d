"""A trainer that learns nothing itself before the test but starts from what another trainer's run learnt."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path

from yacs.config import CfgNode as CN

from dassl.config.options import text, whole
from dassl.utils.torchtools import BEST
from promptshift.bases.prompt_trainer import PromptTrainer
from promptshift.runs.stage_runs import load_stage
from promptshift.runs.stages import Stage

# the run to start from
START_DEFAULTS = dict(
    START=dict(
        RUN=text("", about="folder of the run whose prompts are adapted; '': a stage"),
        CONFIG=text("", about="the stage's YAML; '': the dataset's, mini or default"),
        MAX_EPOCH=whole(0, least=0, about="the stage's epochs; 0: those of its YAML"),
    )
)


class StartsFromRun(PromptTrainer):
    """Starts from the prompts of a run of STARTS_FROM: START.RUN, `--model-dir`, or a stage that is trained and kept.

    A subclass has START_DEFAULTS among its DEFAULTS, registers modules that such a run's checkpoints load into, and
    may implement start_changes(cfg) -> KEY VALUE pairs.

    Attributes:
        start_run: folder of the run that the prompts are from, None without one.
        loaded_from: folder that was loaded last, the run's own included.
    """

    LEARNS = False  # protocols train what its one stage names, and evaluate from there
    STARTS_FROM = ""  # registered trainer; "" for none
    start_run: Path | None = None
    loaded_from: Path | None = None
    _start_is_kept = False

    def train(self) -> None:
        """Takes the prompts to start from and tests; there is no training."""
        self.load_start()
        self.time_start = time.time()
        self.keep_start()
        self.after_train()

    def load_start(self) -> None:
        """Loads the prompts of START.RUN, or of a stage of the trainer that this one starts from."""
        for stage in self.stages(self.cfg):
            load_stage(self, self.cfg, stage, self.dm.dataset)

    def keep_start(self) -> None:
        """Saves the prompts to start from in the run's own folder, which then is enough to use the run."""
        if not self._start_is_kept:
            self.save_model(self.epoch, self.output_dir, model_name=BEST)
            self._start_is_kept = True

    @classmethod
    def stages(cls, cfg: CN) -> Sequence[Stage]:
        """The run of `starts_from(cfg)` whose prompts are adapted."""
        o, trainer = cfg.TRAINER[cls.BLOCK].START, cls.starts_from(cfg)
        if not trainer:
            return ()
        changes = [*cls.start_changes(cfg), *(["OPTIM.MAX_EPOCH", o.MAX_EPOCH] if o.MAX_EPOCH else [])]
        start = Stage("start", trainer, f"Prompts of {trainer}, to start from", config=o.CONFIG, changes=changes)
        return (dataclasses.replace(start, run=o.RUN, key=f"TRAINER.{cls.BLOCK}.START.RUN"),)

    @classmethod
    def starts_from(cls, cfg: CN) -> str:
        """Registered trainer whose prompts are adapted; "" for none."""
        return cls.STARTS_FROM

    @classmethod
    def start_changes(cls, cfg: CN) -> list:
        """KEY VALUE pairs that turn this configuration into that of the run that makes the prompts to start from."""
        return []

    def load_model(self, directory: str, epoch: int | None = None) -> None:
        super().load_model(directory, epoch)
        self.loaded_from = Path(directory)
        if directory and Path(directory) != Path(self.output_dir):  # not when the run looks at its own copy again
            self.start_run = Path(directory)
