"""The base of every trainer that learns prompts for a frozen CLIP in batches."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm
from yacs.config import CfgNode as CN

from dassl.data import ClassNames, DataManager
from dassl.optim import build_lr_scheduler, build_optimizer
from dassl.utils import load_pretrained_weights
from dassl.utils.errors import UserError, quoted, suggest
from promptshift.bases.feature_views import feature_view_loader
from promptshift.bases.input_checks import check_input
from promptshift.bases.prediction import Prediction, domain_accuracies, joined
from promptshift.bases.released_state import fit_optimizer
from promptshift.bases.updates import UpdatingTrainer
from promptshift.losses import accuracy
from promptshift.modeling.backbones.embedded import EMBEDDED
from promptshift.modeling.clip import OPENAI_NAMES, FrozenCLIP, load_clip
from promptshift.modeling.features import cached_features
from promptshift.paths import output_root
from promptshift.randomness import own_random_state
from promptshift.runs.stages import Stage

log = logging.getLogger(__name__)


class PromptTrainer(UpdatingTrainer):
    """Loads CLIP, registers what is learnt, steps, evaluates. A paper adds its prompts, loss and prediction.

    A subclass sets BLOCK and DEFAULTS (its keys under cfg.TRAINER with what they allow, read once into
    `self.options`) and implements:
      build_prompts(clip, classnames) -> {registered name: nn.Module to train}
      class_features() -> (K, E), L2-normalised: the text side under what is learnt
      image_features(images) -> (B, E), L2-normalised, when its image tower is prompted too (FROZEN_IMAGES = False)
    The logits are then exp(logit_scale) times the cosine, and the loss is their cross-entropy. Other methods override
      loss(batch) -> {"loss": scalar, other scalars to log}, or
      regularisers(batch, features, classes) -> terms beside the cross-entropy
      predict_features(features) -> logits (B, K) from normalised image features (B, E), or
      predict(images) -> logits (B, K).
    What a run reports besides comes from
      explain_features(features) -> Prediction, the logits with more of each image, and
      diagnose(kept, labels) -> diagnostics, once, after the final test.

    Shapes: B images, K classes, E embedding.
    """

    BLOCK = ""
    DEFAULTS: dict = {}
    KEY_ALIASES: dict = {}  # dotted keys of released configurations -> ours
    FROZEN_IMAGES = True  # image features do not depend on what is learnt, so they may be cached
    COSINE_SCORES = False  # predict returns (differences of) cosines, without CLIP's logit scale

    @classmethod
    def check_options(cls, cfg: CN) -> None:
        """Refuses, before data or weights are touched, what several keys together rule out; changes nothing.

        What a single key allows is declared beside its default, see `dassl.config.options`.
        """
        name, known = cfg.MODEL.BACKBONE.NAME, [*OPENAI_NAMES, *EMBEDDED]
        if not name:
            raise UserError("MODEL.BACKBONE.NAME is empty; give --config-file or --backbone")
        if name not in known and ":" not in name:
            raise UserError(
                f"MODEL.BACKBONE.NAME: unknown backbone {quoted(name)}; allowed: {', '.join(known)}, an open_clip "
                f"'model:pretrained' pair, 'hf-hub:ORG/NAME' or 'local-dir:FOLDER'{suggest(name, known)}"
            )

    @classmethod
    def as_released(cls, cfg: CN, sources: Mapping[str, str]) -> None:
        """Hook, before `fill_in`: gives what a public configuration file says, or leaves out, its released meaning.

        Args:
            cfg: the merged configuration.
            sources: dotted key -> file or command line that set it; a key that nothing set is absent.
        """

    @classmethod
    def fill_in(cls, cfg: CN) -> None:
        """Hook, before `check_options`: sets keys that follow from others where the configuration leaves them open."""

    @classmethod
    def stages(cls, cfg: CN) -> Sequence[Stage]:
        """What a run of `cfg` starts from, as data; `promptshift.runs.stage_runs` finds or makes it."""
        return ()

    def __init__(self, cfg: CN, data: DataManager | ClassNames | None = None, clip: FrozenCLIP | None = None) -> None:
        """Build the trainer.

        Args:
            cfg: the configuration.
            data: used instead of the images that `cfg` names; class names are enough to predict.
            clip: used instead of the backbone that `cfg` names.
        """
        self._given_clip = clip
        super().__init__(cfg, data)

    def build_model(self) -> None:
        cfg = self.cfg
        self.options = cfg.TRAINER[self.BLOCK]
        self.diagnostics: dict = {}
        self.precision = self.options.PREC
        self.clip = self._given_clip or self.load_backbone()
        log.info(self.clip.describe())
        check_input(cfg, self.clip)
        self.scaler = torch.amp.GradScaler(self.device.type) if self.precision == "amp" else None
        for name, module in self.build_prompts(self.clip, self.dm.dataset.classnames).items():
            module.to(self.device)
            if cfg.MODEL.INIT_WEIGHTS:
                load_pretrained_weights(module, cfg.MODEL.INIT_WEIGHTS)
            optim = self.optimizer_of(module)
            self.register_model(name, module, optim, build_lr_scheduler(optim, cfg.OPTIM))
        views = cfg.DATALOADER.TRAIN_X.FEATURE_VIEWS
        if views:
            self._train_on_stored_views(views)

    def optimizer_of(self, module: nn.Module) -> torch.optim.Optimizer:
        """Hook: the optimizer of a module that is learnt, with OPTIM's settings."""
        return build_optimizer(module, self.cfg.OPTIM)

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
        """A training batch -> {"loss": scalar, ...}: the cross-entropy of the logits plus the `regularisers`."""
        features, labels = self.learnt_features(batch), batch["label"].to(self.device)
        if type(self).regularisers is PromptTrainer.regularisers:  # none: the class features need not be known
            logits, terms = self.predict_features(features), {}
        else:
            classes = self.class_features().float()
            logits, terms = self.clip.logit_scale * features @ classes.T, self.regularisers(batch, features, classes)
        return {"loss": F.cross_entropy(logits, labels) + sum(terms.values()), "acc": accuracy(logits, labels)} | terms

    def learnt_features(self, batch: dict) -> Tensor:
        """Features (B, E) of a training batch under what is learnt, L2-normalised."""
        return self.batch_features(batch) if self.FROZEN_IMAGES else self.image_features(batch["img"])

    def regularisers(self, batch: dict, features: Tensor, classes: Tensor) -> dict[str, Tensor]:
        """Weighted terms of the loss beside the cross-entropy, which stay when another loss takes its place.

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

    def explain_features(self, features: Tensor) -> Prediction:
        """Features (B, E) -> what `predict_features` says of them, and what `diagnose` wants of each image."""
        return Prediction(self.predict_features(features))

    def explain(self, images: Tensor) -> Prediction:
        """Images (B, 3, S, S) -> what `predict` says of them, and what `diagnose` wants of each image."""
        if self.FROZEN_IMAGES:
            return self.explain_features(self.image_features(images))
        return Prediction(self.model_inference(images))

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
        """Evaluates a split; where its images are of several domains, `accuracy_<domain>` stands beside the whole.

        The final test, which is no validation within an epoch, also fills `diagnostics`.
        """
        results, kept = self._evaluate(data_loader)
        items, names = data_loader.dataset.data_source, getattr(self.dm.dataset, "domains", ())
        if not self.within_epoch:
            self.diagnostics |= self.diagnose(kept, torch.tensor([item.label for item in items]))
        return dict(results) | domain_accuracies(self.evaluator.correct(), [item.domain for item in items], names)

    def _evaluate(self, data_loader) -> tuple[dict, dict[str, Tensor]]:
        """Metrics of a split, and what `explain` kept of each image; draws no random number."""
        self.evaluator.reset()
        kept = []
        with own_random_state():
            for prediction, labels in self._predictions(data_loader):
                self.evaluator.process(prediction.logits, labels)
                if not self.within_epoch:
                    kept.append(prediction.kept)
            return self.evaluator.evaluate(), joined(kept)

    def _predictions(self, data_loader) -> Iterator[tuple[Prediction, Tensor]]:
        """Predictions and labels by batch, from cached features where the image tower is frozen."""
        if not (self.FROZEN_IMAGES and self.cfg.TEST.FEATURE_CACHE):
            for batch in tqdm(data_loader, disable=not sys.stderr.isatty()):
                images, labels = self.parse_batch_test(batch)
                with self.autocast():
                    prediction = self.explain(images)
                yield prediction, labels
            return
        features, labels = cached_features(data_loader, self.encode_images, self.feature_key, self.feature_folder)
        size = data_loader.batch_size or self.cfg.DATALOADER.TEST.BATCH_SIZE
        for part, truth in zip(features.split(size), labels.split(size)):
            with self.autocast():
                prediction = self.explain_features(part.to(self.device))
            yield replace(prediction, logits=prediction.logits.float()), truth.to(self.device)

    def diagnose(self, kept: dict[str, Tensor], labels: Tensor) -> dict:
        """Diagnostics of the run by name, after its final test.

        Args:
            kept: what `explain` kept of the N test images, name -> (N, ...), on the CPU.
            labels: their classes (N,).
        """
        return {}
