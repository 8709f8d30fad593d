"""The base of every trainer that learns prompts for a frozen CLIP in batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode as CN

from dassl.engine import TrainerX
from dassl.engine.models import Names
from dassl.optim import build_lr_scheduler, build_optimizer
from dassl.utils import load_pretrained_weights
from dassl.utils.errors import UserError, suggest
from promptshift.bases.feature_views import feature_view_loader
from promptshift.bases.finite import first_bad_output, first_bad_weight
from promptshift.bases.released_state import fit_optimizer
from promptshift.losses import accuracy
from promptshift.modeling.clip import OPENAI_NAMES, PRECISIONS, FrozenCLIP, load_clip
from promptshift.modeling.embedded import EMBEDDED
from promptshift.modeling.features import cached_features
from promptshift.paths import output_root
from promptshift.randomness import own_random_state


class PromptTrainer(TrainerX):
    """Loads CLIP, registers what is learnt, steps, evaluates. A paper adds its prompts, loss and prediction.

    A subclass sets BLOCK and DEFAULTS (its keys under cfg.TRAINER, read once into `self.options`) and implements:
      build_prompts(clip, classnames) -> {registered name: nn.Module to train}
      class_features() -> (K, E), L2-normalised: the text side under what is learnt
      image_features(images) -> (B, E), L2-normalised, when its image tower is prompted too (FROZEN_IMAGES = False)
    The logits are then exp(logit_scale) times the cosine and the loss is their cross-entropy. What is not so overrides
      loss(batch) -> {"loss": scalar, other scalars to log}
      predict_features(features) -> logits (B, K) from normalised image features (B, E), or
      predict(images) -> logits (B, K).

    Shapes: B images, K classes, E embedding.
    """

    BLOCK = ""
    DEFAULTS: dict = {}
    KEY_ALIASES: dict = {}  # dotted keys of released configurations -> ours
    FROZEN_IMAGES = True  # image features do not depend on what is learnt, so they may be cached
    COSINE_SCORES = False  # predict returns (differences of) cosines, without CLIP's logit scale

    @classmethod
    def check_options(cls, cfg: CN) -> None:
        """Refuses what can be refused before data or weights are touched."""
        name, known = cfg.MODEL.BACKBONE.NAME, [*OPENAI_NAMES, *EMBEDDED]
        if not name:
            raise UserError("MODEL.BACKBONE.NAME is empty; give --config-file or --backbone")
        if name not in known and ":" not in name:
            raise UserError(
                f"MODEL.BACKBONE.NAME: unknown backbone '{name}'; allowed: {', '.join(known)}, "
                f"or an open_clip 'model:pretrained' pair{suggest(name, known)}"
            )
        options = cfg.TRAINER.get(cls.BLOCK, {})
        if options.get("PREC", "fp32") not in PRECISIONS:
            raise UserError(f"TRAINER.{cls.BLOCK}.PREC: '{options.PREC}'; allowed: {', '.join(PRECISIONS)}")

    @classmethod
    def stage_configuration(cls, cfg: CN) -> CN | None:
        """Configuration of the other trainer's run that a run of `cfg` makes first, where none is named; else None."""
        return None

    @classmethod
    def unread_data(cls, cfg: CN) -> tuple[str, ...]:
        """Keys of the dataset that training does not depend on: runs that differ in them learn the same."""
        return ()

    def build_model(self) -> None:
        cfg = self.cfg
        self.options = cfg.TRAINER[self.BLOCK]
        self.diagnostics: dict = {}
        self.precision = self.options.PREC
        self.clip = self.load_backbone()
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

    def load_backbone(self) -> FrozenCLIP:
        """The frozen CLIP that the configuration names."""
        backbone = self.cfg.MODEL.BACKBONE
        return load_clip(backbone.NAME, backbone.PATH, self.precision, self.device)

    def _train_on_stored_views(self, views: int) -> None:
        if not self.FROZEN_IMAGES:
            raise UserError(
                "DATALOADER.TRAIN_X.FEATURE_VIEWS: only for trainers whose image tower is frozen, "
                f"not {type(self).__name__}; set it to 0"
            )
        self.train_loader_x = feature_view_loader(
            self.train_loader_x, views, self.encode_images, self.feature_key, self.cfg.SEED, self.feature_folder
        )

    def fit_released(self, name: str, saved: dict) -> dict:
        """Takes of a released checkpoint's optimizer, which may hold the whole CLIP, what is learnt here."""
        if saved.get("optimizer") is None:
            return saved
        return saved | {"optimizer": fit_optimizer(saved["optimizer"], saved["state_dict"], self._models[name])}

    def validates_now(self) -> bool:
        return (self.epoch + 1) % self.cfg.TEST.EVAL_FREQ == 0 or self.epoch + 1 == self.max_epoch

    def build_prompts(self, clip: FrozenCLIP, classnames: list[str]) -> dict[str, nn.Module]:
        """What is learnt, by the name it is saved under."""
        raise NotImplementedError

    def class_features(self) -> Tensor:
        """-> class features (K, E) under what is learnt, L2-normalised."""
        raise NotImplementedError

    def image_features(self, images: Tensor) -> Tensor:
        """Images (B, 3, S, S) -> features (B, E) under what is learnt, L2-normalised, float32."""
        return self.encode_images(images)

    def loss(self, batch: dict) -> dict[str, Tensor]:
        """A training batch -> {"loss": scalar, ...}: the cross-entropy of the logits."""
        logits, labels = self.predict_features(self.learnt_features(batch)), batch["label"].to(self.device)
        return {"loss": F.cross_entropy(logits, labels), "acc": accuracy(logits, labels)}

    def learnt_features(self, batch: dict) -> Tensor:
        """Features (B, E) of a training batch under what is learnt, L2-normalised."""
        return self.batch_features(batch) if self.FROZEN_IMAGES else self.image_features(batch["img"])

    def proposals(self, batch: dict) -> Tensor:
        """Logits (B, K) of a training batch whose largest wrong ones are hard negatives (DPC, arXiv 2503.13443)."""
        return self.predict_features(self.learnt_features(batch))

    def regularisers(self, batch: dict, features: Tensor, classes: Tensor) -> dict[str, Tensor]:
        """Weighted terms of the loss that stay when another loss takes the place of the cross-entropy.

        Args:
            batch: a training batch.
            features: its features under what is learnt (B, E), L2-normalised.
            classes: class features under what is learnt (K, E), L2-normalised.
        """
        return {}

    def predict_features(self, features: Tensor) -> Tensor:
        """Normalised image features (B, E) -> logits (B, K), each row independent of the others."""
        return self.clip.logit_scale * features @ self.class_features().float().T

    def predict(self, images: Tensor) -> Tensor:
        """Images (B, 3, S, S) -> logits (B, K), each row independent of the others."""
        return self.predict_features(self.image_features(images))

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

    def updates(self, batch: dict) -> Iterator[tuple[Names, dict[str, Tensor]]]:
        """What a batch updates, in turn: (registered names, None for all; {"loss": scalar, other scalars to log}).

        Where there are several, each loss is computed after the update before it.
        """
        yield None, self.loss(batch)

    def forward_backward(self, batch: dict) -> dict[str, float]:
        shown, total = {}, 0.0
        updates = self.updates(batch)
        while (update := self._next(updates)) is not None:
            names, parts = update
            for name, value in parts.items():
                if not torch.isfinite(value).all():
                    raise UserError(self._where_not_finite(name, batch))
            self.step(parts["loss"], names)
            shown |= {name: value.item() for name, value in parts.items()}
            total += parts["loss"].item()
        if self.batch_idx + 1 == self.num_batches:
            self.update_lr()
        return shown | {"loss": total}

    def _next(self, updates: Iterator) -> tuple | None:
        with self.autocast():  # around the losses alone, not their backward pass
            return next(updates, None)

    def step(self, loss: Tensor, names: Names = None) -> None:
        """One update of the named models, of everything registered without names; with `amp` through the scaler."""
        names = self.get_model_names(names)
        self.model_zero_grad(names)
        if self.scaler is None:
            self.model_backward(loss)
            self.clip_gradients(names)
            self.model_update(names)
            return
        self.scaler.scale(loss).backward()
        names = [name for name in names if _has_gradients(self._optims[name])]  # the scaler refuses the others
        for name in names:
            self.scaler.unscale_(self._optims[name])
        self.clip_gradients(names)
        for name in names:
            self.scaler.step(self._optims[name])
        self.scaler.update()

    def clip_gradients(self, names: list[str]) -> None:
        """Hook between the backward pass and the update of the named models."""

    def _where_not_finite(self, loss_name: str, batch: dict) -> str:
        learnt = [(name, self._models[name]) for name in self.get_model_names()]
        weight = first_bad_weight(learnt)
        output = (
            None
            if weight
            else first_bad_output([*learnt, ("clip", self.clip.model)], lambda: list(self.updates(batch)))
        )
        what = weight or (f"the output of {output}" if output else loss_name)
        return (
            f"training stopped at epoch {self.epoch + 1}, batch {self.batch_idx + 1}: {what} is the first tensor "
            f"that is not finite; lower OPTIM.LR ({self.cfg.OPTIM.LR}) or set TRAINER.{self.BLOCK}.PREC fp32"
        )

    def model_inference(self, images: Tensor) -> Tensor:
        with self.autocast():
            return self.predict(images)

    @torch.no_grad()
    def probabilities(self, images: Tensor) -> Tensor:
        """Images (B, 3, S, S) -> class probabilities (B, K), float32: the softmax of the scaled scores."""
        scores = self.model_inference(images.to(self.device)).float()
        return F.softmax(scores * self.clip.logit_scale if self.COSINE_SCORES else scores, dim=-1)

    @property
    def feature_key(self) -> str:
        """What frozen features depend on besides the image file."""
        return (
            f"{self.clip.fingerprint}-{self.clip.image_size}-{self.cfg.INPUT.INTERPOLATION}-{self.cfg.INPUT.SIZE}-"
            f"{self.cfg.INPUT.PIXEL_MEAN}-{self.cfg.INPUT.PIXEL_STD}-{self.cfg.INPUT.TRANSFORMS}"
        )

    @property
    def feature_folder(self):
        """Where features are kept: below the output root, one folder per dataset and backbone."""
        backbone = self.cfg.MODEL.BACKBONE.NAME.replace("/", "")
        return output_root() / "features" / self.cfg.DATASET.NAME / backbone.replace(":", "_")

    @torch.no_grad()
    def evaluate_loader(self, data_loader) -> dict:
        """Evaluates a split; where its images are of several domains, `accuracy_<domain>` stands beside the whole."""
        results = dict(self._evaluate(data_loader))
        items, names = data_loader.dataset.data_source, getattr(self.dm.dataset, "domains", ())
        return results | domain_accuracies(self.evaluator.correct(), [item.domain for item in items], names)

    def _evaluate(self, data_loader) -> dict:
        """From cached features where the image tower is frozen; draws no random number."""
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


def _has_gradients(optimizer: torch.optim.Optimizer) -> bool:
    return any(p.grad is not None for group in optimizer.param_groups for p in group["params"])


def domain_accuracies(correct: Tensor, domains: list[int], names: Sequence[str]) -> dict[str, float]:
    """{"accuracy_<domain>": percent} of images of several domains, {} of images of one.

    Args:
        correct: (N,) bool, whether each image was classified right.
        domains: domain index of each image.
        names: domain names by index.
    """
    present = sorted(set(domains))
    if len(present) < 2 or not names:
        return {}
    of_image = torch.tensor(domains)
    return {f"accuracy_{names[index]}": 100.0 * correct[of_image == index].double().mean().item() for index in present}


def _check_input_size(cfg: CN, clip: FrozenCLIP) -> None:
    size = tuple(cfg.INPUT.SIZE)
    if size != (clip.image_size, clip.image_size):
        raise UserError(
            f"INPUT.SIZE: {size} does not fit backbone '{clip.name}', which takes "
            f"({clip.image_size}, {clip.image_size})"
        )
