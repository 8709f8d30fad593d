"""DPC: a parallel prompt for the base classes beside a tuned one."""

import math

import torch
import torch.nn.functional as F

from dassl.config.options import between, choice, flag, pairs, text, whole
from dassl.data.data_manager import DatasetWrapper
from dassl.data.transforms.transforms import build_transform
from dassl.engine import TRAINER_REGISTRY
from dassl.utils.errors import UserError
from promptshift.bases.inner import ProposesNegatives, inner_trainer
from promptshift.bases.prediction import Prediction
from promptshift.bases.prompt_trainer import PromptTrainer
from promptshift.losses import accuracy, symmetric_infonce
from promptshift.modeling.backbones.embedded import EMBEDDED
from promptshift.runs.finished_run import SAME_DATA
from promptshift.runs.public_files.public_blocks import precision
from promptshift.runs.stage_runs import load_stage
from promptshift.runs.stages import Stage, start_aliases
from promptshift.runs.wrapped_options import block_options, block_pairs
from trainers.dpc.dual_prompt import DualPrompt, under
from trainers.dpc.hard_negatives import HardNegatives
from trainers.dpc.routing import guesses, route, routing_report, trained_elsewhere

PAPER, CODE = "arXiv 2503.13443", "DPC's train.py"
RELEASED_NAMES = {"StackSPLE_CoOp": "CoOp", "StackSPLE_PromptKD": "PromptKD"}
RELEASED_KEYS = {
    "SPLE.BACK_CKPT_PATH": "TRAINER.DPC.BACKBONE_RUN",
    "SPLE.BACK_CKPT_EPOCH": "TRAINER.DPC.BACKBONE_EPOCH",
    "SPLE.INFER_TOPK": "TRAINER.DPC.TOP_K",
    "SPLE.INFER_NONREPEAT": "TRAINER.DPC.NON_REPEAT",
    "SPLE.STACK.WEIGHT": "TRAINER.DPC.WEIGHT",
    "SPLE.STACK.WEIGHT_FOR_NEW": "TRAINER.DPC.WEIGHT_FOR_NEW",
    "SPLE": "TRAINER.DPC.RELEASED",
    "TRAINER.MODAL": "TRAINER.PROMPTKD.MODAL",
    **start_aliases("DPC", "BACKBONE", "RUN", "EPOCH", "CONFIG", "OPTS"),
}
BACKBONES = ("CoOp", "KgCoOp", "MaPLe", "IVLP", "PromptSRC", "PromptKD")
# what is filled in by backbone where the configuration leaves it open
WEIGHTS = {"MaPLe": 1.0}  # of P' on base classes; 0.2 for the others (paper)
VIEWS = {"PromptKD": "test"}  # transform of the negatives; train for the others (released)
CONFIGS = {"CoOp": "vit_b16_ep20"}  # of the backbone outside the embedded world
DRAWS_LAST = ("PromptKD",)  # backbones whose released sampler may draw the last class
LR_SCALES = {"1": 0, "1/w": 1, "1/w^2": 2}


