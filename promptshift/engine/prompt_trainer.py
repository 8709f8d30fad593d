"""The base of every trainer that learns prompts for a frozen CLIP in batches."""
from __future__ import annotations

from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode as CN

from dassl.engine import TrainerX
from dassl.optim import build_lr_scheduler, build_optimizer
from dassl.utils import load_pretrained_weights
from dassl.utils.errors import UserError, suggest
from promptshift.engine.feature_views import feature_view_loader
from promptshift.engine.finite import first_bad_output, first_bad_weight
from promptshift.modeling.clip import OPENAI_NAMES, PRECISIONS, FrozenCLIP, load_clip
from promptshift.modeling.features import cached_features
from promptshift.paths import output_root
from promptshift.randomness import own_random_state


class PromptTrainer(TrainerX):
    """Loads CLIP, registers what is learnt, steps, evaluates. A paper adds its prompts, loss and prediction.

    A subclass sets BLOCK and DEFAULTS (its keys under cfg.TRAINER, read once into `self.options`) and implements:
      build_prompts(clip, classnames) -> {registered name: nn.Module to train}
      loss(batch) -> {"loss": scalar, other scalars to log}
      predict_features(features) -> logits (B, K) from normalised image features (B, E)
    or, when its image tower is prompted too (FROZEN_IMAGES = False), predict(images) instead of the last.

    Shapes: B images, K classes, E embedding.
    """

    BLOCK = ""
    DEFAULTS: dict = {}
    KEY_ALIASES: dict = {}      # dotted keys of released configurations -> ours
    FROZEN_IMAGES = True        # image features do not depend on what is learnt, so they may be cached

    @classmethod
    def check_options(cls, cfg: CN) -> None:
        """Refuses what can be refused before data or weights are touched."""
        name, known = cfg.MODEL.BACKBONE.NAME, [*OPENAI_NAMES, "mini"]
        if not name:
            raise UserError("MODEL.BACKBONE.NAME is empty; give --config-file or --backbone")
        if name not in known and ":" not in name:
            raise UserError(f"MODEL.BACKBONE.NAME: unknown backbone '{name}'; allowed: {', '.join(known)}, "
                            f"or an open_clip 'model:pretrained' pair{suggest(name, known)}")
        options = cfg.TRAINER.get(cls.BLOCK, {})
        if options.get("PREC", "fp32") not in PRECISIONS:
            raise UserError(f"TRAINER.{cls.BLOCK}.PREC: '{options.PREC}'; allowed: {', '.join(PRECISIONS)}")

    def build_model(self) -> None:
        cfg = self.cfg
        self.options = cfg.TRAINER[self.BLOCK]
        self.diagnostics: dict = {}
        self.precision = self.options.PREC
        self.clip = load_clip(cfg.MODEL.BACKBONE.NAME, cfg.MODEL.BACKBONE.PATH, self.precision, self.device)
        print(self.clip.describe())
        _check_input_size(cfg, self.clip)
        self.scaler = torch.amp.GradScaler(self.device.type) if self.precision == "amp" else None
        for name, module in self.build_prompts(self.clip, self.dm.dataset.classnames).items():
            module.to(self.device)
            if cfg.MODEL.INIT_WEIGHTS:
                load_pretrained_weights(module, cfg.MODEL.INIT_WEIGHTS)
            optim = build_optimizer(module, cfg.OPTIM)
            self.register_model(name, module, optim, build_lr_scheduler(optim, cfg.OPTIM))
        views = cfg.DATALOADER.TRAIN_X.FEATURE_VIEWS
        if views:
            self._train_on_stored_views(views)

    def _train_on_stored_views(self, views: int) -> None:
        if not self.FROZEN_IMAGES:
            raise UserError("DATALOADER.TRAIN_X.FEATURE_VIEWS: only for trainers whose image tower is frozen, "
                            f"not {type(self).__name__}; set it to 0")
        self.train_loader_x = feature_view_loader(
            self.train_loader_x, views, self.encode_images, self.feature_key, self.cfg.SEED, self.feature_folder)

    def validates_now(self) -> bool:
        return (self.epoch + 1) % self.cfg.TEST.EVAL_FREQ == 0 or self.epoch + 1 == self.max_epoch

    def build_prompts(self, clip: FrozenCLIP, classnames: list[str]) -> dict[str, nn.Module]:
        """What is learnt, by the name it is saved under."""
        raise NotImplementedError

    def loss(self, batch: dict) -> dict[str, Tensor]:
        """A training batch -> {"loss": scalar, ...}."""
        raise NotImplementedError

    def predict_features(self, features: Tensor) -> Tensor:
        """Normalised image features (B, E) -> logits (B, K), each row independent of the others."""
        raise NotImplementedError

    def predict(self, images: Tensor) -> Tensor:
        """Images (B, 3, S, S) -> logits (B, K), each row independent of the others."""
        return self.predict_features(self.encode_images(images))

    def autocast(self):
        """Autocast where precision is `amp`, nothing otherwise."""
        return torch.autocast(self.device.type) if self.precision == "amp" else nullcontext()

    @torch.no_grad()
    def encode_images(self, images: Tensor) -> Tensor:
        """Images (B, 3, S, S) -> L2-normalised frozen features (B, E), float32."""
        with self.autocast():
            features = self.clip.encode_image(images.to(self.device))
        return F.normalize(features.float(), dim=-1)

    def batch_features(self, batch: dict) -> Tensor:
        """Features of a training batch: stored ones where the loader brings them, else encoded now."""
        if "feature" in batch:
            return batch["feature"].to(self.device)
        return self.encode_images(batch["img"])

    def forward_backward(self, batch: dict) -> dict[str, float]:
        with self.autocast():
            parts = self.loss(batch)
        for name, value in parts.items():
            if not torch.isfinite(value).all():
                raise UserError(self._where_not_finite(name, batch))
        self.step(parts["loss"])
        if self.batch_idx + 1 == self.num_batches:
            self.update_lr()
        return {name: value.item() for name, value in parts.items()}

    def step(self, loss: Tensor) -> None:
        """One update of everything registered; through the gradient scaler with `amp`."""
        if self.scaler is None:
            self.model_backward_and_update(loss)
            return
        self.model_zero_grad()
        self.scaler.scale(loss).backward()
        for name in self.get_model_names():
            self.scaler.step(self._optims[name])
        self.scaler.update()

    def _where_not_finite(self, loss_name: str, batch: dict) -> str:
        learnt = [(name, self._models[name]) for name in self.get_model_names()]
        weight = first_bad_weight(learnt)
        output = None if weight else first_bad_output([*learnt, ("clip", self.clip.model)], lambda: self.loss(batch))
        what = weight or (f"the output of {output}" if output else loss_name)
        return (f"training stopped at epoch {self.epoch + 1}, batch {self.batch_idx + 1}: {what} is the first tensor "
                f"that is not finite; lower OPTIM.LR ({self.cfg.OPTIM.LR}) or set TRAINER.{self.BLOCK}.PREC fp32")

    def model_inference(self, images: Tensor) -> Tensor:
        with self.autocast():
            return self.predict(images)

    @property
    def feature_key(self) -> str:
        """What frozen features depend on besides the image file."""
        return f"{self.clip.fingerprint}-{self.clip.image_size}-{self.cfg.INPUT.INTERPOLATION}-{self.cfg.INPUT.SIZE}-" \
               f"{self.cfg.INPUT.PIXEL_MEAN}-{self.cfg.INPUT.PIXEL_STD}-{self.cfg.INPUT.TRANSFORMS}"

    @property
    def feature_folder(self):
        """Where features are kept: below the output root, one folder per dataset and backbone."""
        backbone = self.cfg.MODEL.BACKBONE.NAME.replace("/", "")
        return output_root() / "features" / self.cfg.DATASET.NAME / backbone.replace(":", "_")

    @torch.no_grad()
    def evaluate_loader(self, data_loader) -> dict:
        """Evaluates a split, from cached features where the image tower is frozen; draws no random number."""
        if not (self.FROZEN_IMAGES and self.cfg.TEST.FEATURE_CACHE):
            with own_random_state():
                return super().evaluate_loader(data_loader)
        features, labels = cached_features(data_loader, self.encode_images, self.feature_key, self.feature_folder)
        self.evaluator.reset()
        size = data_loader.batch_size or self.cfg.DATALOADER.TEST.BATCH_SIZE
        for part, truth in zip(features.split(size), labels.split(size)):
            with self.autocast():
                logits = self.predict_features(part.to(self.device))
            self.evaluator.process(logits.float(), truth.to(self.device))
        return self.evaluator.evaluate()


def _check_input_size(cfg: CN, clip: FrozenCLIP) -> None:
    size = tuple(cfg.INPUT.SIZE)
    if size != (clip.image_size, clip.image_size):
        raise UserError(f"INPUT.SIZE: {size} does not fit backbone '{clip.name}', which takes "
                        f"({clip.image_size}, {clip.image_size})")
