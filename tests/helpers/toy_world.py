"""A tiny image dataset and a linear trainer, for tests of the engine.

Run as a program (``toy_world.py FOLDER KEY VALUE ...``), it trains until its fourth epoch and hangs there until it is
killed.
"""

import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dassl.config import get_cfg_default, merge_opts
from dassl.data.datasets import DATASET_REGISTRY, DatasetBase, Datum
from dassl.engine import TRAINER_REGISTRY, TrainerX, TrainerXU, build_trainer
from dassl.metrics import compute_accuracy
from dassl.optim import build_lr_scheduler, build_optimizer
from dassl.utils import set_random_seed

CLASSES = ["ant", "bee", "cat"]
DOMAINS = ["day", "night"]


def write_images(folder: Path, per_group: int = 4) -> None:
    """per_group images of 8 x 8 for each class and domain."""
    rng = np.random.default_rng(0)
    for c, name in enumerate(CLASSES):
        for d, domain in enumerate(DOMAINS):
            (folder / domain / name).mkdir(parents=True, exist_ok=True)
            for i in range(per_group):
                pixels = rng.integers(0, 80, (8, 8, 3))
                pixels[..., c] += 120 - 40 * d
                Image.fromarray(pixels.astype(np.uint8)).save(folder / domain / name / f"{i}.png")


@DATASET_REGISTRY.register()
class Toy(DatasetBase):
    """Three classes, two domains; the last image of each group is for validation, all are for testing."""

    domains = DOMAINS
    has_val = True

    def __init__(self, cfg):
        items = [
            Datum(str(path), c, d, name)
            for c, name in enumerate(CLASSES)
            for d, domain in enumerate(DOMAINS)
            for path in sorted(Path(cfg.DATASET.ROOT, domain, name).glob("*.png"))
        ]
        val = [item for item in items if item.impath.endswith("3.png")]
        train = [item for item in items if not item.impath.endswith("3.png")]
        super().__init__(train_x=train, train_u=train[::2], val=val if self.has_val else None, test=items)


@DATASET_REGISTRY.register()
class ToyWithoutVal(Toy):
    """The same without validation images."""

    has_val = False


@TRAINER_REGISTRY.register()
class Linear(TrainerX):
    """Two registered models, a feature layer with dropout and a classifier, with an optimizer each."""

    def build_model(self):
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 6), nn.ReLU(), nn.Dropout(0.3))
        self.head = nn.Linear(6, self.num_classes)
        for name, model in (("net", self.net), ("head", self.head)):
            optim = build_optimizer(model, self.cfg.OPTIM)
            self.register_model(name, model, optim, build_lr_scheduler(optim, self.cfg.OPTIM))

    def forward_backward(self, batch):
        images, label, _ = self.parse_batch_train(batch)
        logits = self.model_inference(images)
        loss = F.cross_entropy(logits, label)
        self.model_backward_and_update(loss)
        if self.batch_idx + 1 == self.num_batches:
            self.update_lr()
        return {"loss": loss.item(), "acc": compute_accuracy(logits, label)[0].item()}

    def model_inference(self, input):
        return self.head(self.net(input))


@TRAINER_REGISTRY.register()
class LinearXU(TrainerXU):
    """Counts the pairs of batches it sees."""

    def build_model(self):
        self.model = nn.Linear(1, 1)
        self.register_model("model", self.model)
        self.pairs = []

    def forward_backward(self, batch_x, batch_u):
        x, label, u = self.parse_batch_train(batch_x, batch_u)
        self.pairs.append((len(x), len(label), len(u)))


def toy_cfg(folder, *opts):
    """Configuration of a toy run; ``folder`` holds data/ and gets out/."""
    cfg = get_cfg_default()
    merge_opts(
        cfg,
        [
            "DATASET.NAME",
            "Toy",
            "DATASET.ROOT",
            str(Path(folder, "data")),
            "OUTPUT_DIR",
            str(Path(folder, "out")),
            "TRAINER.NAME",
            "Linear",
            "SEED",
            0,
            "USE_CUDA",
            False,
            "VERBOSE",
            False,
            "INPUT.SIZE",
            (8, 8),
            "INPUT.TRANSFORMS",
            ("random_resized_crop", "random_flip", "colorjitter", "normalize"),
            "DATALOADER.NUM_WORKERS",
            0,
            "DATALOADER.TRAIN_X.BATCH_SIZE",
            4,
            "OPTIM.NAME",
            "sgd",
            "OPTIM.LR",
            0.005,
            "OPTIM.MAX_EPOCH",
            6,
            "OPTIM.LR_SCHEDULER",
            "cosine",
            "OPTIM.WARMUP_EPOCH",
            1,
            *opts,
        ],
    )
    return cfg


def build(cfg):
    """Seed and build, as train.py does."""
    if cfg.SEED >= 0:
        set_random_seed(cfg.SEED)
    return build_trainer(cfg)


def weights(trainer):
    """All tensors of the registered models, by name."""
    return {
        f"{name}.{key}": value.clone()
        for name, model in trainer._models.items()
        for key, value in model.state_dict().items()
    }


def hang_in_fourth_epoch(trainer, folder):
    """Stop for good before the third batch of the fourth epoch, and say so with a file."""
    step = trainer.forward_backward

    def hanging_step(batch):
        if (trainer.epoch, trainer.batch_idx) == (3, 2):
            Path(folder, "hanging").touch()
            time.sleep(600)
        return step(batch)

    trainer.forward_backward = hanging_step


if __name__ == "__main__":
    torch.set_num_threads(1)
    toy_trainer = build(toy_cfg(sys.argv[1], *sys.argv[2:]))
    toy_trainer.init_writer = lambda log_dir: None
    hang_in_fourth_epoch(toy_trainer, sys.argv[1])
    toy_trainer.train()