@TRAINER_REGISTRY.register(aliases=tuple(RELEASED_NAMES))
class DPC(PromptTrainer):
    """Dual-prompt collaboration (arXiv 2503.13443) on top of another method, TRAINER.DPC.BACKBONE.

    Step one is a run of that method (BACKBONE_RUN, or a stage made from its own YAML): its prompt P. Step two clones
    every tensor that the method learns, P' <- P, and trains P' on base classes with hard negatives: frozen P proposes
    its top K classes for each image, the wrong ones join the batch with one training image each, and
        L = (CE(s V T^t, arange) + CE(s T V^t, arange)) / 2 + the method's own regularisers,
    V and T (M, E) the features of the extended batch's images and of their classes under P', s the logit scale.
    Weighting-decoupling at test: w P' + (1 - w) P with w = WEIGHT for the classes trained on; with w = WEIGHT_FOR_NEW
    for new ones (DATASET.SUBSAMPLE_CLASSES new, and all classes of another dataset), which at 0 is exactly P. A
    checkpoint holds both.

    ROUTE auto (not in the paper) is told nothing: over the names of all classes (SUBSAMPLE_CLASSES all, at test only)
    an image counts as base when P's largest probability over base names is at least that over new names; it is then
    classified among base names by the mixture, else among new names by P.

    Ablations: LOSS ce; HARD_NEGATIVES False; EVALUATE parallel (P' alone on base, as released); DECOUPLE False (new
    classes as base ones); WEIGHT 1; MASK_DUPLICATES True (equal classes in a batch are no negatives of each other).

    Differs from the paper: none known in the defaults, which train 20 epochs in either step (its CoOp; the released
    code names a CoOp of 100, BACKBONE_CONFIG vit_b16_ep100), with TOP_K 8, but 5 for EuroSAT, which has five base
    classes (there, 8 of 5 is an error). Differs from the released code: all classes of the dataset that was trained on
    see the mixture (there, ImageNet's alone); base classes see the mixture (there, P' alone: EVALUATE parallel); the
    step is the plain one (there, the mixture is the stored tensor, which multiplies the gradient by 1/w: LR_SCALE 1/w,
    or 1/w^2 where P is not overwritten beside it); negatives are images of the same few-shot set, whatever SPLE.PIC_LIB
    says; the last epoch is tested; on PromptKD the teacher's text prompt is not tuned in step two (there it is, as P'
    of base classes), and batch-norm statistics are mixed like the weights. SPLE.* keys without a meaning here
    (SPLE.LOSS_KD_WEIGHT and others) are accepted and change nothing.

    Shapes: B images, M images with negatives, K classes, E embedding.
    """

    BLOCK, KEY_ALIASES = "DPC", RELEASED_KEYS
    DEFAULTS = dict(
        PREC=precision(),
        BACKBONE=choice(*BACKBONES, source=PAPER, about="the method of step one"),
        BACKBONE_RUN=text("", about="folder of step one's run; '': a stage"),
        BACKBONE_EPOCH=whole(0, least=0, about="epoch of that run; 0: the one that it tested"),
        BACKBONE_CONFIG=text("", about="its YAML in configs/trainers/<BACKBONE>; '': the dataset's, mini or default"),
        BACKBONE_OPTS=pairs(about="KEY VALUE pairs for it; its own block is filled in"),
        TOP_K=whole(8, least=2, source=CODE, about="classes that P proposes for an image"),
        HARD_NEGATIVES=flag(True, source=PAPER, about="extend the batch by images of wrong proposals"),
        NON_REPEAT=flag(True, source=CODE, about="a class stands once in a batch"),
        MASK_DUPLICATES=flag(False, about="equal classes in a batch are no negatives of each other"),
        NEGATIVE_VIEW=choice("", "train", "test", about="transform of the negatives' images; '': as released"),
        LOSS=choice("contrastive", "ce", source=PAPER),
        LR_SCALE=choice(*LR_SCALES, about="factor on the gradient, w the WEIGHT; the released code's are the others"),
        WEIGHT=between(0, 1, -1.0, also=(-1.0,), source=PAPER, about="of P' on base classes; -1: the backbone's own"),
        WEIGHT_FOR_NEW=between(0, 1, 0.0, source=PAPER, about="of P' on new classes"),
        DECOUPLE=flag(True, source=PAPER, about="False: new classes are weighted as base ones"),
        EVALUATE=choice("mixture", "parallel", source=PAPER, about="parallel: P' alone on base classes, as released"),
        ROUTE=choice("told", "auto", about="auto: base or new is decided for each image"),
        RELEASED=dict(
            PIC_LIB="",
            LOSS_KD_WEIGHT=None,
            KD_INFER=None,
            STACK=dict(MODE="converse", LOOP_DEPTH=None),
            SPLE_TRAINER=dict(SPLE_INIT=None, SPLE_BASE_TRAIN=None),
        ),
    )

    @classmethod
    def check_options(cls, cfg):
        super().check_options(cfg)
        o, block = cfg.TRAINER.DPC, "TRAINER.DPC"
        if "converse" not in o.RELEASED.STACK.MODE:
            raise UserError(f"SPLE.STACK.MODE: '{o.RELEASED.STACK.MODE}' switches DPC off; allowed: converse")
        if o.LR_SCALE != "1" and not o.WEIGHT:
            raise UserError(f"{block}.LR_SCALE: '{o.LR_SCALE}' divides by WEIGHT, which is 0; allowed: 1")
        if o.ROUTE == "auto" and cfg.DATASET.SUBSAMPLE_CLASSES != "all":
            raise UserError(
                f"{block}.ROUTE: auto chooses between base and new names, so DATASET.SUBSAMPLE_CLASSES "
                f"'{cfg.DATASET.SUBSAMPLE_CLASSES}' must be all"
            )
        if dict(block_pairs(o.BACKBONE_OPTS)).get("TRAINER.COOP.CSC") and cfg.DATASET.SUBSAMPLE_CLASSES == "new":
            raise UserError(
                "TRAINER.COOP.CSC: contexts of single classes do not exist for new ones; allowed with "
                "DATASET.SUBSAMPLE_CLASSES new: False"
            )

    @classmethod
    def fill_in(cls, cfg):
        """What follows from other keys: BACKBONE, WEIGHT, NEGATIVE_VIEW, and the backbone's block in BACKBONE_OPTS."""
        o = cfg.TRAINER.DPC
        o.BACKBONE = RELEASED_NAMES.get(cfg.TRAINER.NAME, o.BACKBONE)
        o.WEIGHT = WEIGHTS.get(o.BACKBONE, 0.2) if o.WEIGHT == -1 else o.WEIGHT
        o.NEGATIVE_VIEW = o.NEGATIVE_VIEW or VIEWS.get(o.BACKBONE, "train")
        if not o.BACKBONE_CONFIG and cfg.MODEL.BACKBONE.NAME not in EMBEDDED:
            o.BACKBONE_CONFIG = CONFIGS.get(o.BACKBONE, "")
        o.BACKBONE_OPTS = block_options(cfg, *cls.stages(cfg))

    @classmethod
    def stages(cls, cfg):
        """The run of step one."""
        o = cfg.TRAINER.DPC
        backbone = Stage(
            "backbone",
            o.BACKBONE,
            f"DPC's backbone {o.BACKBONE}",
            config=o.BACKBONE_CONFIG,
            opts=o.BACKBONE_OPTS,
            run=o.BACKBONE_RUN,
            key="TRAINER.DPC.BACKBONE_RUN",
            epoch=o.BACKBONE_EPOCH,
            same=SAME_DATA,
        )
        return (backbone,)

    @property
    def FROZEN_IMAGES(self):
        return self.backbone.FROZEN_IMAGES

    def build_prompts(self, clip, classnames):
        o = self.options
        self.base_classes = math.ceil(len(classnames) / 2)  # of all classes, for ROUTE auto
        self.diagnostics |= {"backbone": o.BACKBONE, "weight": self.base_weight, "weight_for_new": self.new_weight}
        cls = TRAINER_REGISTRY.get(o.BACKBONE)
        own = [
            word
            for key, value in block_pairs(o.BACKBONE_OPTS)
            if key.startswith(f"TRAINER.{cls.BLOCK}.")
            for word in (key, value)
        ]
        self.backbone = inner_trainer(cls, self.cfg, self, [*own, f"TRAINER.{cls.BLOCK}.PREC", o.PREC], clip)
        self.duals = {name: DualPrompt(module) for name, module in self.backbone._models.items()}
        return self.duals

    # Step one

    def before_train(self):
        o = self.options
        if o.ROUTE == "auto":
            raise UserError("TRAINER.DPC.ROUTE: auto is a way to test a finished run (--eval-only); allowed: told")
        self._check_shots()
        self.negatives = self._sampler() if o.HARD_NEGATIVES else None
        for stage in self.stages(self.cfg):
            load_stage(self.backbone, self.cfg, stage, self.dm.dataset)
        for dual in self.duals.values():
            dual.adopt()
        super().before_train()  # a resumed run takes P' (and the same P) from its own checkpoint

    def _check_shots(self):
        shots, counts = self.cfg.DATASET.NUM_SHOTS, {name: 0 for name in self.dm.dataset.classnames}
        for item in self.dm.dataset.train_x:
            counts[self.dm.lab2cname[item.label]] += 1
        few = [f"{name} ({count})" for name, count in counts.items() if count < max(shots, 1)]
        if few:
            raise UserError(f"DATASET.NUM_SHOTS: {shots}, but there are fewer training images of {', '.join(few[:5])}")

    def _sampler(self):
        images = self.train_loader_x.dataset
        if self.options.NEGATIVE_VIEW == "test":
            if self.cfg.DATALOADER.TRAIN_X.FEATURE_VIEWS:
                raise UserError(
                    "TRAINER.DPC.NEGATIVE_VIEW: test has no stored views; allowed with "
                    "DATALOADER.TRAIN_X.FEATURE_VIEWS: train"
                )
            images = DatasetWrapper(self.cfg, images.data_source, transform=build_transform(self.cfg, is_train=False))
        labels = [item.label for item in images.data_source]
        o, last = self.options, self.options.BACKBONE in DRAWS_LAST
        return HardNegatives(images, labels, self.num_classes, o.TOP_K, o.NON_REPEAT, "TRAINER.DPC.TOP_K", last)

    # Step two

    def loss(self, batch):
        if self.negatives is not None:
            batch = self.negatives.extend(batch, self._scores_of_tuned(batch))
        features, classes = self.backbone.learnt_features(batch), self.backbone.class_features().float()
        labels, scale = batch["label"].to(self.device), self.clip.logit_scale
        logits = scale * features @ classes.T  # (M, K)
        if self.options.LOSS == "ce":
            parts = {"ce": F.cross_entropy(logits, labels)}
        else:
            masked = labels if self.options.MASK_DUPLICATES else None
            parts = {"contrastive": symmetric_infonce(features, classes[labels], scale, masked)}
        parts |= self.backbone.regularisers(batch, features, classes)
        return {"loss": torch.stack(list(parts.values())).sum(), **parts, "acc": accuracy(logits, labels)}

    @torch.no_grad()
    def _scores_of_tuned(self, batch):
        """Logits (B, K) under P, in eval mode; their largest wrong ones are the hard negatives."""

        def scores_of():
            if isinstance(self.backbone, ProposesNegatives):
                return self.backbone.proposals(batch)
            return self.backbone.predict_features(self.backbone.learnt_features(batch))

        self.backbone.set_model_mode("eval")
        scores = under(self.duals.values(), 0.0, scores_of)
        self.backbone.set_model_mode("train")
        return scores

    def after_backward(self, names):
        power = LR_SCALES[self.options.LR_SCALE]
        for name in names if power else ():
            for parameter in self._models[name].parameters():
                if parameter.grad is not None:
                    parameter.grad /= self.options.WEIGHT**power

    # Prediction

    elsewhere = False  # whether the weights were trained on another dataset than this one

    def load_model(self, directory, epoch=None):
        super().load_model(directory, epoch)
        if directory:
            self.elsewhere = trained_elsewhere(directory, self.cfg)

    @property
    def asked_of_new(self):
        """Whether the classes are new to the prompts: the new half, or all classes of another dataset."""
        classes = self.cfg.DATASET.SUBSAMPLE_CLASSES
        return classes == "new" or (classes == "all" and self.elsewhere)

    @property
    def base_weight(self):
        return 1.0 if self.options.EVALUATE == "parallel" else self.options.WEIGHT

    @property
    def new_weight(self):
        return self.options.WEIGHT_FOR_NEW if self.options.DECOUPLE else self.base_weight

    def predict_features(self, features):
        return self.explain_features(features).logits

    def predict(self, images):
        return self.explain(images).logits

    def explain_features(self, features):
        return self._weighted(lambda: self.backbone.predict_features(features))

    def explain(self, images):
        return self._weighted(lambda: self.backbone.predict(images))

    def _weighted(self, logits):
        duals = self.duals.values()
        if self.options.ROUTE == "told":
            return Prediction(under(duals, self.new_weight if self.asked_of_new else self.base_weight, logits))
        mixed, new, tuned = (under(duals, weight, logits) for weight in (self.base_weight, self.new_weight, 0.0))
        routed, logits = route(mixed, new, tuned, self.base_classes)
        return Prediction(logits, {"guesses": guesses(routed, mixed, new, self.base_classes)})

    def diagnose(self, kept, labels):
        """With ROUTE auto, what being told nothing costs."""
        return routing_report(kept["guesses"], labels, self.base_classes) if "guesses" in kept else {}
