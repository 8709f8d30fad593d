"""The base of trainers that generate the context from the image: what SPG and DPSPG share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode as CN

from dassl.utils.errors import UserError
from promptshift.bases.generated_options import (
    DISCRIMINATOR_CAPS,
    GENERATOR_CAPS,
    PromptPath,
    generators_as_released,
)
from promptshift.bases.prompt_trainer import PromptTrainer
from promptshift.modeling.features import cached_features
from promptshift.modeling.generators import Discriminator, MLPGenerator, TransformerGenerator, clip_each, image_noise
from promptshift.modeling.prompts import PromptTemplate
from promptshift.modeling.tokens import encode
from promptshift.randomness import own_random_state
from promptshift.results.diagnostics import distance_ratio, last_epochs_std
from promptshift.runs.stage_runs import stage_tensors
from promptshift.runs.stages import EACH, Stage


class GeneratedPrompts(PromptTrainer):
    """Stage one gives every source domain a prompt label; stage two trains generators from image features to labels.

    A subclass sets PATHS and LABEL_TRAINER, declares GENERATOR and writes predict_features. A generator is trained by
    regression, L = MSE(G(f), v_d), or (cgan) adversarially (SPG, Algorithm 2), with a second batch f~ of other images:
    L_D = MSE(D(v_d, f), 1) + MSE(D(G(z, f~), f~), 0), then, D updated,  L_G = MSE(D(G(z, f~), f~), 1).

    Shapes: B images, K classes, M context vectors, D text width, E embedding, Z noise, S draws of noise.

    Attributes:
        labels: path name -> (domains, M, D); rows of domains that are no source are zero and never read.
        generators, discriminators: path name -> module.
    """

    PATHS: dict[str, PromptPath] = {}
    LABEL_TRAINER = ""  # registered name of stage one
    COSINE_SCORES = True  # scores are cosines without the logit scale

    @classmethod
    def as_released(cls, cfg: CN, sources: Mapping[str, str]) -> None:
        generators_as_released(cfg, sources)

    @classmethod
    def check_options(cls, cfg: CN) -> None:
        super().check_options(cfg)
        if cfg.TRAINER[cls.BLOCK].CSC:
            raise UserError(f"TRAINER.{cls.BLOCK}.CSC: a generated context is shared by all classes; allowed: False")

    @property
    def adversarial(self) -> bool:
        return self.options.GENERATOR == "cgan"

    def build_prompts(self, clip, classnames) -> dict[str, nn.Module]:
        o = self.options
        self.template = PromptTemplate(
            clip, classnames, o.N_CTX, position=o.CLASS_TOKEN_POSITION, max_tokens=self.cfg.MODEL.TEXT_CHUNK
        )
        judged, shape = self.PATHS if self.adversarial else (), (clip.embed_dim, o.N_CTX, clip.text_width)
        self.generators = {name: self._build_generator(clip) for name in self.PATHS}
        self.discriminators = {name: Discriminator(*shape, o.D_DROPOUT) for name in judged}
        return {
            getattr(self.PATHS[name], kind): module
            for kind, modules in (("generator", self.generators), ("discriminator", self.discriminators))
            for name, module in modules.items()
        }

    def _build_generator(self, clip) -> nn.Module:
        o, shape = self.options, (clip.embed_dim, self.options.N_CTX, clip.text_width)
        if o.GENERATOR == "transformer":
            return TransformerGenerator(*shape, o.LAYERS, o.HEADS, o.FEEDFORWARD, o.DROPOUT)
        return MLPGenerator(*shape, o.LATENT_DIM if self.adversarial else 0)

    def check_words(self, *keys: str) -> None:
        """Refuses initial words of stage one that are not N_CTX tokens long: labels take the length of their words.

        Raises:
            UserError: which key, and how many tokens it has.
        """
        for key in keys:
            words = self.options[key]
            tokens = len(encode(self.clip.tokenizer, words)) if words else self.options.N_CTX
            if tokens != self.options.N_CTX:
                raise UserError(
                    f"TRAINER.{self.BLOCK}.{key}: '{words}' has {tokens} tokens, but N_CTX is "
                    f"{self.options.N_CTX}; allowed: words of that length, or '' for a random start"
                )

    # Stage one

    @classmethod
    def stages(cls, cfg: CN) -> Sequence[Stage]:
        """A prompt label for every source domain, learnt on it alone under the settings LABELS."""
        o = cfg.TRAINER[cls.BLOCK].LABELS
        training = {
            "OPTIM.NAME": "sgd",
            "OPTIM.LR": o.LR,
            "OPTIM.MAX_EPOCH": o.MAX_EPOCH,
            "OPTIM.WEIGHT_DECAY": 5e-4,
            "OPTIM.LR_SCHEDULER": "cosine",
            "OPTIM.WARMUP_EPOCH": o.WARMUP_EPOCH,
            "OPTIM.WARMUP_TYPE": "constant",
            "OPTIM.WARMUP_CONS_LR": 1e-5,
            "DATALOADER.TRAIN_X.BATCH_SIZE": o.BATCH_SIZE,
            "DATALOADER.TRAIN_X.FEATURE_VIEWS": o.FEATURE_VIEWS,
            "TEST.FINAL_MODEL": "best_val",
            "TEST.SPLIT": "val",
            "TEST.EVAL_FREQ": 1,
        }
        labels = Stage(
            "labels",
            cls.LABEL_TRAINER,
            "Prompt labels",
            config=None,
            changes=[word for pair in training.items() for word in pair],
            domains=EACH,
            takes=[f"prompt_learner/{path.label}" for path in cls.PATHS.values()],
            place="prompt_labels",
        )
        return (labels,)

    def before_train(self) -> None:
        self.labels = self.prompt_labels()
        super().before_train()

    def prompt_labels(self) -> dict[str, Tensor]:
        """Stage one for every source domain -> labels of each path, (all domains, M, D), zero where not a source."""
        shape = (len(self.domain_names()), self.options.N_CTX, self.clip.text_width)
        labels = {name: torch.zeros(shape) for name in self.PATHS}
        for domain in sorted({item.domain for item in self.dm.dataset.train_x}):
            for name, label in self.stage_one([domain]).items():
                labels[name][domain] = label
        return {name: label.to(self.device) for name, label in labels.items()}

    def domain_names(self) -> list[str]:
        """Names of all domains of the dataset.

        Raises:
            UserError: it has none.
        """
        names = list(self.dm.dataset.domains)
        if not names:
            raise UserError(
                f"DATASET.NAME: {type(self).__name__} needs a dataset with named domains, "
                f"{self.cfg.DATASET.NAME} has none"
            )
        return names

    def stage_one(self, domains: list[int]) -> dict[str, Tensor]:
        """Prompt labels trained on the images of these domains, unless that has been done: path name -> (M, D)."""
        (labels,), names = self.stages(self.cfg), self.domain_names()
        found = stage_tensors(self.cfg, labels.on([names[domain] for domain in domains]), self.dm.dataset)
        return {name: found[path.label] for name, path in self.PATHS.items()}

    # Stage two

    def loss(self, batch: dict) -> dict[str, Tensor]:
        """Regression to the labels of the images' domains, all paths in one step."""
        features, domains = self.batch_features(batch), batch["domain"].to(self.device)
        parts = {
            f"{path.prefix}loss": F.mse_loss(self.generators[name](features), self.labels[name][domains])
            for name, path in self.PATHS.items()
        }
        return {**parts, "loss": torch.stack(list(parts.values())).sum()}

    def updates(self, batch: dict) -> Iterator:
        if not self.adversarial:
            yield from super().updates(batch)
            return
        features, fake = self.batch_features(batch), self.batch_features(batch["fake"])
        domains = batch["domain"].to(self.device)
        for name in self.PATHS:
            yield from self._play(name, self.labels[name][domains], features, fake)

    def _play(self, name: str, real_ctx: Tensor, real: Tensor, fake: Tensor) -> Iterator:
        """The discriminator's update, then the generator's; contexts (B, M, D), features (B, E)."""
        path, judge = self.PATHS[name], self.discriminators[name]
        fake_ctx = self.generators[name](fake, self.training_noise(len(fake)))
        on_real, on_fake = judge(real_ctx, real), judge(fake_ctx.detach(), fake)
        d_loss = F.mse_loss(on_real, torch.ones_like(on_real)) + F.mse_loss(on_fake, torch.zeros_like(on_fake))
        yield path.discriminator, {"loss": d_loss, f"{path.prefix}d_loss": d_loss}
        verdict = judge(fake_ctx, fake)
        g_loss = F.mse_loss(verdict, torch.ones_like(verdict))
        yield path.generator, {"loss": g_loss, f"{path.prefix}g_loss": g_loss}

    def training_noise(self, images: int) -> Tensor:
        """(B, Z) standard normal, from the global CPU generator: the same on every device."""
        return torch.randn(images, self.options.LATENT_DIM).to(self.device)

    def run_epoch(self) -> None:
        if not self.adversarial:
            super().run_epoch()
            return
        self._run_batches(((batch,) for batch in self._with_fakes()), lambda: len(self.train_loader_x))

    def _with_fakes(self) -> Iterator[dict]:
        """Every training batch with a second one of an order of its own, which costs one more batch and no more.

        Both passes are drawn from the global generator at the start of the epoch, one after the other whatever the
        number of workers, so an epoch resumes exactly.
        """
        real = iter(self.train_loader_x)
        first = next(real)  # draws the first order
        fakes = iter(self.train_loader_x)
        yield {**first, "fake": next(fakes)}
        for batch, fake in zip(real, fakes, strict=True):
            yield {**batch, "fake": fake}

    def after_backward(self, names: list[str]) -> None:
        if not self.adversarial or not self.clips:
            return
        for path in self.PATHS.values():
            for name, table in ((path.generator, GENERATOR_CAPS), (path.discriminator, DISCRIMINATOR_CAPS)):
                if name in names:
                    clip_each(self._models[name], [(pattern, self.options[key]) for pattern, key in table])

    @property
    def clips(self) -> bool:
        """Whether gradients are clipped: not where every held-out domain is one of NO_CLIP_TARGETS."""
        targets = set(getattr(self.dm.dataset, "target_domains", []))
        return self.options.GRAD_CLIP and not (targets and targets <= set(self.options.NO_CLIP_TARGETS))

    # Prediction

    def contexts(self, name: str, features: Tensor) -> Tensor:
        """Contexts (B, M, D) that a path generates for images (B, E) at test."""
        generator = self.generators[name]
        if not self.adversarial:
            return generator(features)
        return torch.stack([generator(features, noise) for noise in self.test_noise(name, features)]).mean(dim=0)

    def test_noise(self, name: str, features: Tensor) -> Tensor:
        """(S, B, Z) by NOISE; a draw depends on the run's seed, the path and the image's feature alone."""
        o = self.options
        if o.NOISE == "zero":
            return features.new_zeros(1, len(features), o.LATENT_DIM)
        seed = 2 * max(self.cfg.SEED, 0) + list(self.PATHS).index(name)
        return image_noise(features, o.LATENT_DIM, o.NOISE_SAMPLES if o.NOISE == "mean" else 1, seed)

    def cosines(self, name: str, features: Tensor) -> Tensor:
        """Cosine of each image with every class under its own generated context: (B, E) -> (B, K)."""
        classes = self.template.features_each(self.contexts(name, features)).float()  # (B, K, E)
        return torch.einsum("be,bke->bk", features, classes)

    # Diagnostics

    def diagnose(self, kept: dict[str, Tensor], labels: Tensor) -> dict[str, float | None]:
        """Stability of the run, without a random number: see promptshift.results.diagnostics for each number."""
        values = {"val_accuracy_std_last_10": last_epochs_std(self.history)}
        if self.val_loader is not None and self.generators:
            features = self._val_features().split(self.cfg.DATALOADER.TEST.BATCH_SIZE)
            domains = torch.tensor([item.domain for item in self.val_loader.dataset.data_source])
            for name, path in self.PATHS.items():
                prompts = torch.cat([self.contexts(name, part.to(self.device)).cpu() for part in features])
                values[f"{path.prefix}intra_inter_ratio"] = distance_ratio(prompts, domains)
        return values

    def _val_features(self) -> Tensor:
        if self.cfg.TEST.FEATURE_CACHE:
            return cached_features(self.val_loader, self.encode_images, self.feature_key, self.feature_folder)[0]
        with own_random_state():
            return torch.cat([self.encode_images(batch["img"]).cpu() for batch in self.val_loader])
