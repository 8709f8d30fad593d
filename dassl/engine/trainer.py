"""Trainers over one labelled loader (TrainerX) or a labelled and an unlabelled one (TrainerXU)."""

import itertools

import torch

from ..utils.errors import UserError
from ..utils.meters import AverageMeter, MetricMeter
from .base import TrainerBase
from .simple_net import SimpleNet
from .simple_trainer import SimpleTrainer

__all__ = ["AverageMeter", "MetricMeter", "SimpleNet", "SimpleTrainer", "TrainerBase", "TrainerX", "TrainerXU"]


class TrainerX(SimpleTrainer):
    """Trains on labelled batches; a subclass writes ``build_model`` and ``forward_backward(batch)``."""

    def run_epoch(self) -> None:
        """One pass over the labelled loader."""
        self._run_batches(zip(self.train_loader_x, strict=True), lambda: len(self.train_loader_x))

    def parse_batch_train(self, batch: dict) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return images, labels and domains, on the device."""
        return tuple(batch[key].to(self.device) for key in ("img", "label", "domain"))


class TrainerXU(SimpleTrainer):
    """Trains on labelled and unlabelled batches side by side; ``forward_backward(batch_x, batch_u)``."""

    def run_epoch(self) -> None:
        """As many steps as ``TRAIN.COUNT_ITER`` says; a loader that is used up starts again.

        Raises:
            UserError: no unlabelled images, or an unknown ``TRAIN.COUNT_ITER``.
        """
        if self.train_loader_u is None:
            raise UserError(f"DATASET.NAME: {self.cfg.DATASET.NAME} has no unlabelled images to train on")
        loaders = self.train_loader_x, self.train_loader_u
        len_x, len_u = map(len, loaders)
        counts = {"train_x": len_x, "train_u": len_u, "smaller_one": min(len_x, len_u)}
        if self.cfg.TRAIN.COUNT_ITER not in counts:
            raise UserError(f"TRAIN.COUNT_ITER {self.cfg.TRAIN.COUNT_ITER!r} is unknown (allowed: {', '.join(counts)})")
        count = counts[self.cfg.TRAIN.COUNT_ITER]
        endless = [itertools.chain.from_iterable(itertools.repeat(loader)) for loader in loaders]
        pairs = zip(range(count), *endless, strict=False)
        self._run_batches(((x, u) for _, x, u in pairs), lambda: count)

    def parse_batch_train(self, batch_x: dict, batch_u: dict) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return labelled images, their labels, and unlabelled images, on the device."""
        return batch_x["img"].to(self.device), batch_x["label"].to(self.device), batch_u["img"].to(self.device)


def __getattr__(name: str) -> object:
    """tensorboard's writer, which upstream's module has in its namespace; slow to import, so on demand."""
    if name == "SummaryWriter":
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
