"""The trainer that TrainerX and TrainerXU extend: data, model, checkpoints, evaluation, the line of a batch."""

import datetime
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable

import torch
from torch.utils.data import DataLoader
from tqdm import tqdm
from yacs.config import CfgNode

from ..data import ClassNames, DataManager
from ..evaluation import build_evaluator
from ..optim import build_lr_scheduler, build_optimizer
from ..utils.errors import UserError
from ..utils.meters import AverageMeter, MetricMeter
from ..utils.torchtools import count_num_param, load_pretrained_weights
from .base import TrainerBase
from .own_test import remembering
from .simple_net import SimpleNet
from .state import LAST, carry_best_over, names_epoch

log = logging.getLogger(__name__)

__all__ = ["SimpleTrainer"]


class SimpleTrainer(TrainerBase):
    """A trainer with data, one model by configuration, checkpoints and evaluation.

    Attributes:
        cfg, device, output_dir: the configuration and what follows from it.
        dm, train_loader_x, train_loader_u, val_loader, test_loader, num_classes, num_source_domains, lab2cname: data.
        start_epoch, max_epoch, epoch (from 0), batch_idx (from 0), num_batches: position.
        evaluator: see :mod:`dassl.evaluation`.
        last_results: every metric of the last evaluation, at full precision.
    """

    FINAL_MODELS = ("last_step", "best_val")
    _given_data: "DataManager | ClassNames | None" = None

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if "test" in cls.__dict__:
            cls.test = remembering(cls.test)

    @classmethod
    def on(cls, cfg: CfgNode, data: DataManager | ClassNames) -> "SimpleTrainer":
        """Build the trainer on given data, also where a public trainer's ``__init__`` takes the configuration alone."""
        trainer = cls.__new__(cls)
        trainer._given_data = data
        trainer.__init__(cfg)
        return trainer

    def __init__(self, cfg: CfgNode, data: DataManager | ClassNames | None = None) -> None:
        """Build data, model and evaluator.

        Args:
            cfg: the configuration.
            data: used instead of the images that ``cfg`` names; class names are enough to predict.
        """
        super().__init__()
        self.check_cfg(cfg)
        self.cfg = cfg
        self.device = torch.device("cuda" if torch.cuda.is_available() and cfg.USE_CUDA else "cpu")
        if self.device.type == "cuda" and torch.cuda.device_count() > 1:
            log.info(f"{torch.cuda.device_count()} GPUs are visible; this run uses one")
        self.start_epoch = self.epoch = 0
        self.batch_idx = self.num_batches = 0
        self.max_epoch = cfg.OPTIM.MAX_EPOCH
        self.output_dir = cfg.OUTPUT_DIR
        self.time_start = time.time()
        self.last_results: dict[str, float] = {}
        data = self._given_data if data is None else data
        self.build_data_loader() if data is None else self.take_data(data)
        self._inherited = {*vars(self), "scaler"}
        self.build_model()
        self.evaluator = build_evaluator(cfg, lab2cname=self.lab2cname)

    def check_cfg(self, cfg: CfgNode) -> None:
        """Hook: check that the configuration suits the trainer."""

    def build_data_loader(self) -> None:
        """Build the data manager and take over its loaders and facts."""
        self.take_data(DataManager(self.cfg))

    def take_data(self, dm: DataManager | ClassNames) -> None:
        """Take over loaders and facts."""
        self.train_loader_x = dm.train_loader_x
        self.train_loader_u = dm.train_loader_u
        self.val_loader = dm.val_loader
        self.test_loader = dm.test_loader
        self.num_classes = dm.num_classes
        self.num_source_domains = dm.num_source_domains
        self.lab2cname = dm.lab2cname
        self.dm = dm

    def build_model(self) -> None:
        """Build and register a :class:`SimpleNet`; most trainers build their own model."""
        cfg = self.cfg
        log.info("Building model")
        self.model = SimpleNet(cfg, cfg.MODEL, self.num_classes)
        if cfg.MODEL.INIT_WEIGHTS:
            load_pretrained_weights(self.model, cfg.MODEL.INIT_WEIGHTS)
        self.model.to(self.device)
        log.info(f"# params: {count_num_param(self.model):,}")
        self.optim = build_optimizer(self.model, cfg.OPTIM)
        self.sched = build_lr_scheduler(self.optim, cfg.OPTIM)
        self.register_model("model", self.model, self.optim, self.sched)

    def train(self) -> None:
        """Train from where the configuration says, then test."""
        super().train(self.start_epoch, self.max_epoch)

    def before_train(self) -> None:
        """Resume from ``RESUME`` or ``OUTPUT_DIR`` where there is something to resume, and open tensorboard.

        Raises:
            UserError: an unknown ``TEST.FINAL_MODEL``, ``best_val`` without validation images, a ``RESUME`` folder
                without checkpoint, or one that is further than ``OPTIM.MAX_EPOCH``.
        """
        self._check_final_model()
        directory = self.cfg.RESUME or self.output_dir
        self.start_epoch = self.resume_model_if_exist(directory)
        if self.cfg.RESUME and self.start_epoch == 0:
            raise UserError(f"RESUME: no complete checkpoint in {directory}")
        if self.start_epoch > self.max_epoch:
            raise UserError(
                f"{directory} was trained for {self.start_epoch} epochs, but OPTIM.MAX_EPOCH is "
                f"{self.max_epoch}: use another OUTPUT_DIR or raise OPTIM.MAX_EPOCH"
            )
        self.epoch = max(self.start_epoch - 1, 0)
        if self.start_epoch > 0:
            carry_best_over(directory, self.output_dir, self.get_model_names())
        self.init_writer(os.path.join(self.output_dir, "tensorboard"))
        self.time_start = time.time()  # a trainer may take long to build

    def _check_final_model(self) -> None:
        final = self.cfg.TEST.FINAL_MODEL
        if final not in self.FINAL_MODELS:
            raise UserError(f"TEST.FINAL_MODEL {final!r} is unknown (allowed: {', '.join(self.FINAL_MODELS)})")
        if final == "best_val" and not self.cfg.TEST.NO_TEST and self.val_loader is None:
            raise UserError(
                "TEST.FINAL_MODEL best_val needs validation images, and DATASET "
                f"{self.cfg.DATASET.NAME} has none: use TEST.FINAL_MODEL last_step"
            )

    def after_train(self) -> None:
        """Deploy the last or the best epoch and test it."""
        log.info("Finish training")
        log.info("Finished training")  # the wording that older log parsers wait for
        if not self.cfg.TEST.NO_TEST:
            if self.cfg.TEST.FINAL_MODEL == "best_val":
                log.info("Deploy the model with the best val performance")
                self.load_model(self.output_dir)
            else:
                log.info("Deploy the last-epoch model")
            self.test()
        log.info(f"Elapsed: {datetime.timedelta(seconds=round(time.time() - self.time_start))}")
        self.close_writer()

    def after_epoch(self) -> None:
        """Validate and keep the best for ``best_val``; save at ``CHECKPOINT_FREQ`` and at the end."""
        cfg = self.cfg
        done = self.epoch + 1
        if not cfg.TEST.NO_TEST and cfg.TEST.FINAL_MODEL == "best_val" and self.validates_now():
            curr_result = self.test(split="val")
            if curr_result > self.best_result:
                self.best_result = curr_result
                self.save_model(self.epoch, self.output_dir, val_result=curr_result, model_name="model-best.pth.tar")
        if self._keeps(done):
            self.save_model(self.epoch, self.output_dir)

    def _keeps(self, done: int) -> bool:
        """Whether the numbered checkpoints after ``done`` epochs are kept."""
        freq = self.cfg.TRAIN.CHECKPOINT_FREQ
        return done == self.max_epoch or (freq > 0 and done % freq == 0)

    def complete_epoch(self) -> None:
        """Write ``last.pth.tar``, the numbered checkpoints and their pointers where the disk was full for them."""
        last = os.path.join(self.output_dir, LAST)
        folders = [os.path.join(self.output_dir, name) for name in self.get_model_names()]
        if self._keeps(self.start_epoch) and not all(names_epoch(folder, self.start_epoch) for folder in folders):
            self.save_model(self.epoch, self.output_dir)
        if self.resumed_from != last:
            self.save_last_state(self.output_dir)

    def validates_now(self) -> bool:
        """Hook: whether ``best_val`` is to look at this epoch."""
        return True

    def finish_epoch(self) -> None:
        """Write the rolling state."""
        self.save_last_state(self.output_dir)

    @torch.no_grad()
    def test(self, split: str | None = None) -> float:
        """Evaluate on ``val`` or ``test`` (default: ``TEST.SPLIT``) and return the accuracy in percent.

        Raises:
            UserError: an unknown split, or one without images.
        """
        self.set_model_mode("eval")
        split = self.cfg.TEST.SPLIT if split is None else split
        loaders = {"val": self.val_loader, "test": self.test_loader}
        if split not in loaders:
            raise UserError(f"TEST.SPLIT {split!r} is unknown (allowed: val, test)")
        if loaders[split] is None:
            raise UserError(f"TEST.SPLIT {split}: DATASET {self.cfg.DATASET.NAME} has no {split} images")
        log.info(f"Evaluate on the *{split}* set")
        self.last_results = dict(self.evaluate_loader(loaders[split]))
        for name, value in self.last_results.items():
            self.write_scalar(f"{split}/{name}", value, self.epoch)
        result = next(iter(self.last_results.values()))
        if self._epoch_record is not None:
            self._epoch_record[f"{split}_accuracy"] = float(result)
        return result

    def evaluate_loader(self, data_loader: DataLoader) -> dict[str, float]:
        """Put every batch through :meth:`model_inference` and the evaluator; the accuracy comes first."""
        self.evaluator.reset()
        for batch in tqdm(data_loader, disable=not sys.stderr.isatty()):
            images, label = self.parse_batch_test(batch)
            self.evaluator.process(self.model_inference(images), label)
        return self.evaluator.evaluate()

    def model_inference(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - upstream's name
        """Scores (B, K) of images (B, 3, H, W)."""
        return self.model(input)

    def parse_batch_test(self, batch: dict) -> tuple[torch.Tensor, torch.Tensor]:
        """Return images and labels, on the device."""
        return batch["img"].to(self.device), batch["label"].to(self.device)

    def _run_batches(self, batches: Iterable[tuple], num_batches: Callable[[], int]) -> None:
        """Call ``forward_backward(*batch)`` on each, log, and add the averages to the history."""
        self.set_model_mode("train")
        losses, batch_time, data_time = MetricMeter(), AverageMeter(), AverageMeter()
        if self._epoch_record is not None:
            self._epoch_record["lr"] = self.get_current_lr()
        end = time.time()
        for batch_idx, batch in enumerate(batches):
            self.batch_idx, self.num_batches = batch_idx, num_batches()  # some samplers know it once they have begun
            data_time.update(time.time() - end)
            losses.update(self.forward_backward(*batch))
            lr = self.get_current_lr()  # after the step, as Dassl prints it: of the last batch it is the next epoch's
            batch_time.update(time.time() - end)
            if (self.batch_idx + 1) % self.cfg.TRAIN.PRINT_FREQ == 0 or self.num_batches < self.cfg.TRAIN.PRINT_FREQ:
                log.info(self._train_line(losses, batch_time, data_time, lr))
            step = self.epoch * self.num_batches + self.batch_idx
            for name, meter in losses.meters.items():
                self.write_scalar(f"train/{name}", meter.avg, step)
            self.write_scalar("train/lr", lr, step)
            end = time.time()
        if self._epoch_record is not None:
            self._epoch_record.update({name: float(meter.avg) for name, meter in losses.meters.items()})

    def _train_line(self, losses: MetricMeter, batch_time: AverageMeter, data_time: AverageMeter, lr: float) -> str:
        left = self.num_batches - self.batch_idx - 1 + (self.max_epoch - self.epoch - 1) * self.num_batches
        return (
            f"epoch [{self.epoch + 1}/{self.max_epoch}] batch [{self.batch_idx + 1}/{self.num_batches}] "
            f"time {batch_time.val:.3f} ({batch_time.avg:.3f}) data {data_time.val:.3f} ({data_time.avg:.3f}) "
            f"{losses} lr {lr:.4e} eta {datetime.timedelta(seconds=int(batch_time.avg * left))}"
        )
