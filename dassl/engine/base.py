"""The part of a trainer that every kind shares: checkpoints, the epoch loop and its hooks."""

import logging
import math
import os
from typing import Any

import torch

from ..utils.errors import UserError
from ..utils.loading import fitting, load_optimizer, load_weights
from ..utils.torchtools import BEST, find_checkpoints, load_checkpoint, save_checkpoint, save_torch
from ..utils.writing import writing
from .models import ModelBook
from .state import LAST, check_rng_state, newest_state, plain_state, rng_state, set_rng_state

log = logging.getLogger(__name__)

__all__ = ["TrainerBase"]


class TrainerBase(ModelBook):
    """Base of all trainers.

    Attributes:
        history: one dict per finished epoch: ``epoch`` (from 1), ``lr``, the averages of what ``forward_backward``
            returned, and ``<split>_accuracy`` for each evaluation made during the epoch.
        best_result: best validation accuracy so far, in percent.
        resumed_from: the files that the run goes on from, "" for a new run.
    """

    def __init__(self) -> None:
        super().__init__()
        self._writer = None
        self._epoch_record: dict[str, Any] | None = None  # the running epoch's entry in history
        self._resumed_rng: dict[str, Any] | None = None
        self.resumed_from = ""
        self._inherited: set[str] = set()  # attributes that every trainer has
        self._built: dict[str, Any] = {}  # plain_state of the others before training
        self.history: list[dict[str, Any]] = []
        self.best_result = float("-inf")

    @property
    def within_epoch(self) -> bool:
        """Whether an epoch is running: what is tested then is a validation, not the run's result."""
        return self._epoch_record is not None

    # Saving and loading

    def extra_state(self) -> dict[str, Any]:
        """What a subclass must keep besides models and optimizers to resume exactly: tensors and plain values."""
        return {}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`extra_state` returned."""

    def _unsaved(self) -> list[str]:
        """Attributes of a trainer without :meth:`extra_state` that training has changed: what a resumed run lacks."""
        if type(self).extra_state is not TrainerBase.extra_state:
            return []
        now = plain_state(self, self._inherited)
        return sorted(name for name in now if name in self._built and now[name] != self._built[name])

    def _trainer_state(self, epoch: int) -> dict[str, Any]:
        scaler = getattr(self, "scaler", None)
        return {
            "epoch": epoch + 1,
            "rng": rng_state(),
            "history": self.history,
            "best_result": float(self.best_result),
            "scaler": None if scaler is None else scaler.state_dict(),
            "extra": self.extra_state(),
            "unsaved": self._unsaved(),
        }

    def _model_state(self, name: str) -> dict[str, Any]:
        optim, sched = self._optims[name], self._scheds[name]
        return {
            "state_dict": self._models[name].state_dict(),
            "optimizer": None if optim is None else optim.state_dict(),
            "scheduler": None if sched is None else sched.state_dict(),
        }

    def save_model(
        self, epoch: int, directory: str, is_best: bool = False, val_result: float | None = None, model_name: str = ""
    ) -> None:
        """Save every model to ``<directory>/<name>/<model_name or model.pth.tar-(epoch + 1)>``."""
        trainer_state = self._trainer_state(epoch)
        for name in self.get_model_names():
            payload = {
                **self._model_state(name),
                "epoch": epoch + 1,
                "val_result": None if val_result is None else float(val_result),
                "trainer_state": trainer_state,
            }
            save_checkpoint(payload, os.path.join(directory, name), is_best=is_best, model_name=model_name)

    def save_last_state(self, directory: str) -> None:
        """Replace ``<directory>/last.pth.tar`` by the state after the current epoch, in one step."""
        models = {name: self._model_state(name) for name in self.get_model_names()}
        state = {"epoch": self.epoch + 1, "models": models, "trainer_state": self._trainer_state(self.epoch)}
        save_torch(state, os.path.join(directory, LAST))

    def resume_model_if_exist(self, directory: str) -> int:
        """Load the newest complete state in ``directory`` and return the number of epochs done (0: none found).

        Raises:
            UserError: unreadable or foreign files, or models at different epochs.
        """
        state = newest_state(directory, self.get_model_names())
        if state is None:
            log.info("No checkpoint found, train from scratch")
            return 0
        log.info(f"Found checkpoint at {directory} (will resume training after epoch {state['epoch']})")
        for name, saved in state["models"].items():
            self._load_model_state(name, saved, state["source"], released=state["trainer_state"] is None)
        if state["trainer_state"] is None:
            log.info("The checkpoint has no state of the random generators: training goes on, but not bit for bit")
        else:
            self._load_trainer_state(state["trainer_state"], state["source"])
        self.resumed_from = state["source"]
        return state["epoch"]

    def fit_released(self, name: str, saved: dict[str, Any]) -> dict[str, Any]:
        """Hook: what upstream's checkpoint of a model holds, as it shall load; its ``state_dict`` has been loaded."""
        return saved

    def _load_model_state(self, name: str, saved: dict[str, Any], source: str, released: bool) -> None:
        load_weights(self._models[name], saved["state_dict"], f"state_dict of model {name!r}", source)
        saved = self.fit_released(name, saved) if released else saved
        optim, sched = self._optims[name], self._scheds[name]
        if optim is not None and saved.get("optimizer") is not None:
            load_optimizer(optim, saved["optimizer"], f"optimizer of model {name!r}", source)
        if sched is not None and saved.get("scheduler") is not None:
            fitting(source, f"scheduler of model {name!r}", sched.load_state_dict, saved["scheduler"])

    def _load_trainer_state(self, state: dict[str, Any], source: str) -> None:
        def take(entry: str, load: Any) -> Any:
            return fitting(source, f"trainer's {entry}", lambda state: load(state[entry]), state)

        self.history = take("history", lambda entries: [dict(entry) for entry in entries])
        self.best_result = take("best_result", _number)
        take("rng", check_rng_state)
        self._resumed_rng = state["rng"]
        if take("scaler", lambda saved: saved) is not None and getattr(self, "scaler", None) is not None:
            take("scaler", self.scaler.load_state_dict)
        take("extra", self.load_extra_state)
        if unsaved := state.get("unsaved"):
            log.info(
                f"Not in the checkpoint: {', '.join(map(str, unsaved))}, which {type(self).__name__} keeps outside its "
                "models (extra_state() would save it); training goes on without, and may end elsewhere"
            )

    def load_model(self, directory: str, epoch: int | None = None) -> None:
        """Load every model's weights: those of ``epoch``, or of the best epoch when it is None.

        Raises:
            UserError: a missing, unreadable or unfitting checkpoint.
        """
        if not directory:
            log.info(
                "Note that load_model() is skipped as no pretrained model is given "
                "(ignore this if it's done on purpose)"
            )
            return
        for name in self.get_model_names():
            folder = os.path.join(directory, name)
            path = os.path.join(folder, BEST if epoch is None else f"model.pth.tar-{epoch}")
            if not os.path.isfile(path):
                epochs = ", ".join(map(str, find_checkpoints(folder))) or "none"
                raise UserError(f"no model at {path} (numbered epochs there: {epochs})")
            checkpoint = load_checkpoint(path)
            load_weights(self._models[name], checkpoint["state_dict"], f"model {name!r}", path)
            log.info(
                f"Load {path} to {name} (epoch={checkpoint.get('epoch')}, val_result={checkpoint.get('val_result')})"
            )

    # Tensorboard

    def init_writer(self, log_dir: str) -> None:
        """Open the tensorboard writer, once."""
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter  # slow to import

            log.info(f"Initialize tensorboard (log_dir={log_dir})")
            self._log_dir = log_dir
            with writing(log_dir):
                self._writer = SummaryWriter(log_dir=log_dir)

    def close_writer(self) -> None:
        """Close the tensorboard writer, if open."""
        writer, self._writer = self._writer, None  # one that cannot write is not tried again
        if writer is not None:
            with writing(self._log_dir):
                writer.close()

    def write_scalar(self, tag: str, scalar_value: float, global_step: int | None = None) -> None:
        """Write one value to tensorboard; without a writer, nothing happens."""
        if self._writer is not None:
            with writing(self._log_dir):
                self._writer.add_scalar(tag, scalar_value, global_step)

    # The loop

    def train(self, start_epoch: int, max_epoch: int) -> None:
        """Run the epochs ``start_epoch`` (or where a resumed run stopped) to ``max_epoch`` and every hook."""
        self.start_epoch = start_epoch
        self.max_epoch = max_epoch
        self._built = plain_state(self, self._inherited)
        self.before_train()
        if self._resumed_rng is not None:  # after before_train(), which may draw numbers of its own
            set_rng_state(self._resumed_rng)
            self._resumed_rng = None
        if self.start_epoch > 0:
            self.complete_epoch()
        for epoch in range(self.start_epoch, self.max_epoch):
            self.epoch = epoch
            self._epoch_record = {"epoch": epoch + 1}
            self.history.append(self._epoch_record)
            self.before_epoch()
            self.run_epoch()
            self.after_epoch()
            self._epoch_record = None
            self.finish_epoch()
        self.after_train()

    def before_train(self) -> None:
        """Hook before the first epoch."""

    def after_train(self) -> None:
        """Hook after the last epoch."""

    def complete_epoch(self) -> None:
        """Hook of a resumed run: write what could not be written of the epoch that it goes on from."""

    def before_epoch(self) -> None:
        """Hook before each epoch."""

    def after_epoch(self) -> None:
        """Hook after each epoch."""

    def finish_epoch(self) -> None:
        """Called when an epoch and its hooks are over; here the rolling state is written."""

    def run_epoch(self) -> None:
        """Train one epoch."""
        raise NotImplementedError

    def test(self, split: str | None = None) -> float:
        """Evaluate."""
        raise NotImplementedError

    def parse_batch_train(self, batch: dict) -> Any:
        """Take apart a training batch."""
        raise NotImplementedError

    def parse_batch_test(self, batch: dict) -> Any:
        """Take apart a test batch."""
        raise NotImplementedError

    def forward_backward(self, batch: Any) -> dict[str, float] | None:
        """One step; returns what to log."""
        raise NotImplementedError

    def model_inference(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - upstream's name
        """Scores of a batch of images."""
        raise NotImplementedError


def _number(value: float) -> float:
    if type(value) not in (int, float) or math.isnan(value):
        raise ValueError(f"{value!r} is no number")
    return float(value)
