"""Tip-Adapter and Tip-Adapter-F."""

import logging

import torch
import torch.nn.functional as F

from dassl.config.options import above, at_least, choice, numbers, whole
from dassl.engine import TRAINER_REGISTRY
from dassl.optim import build_lr_scheduler
from dassl.utils.errors import UserError
from dassl.utils.torchtools import BEST
from promptshift.bases.feature_views import feature_view_loader
from promptshift.bases.optimizers import with_eps
from promptshift.bases.raw_features import RawFeatures
from promptshift.losses import accuracy
from promptshift.modeling.cache import LabelledCache, best_on_grid, correct_on_grid, grid
from promptshift.modeling.features import cached_features
from promptshift.modeling.templates import templates_of
from promptshift.modeling.towers.text_tower import TextTower
from promptshift.runs.public_files.public_blocks import precision, template_list

log = logging.getLogger(f"promptshift.{__name__}")
EPS = 1e-4  # of AdamW, as the released code has it
AT_ONCE = 1024  # images of the search
CODE = "gaopengcuhk/Tip-Adapter: configs/imagenet.yaml"


@TRAINER_REGISTRY.register(aliases=("Tip_Adapter",))
class TipAdapter(RawFeatures):
    """A cache of the training images' features, without training (Zhang et al. 2022, arXiv 2207.09519).

    logits = LOGIT_SCALE f W^T + alpha exp(-beta (1 - f K^T)) V: W is the mean of the TEMPLATES' class features, K the
    unit mean of AUGMENT_EPOCH augmented features of each training image, V its class. alpha and beta are chosen on the
    validation images (SEARCH val) on a grid of SEARCH_STEP values up to SEARCH_SCALE, [beta, alpha].

    New classes: the cache holds none of them, so their logits are those of zero-shot CLIP; under other class names, as
    across datasets, a key speaks for the class of its own name alone.

    Differs from the released code: validation images are those of the run (few of each class where training images
    are); alpha and beta are never chosen on test images unless SEARCH is oracle, which the released ImageNet run does,
    and records and tables then say so; V has a column for every class, also for a last one without images.

    Shapes: B images, N training images, V views, K classes, E embedding.
    """

    BLOCK = "TIP_ADAPTER"
    DEFAULTS = dict(
        PREC=precision(),
        TEMPLATES=template_list("dataset"),
        AUGMENT_EPOCH=whole(10, least=1, source=CODE, about="augmented views of a training image, averaged to its key"),
        INIT_BETA=at_least(0, 1.0, source=CODE, about="sharpness while it is fine-tuned, and without search"),
        INIT_ALPHA=at_least(0, 1.17, source=CODE, about="weight of the cache, likewise"),
        SEARCH=choice("val", "oracle", "off", about="where alpha, beta are chosen; oracle: on the test images"),
        SEARCH_SCALE=numbers([7.0, 3.0], (2,), above=0.1, source=CODE, about="ends of the grid: beta, alpha"),
        SEARCH_STEP=numbers([200, 20], (2,), int, least=1, source=CODE, about="values in the grid: beta, alpha"),
        LOGIT_SCALE=above(0, 100.0, source=CODE.replace("configs/imagenet.yaml", "main.py"), about="of the zero-shot"),
    )

    def build_prompts(self, clip, classnames):
        o, tower = self.options, TextTower(clip, self.cfg.MODEL.TEXT_CHUNK)
        self.text_features = tower.encode_ensemble(templates_of(o.TEMPLATES, self.cfg.DATASET.NAME), classnames)
        self.cache, self.classnames = LabelledCache(classnames, clip.embed_dim), list(classnames)
        self.cache.set_strength(o.INIT_BETA, o.INIT_ALPHA)
        return {"adapter": self.cache}

    def class_features(self):
        return self.text_features

    def zero_shot(self, features):
        """Unit features (B, E) -> logits (B, K) without the cache."""
        return self.options.LOGIT_SCALE * features @ self.text_features.T

    def predict_features(self, features):
        with torch.autocast(self.device.type, enabled=False):
            features = F.normalize(features, dim=-1)
            return self.zero_shot(features) + self.cache(features, self.classnames)

    def train(self):
        self.fill_cache()
        self.after_train()

    def fill_cache(self):
        """Makes the keys of all training images."""
        loader, views = self.dm.train_loader_x, self.options.AUGMENT_EPOCH
        make = (self.encode_images, self.feature_key, self.cfg.SEED, self.feature_folder)
        stored = feature_view_loader(loader, views, *make).dataset
        self.fill(stored.features, torch.tensor([item.label for item in stored.data_source]))

    def fill(self, features, labels):
        """Raw features (N, V, E) of views and labels (N,) -> the cache's keys: unit means over the views."""
        log.info(f"The cache holds {len(labels)} images, {features.shape[1]} views of each")
        self.cache.fill(F.normalize(features.mean(dim=1), dim=-1), labels)

    def after_train(self):
        if self.history and self.cfg.TEST.FINAL_MODEL == "best_val":
            self.load_model(self.output_dir)
        if self.options.SEARCH != "off":
            self.search()
        self.save_model(self.epoch, self.output_dir, model_name=BEST)
        super().after_train()

    @property
    def chosen_on_test(self):
        """Whether alpha and beta were chosen on test images."""
        leaks = getattr(self.dm.dataset, "val_is_test", False)
        return self.options.SEARCH == "oracle" or self.options.SEARCH == "val" and leaks

    def search(self):
        """Chooses alpha and beta on the validation images, or with SEARCH oracle on the test images."""
        loader = self.test_loader if self.options.SEARCH == "oracle" else self.val_loader
        if loader is None:
            name, search = self.cfg.DATASET.NAME, self.options.SEARCH
            raise UserError(f"TRAINER.TIP_ADAPTER.SEARCH: {search}, but {name} has no such images; set it to off")
        features, labels = cached_features(loader, self.encode_images, self.feature_key, self.feature_folder)
        betas, alphas, counts = self.right_on_grid(F.normalize(features, dim=-1), labels)
        beta, alpha = best_on_grid(counts, betas, alphas)
        self.cache.set_strength(beta, alpha)
        self.diagnostics["search"] = {"beta": beta, "alpha": alpha, "right": int(counts.max()), "images": len(labels)}
        log.info(f"Best of the grid: beta {beta:.2f}, alpha {alpha:.2f}, {counts.max()} of {len(labels)} right")

    @torch.no_grad()
    def right_on_grid(self, features, labels):
        """Unit features (N, E), labels (N,) -> values of beta and of alpha, right answers (betas, alphas)."""
        betas, alphas = (grid(*ends) for ends in zip(self.options.SEARCH_SCALE, self.options.SEARCH_STEP))
        counts, values = 0, self.cache.values(self.classnames)
        for part, truth in zip(features.split(AT_ONCE), labels.split(AT_ONCE)):
            part, truth = part.to(self.device), truth.to(self.device)
            counts += correct_on_grid(self.zero_shot(part), truth, self.cache.affinity(part), values, betas, alphas)
        return betas, alphas, counts


