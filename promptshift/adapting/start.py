"""A trainer that learns nothing itself before the test but starts from what another trainer's run learnt."""

from __future__ import annotations

import time
from pathlib import Path

from yacs.config import CfgNode as CN

from dassl.config.options import text, whole
from dassl.utils.torchtools import BEST
from promptshift.bases.prompt_trainer import PromptTrainer
from promptshift.runs.finished_run import load_weights
from promptshift.runs.stages import trainer_stage, trainer_stage_cfg

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
        folder = self.options.START.RUN or self.start_stage()
        if folder:
            load_weights(self, folder, f"TRAINER.{self.BLOCK}.START.RUN")

    def keep_start(self) -> None:
        """Saves the prompts to start from in the run's own folder, which then is enough to use the run."""
        if not self._start_is_kept:
            self.save_model(self.epoch, self.output_dir, model_name=BEST)
            self._start_is_kept = True

    def start_stage(self) -> Path | None:
        """Trains the run to start from on the source images of this run, unless that has been done -> its folder."""
        stage, data = self.stage_configuration(self.cfg), self.dm.dataset
        return stage and trainer_stage(
            stage, data.train_x + (data.val or []), f"Prompts of {stage.TRAINER.NAME}, to start from"
        )

    @classmethod
    def stage_configuration(cls, cfg: CN) -> CN | None:
        o, trainer = cfg.TRAINER[cls.BLOCK].START, cls.starts_from(cfg).partition("/")[0]
        if o.RUN or not trainer:
            return None
        changes = [*cls.start_changes(cfg), *(["OPTIM.MAX_EPOCH", o.MAX_EPOCH] if o.MAX_EPOCH else [])]
        return trainer_stage_cfg(cfg, trainer, o.CONFIG, changes)

    @classmethod
    def starts_from(cls, cfg: CN) -> str:
        """Trainer whose prompts are adapted, as TRAINER or TRAINER/CONFIGURATION FILE; "" for none."""
        config = cfg.TRAINER[cls.BLOCK].START.CONFIG
        return f"{cls.STARTS_FROM}/{config}" if config and cls.STARTS_FROM else cls.STARTS_FROM

    @classmethod
    def start_changes(cls, cfg: CN) -> list:
        """KEY VALUE pairs that turn this configuration into that of the run that makes the prompts to start from."""
        return []

    def load_model(self, directory: str, epoch: int | None = None) -> None:
        super().load_model(directory, epoch)
        self.loaded_from = Path(directory)
        if directory and Path(directory) != Path(self.output_dir):  # not when the run looks at its own copy again
            self.start_run = Path(directory)