@TRAINER_REGISTRY.register(aliases=("Tip_Adapter_F",))
class TipAdapterF(TipAdapter):
    """Tip-Adapter whose keys are fine-tuned: Tip-Adapter-F (Zhang et al. 2022, arXiv 2207.09519).

    Cross-entropy of Tip-Adapter's logits under INIT_ALPHA and INIT_BETA; the keys alone are learnt, AdamW with a cosine
    over the steps of the whole training; alpha and beta are chosen afterwards.

    New classes: as Tip-Adapter's.

    Differs from the released code: the last epoch counts, or the best on validation images, where the released one
    takes the epoch that is best on the test images; an incomplete last batch is left out; see TipAdapter.
    """

    def train(self):
        self.fill_cache()
        RawFeatures.train(self)

    def before_train(self):
        super().before_train()
        self.cache.set_strength(self.options.INIT_BETA, self.options.INIT_ALPHA)

    def optimizer_of(self, module):
        return with_eps(super().optimizer_of(module), EPS)

    def register_model(self, name="model", model=None, optim=None, sched=None):
        """Registers the cache with a schedule that counts steps."""
        steps, batches = self.cfg.OPTIM.clone(), max(1, len(self.train_loader_x or ()))
        steps.defrost()
        steps.MAX_EPOCH, steps.WARMUP_EPOCH = steps.MAX_EPOCH * batches, steps.WARMUP_EPOCH * batches
        super().register_model(name, model, optim, build_lr_scheduler(optim, steps))

    def loss(self, batch):
        features, labels = F.normalize(self.batch_features(batch), dim=-1), batch["label"].to(self.device)
        logits = self.predict_features(features)
        return {"loss": F.cross_entropy(logits, labels), "acc": accuracy(logits, labels)}

    def forward_backward(self, batch):
        shown = super().forward_backward(batch)
        if self.batch_idx + 1 < self.num_batches:  # behind the last batch the base has done it
            self.update_lr()
        return shown
