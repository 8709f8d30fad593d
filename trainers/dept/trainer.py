"""DePT."""

import torch
import torch.nn.functional as F

from dassl.config import merge_opts
from dassl.config.options import above, between, choice, flag, pairs
from dassl.config.options import block as keys_of
from dassl.engine import TRAINER_REGISTRY
from dassl.optim import build_optimizer
from dassl.utils.errors import UserError
from promptshift.bases.inner import inner_trainer
from promptshift.bases.raw_features import RawFeatures
from promptshift.losses import accuracy
from promptshift.modeling.conditional import ConditionalPromptLearner
from promptshift.modeling.multimodal import TwoTowerPrompts
from promptshift.runs.config import flatten
from promptshift.runs.options import complete
from promptshift.runs.public_files.public_blocks import PUBLIC_BLOCKS, precision
from promptshift.runs.wrapped_options import block_pairs
from trainers.dept.heads import DecoupledPrompts, classes_of_released

PAPER, CODE = "arXiv 2309.07439", "DePT's train.py"
BACKBONES = ("CoOp", "CoCoOp", "KgCoOp", "MaPLe")
RELEASED_NAMES = {  # written out, so that `promptshift list` need not import this file
    "ExtrasLinearProbeCoOp": "CoOp",
    "ExtrasLinearProbeCoCoOp": "CoCoOp",
    "ExtrasLinearProbeKgCoOp": "KgCoOp",
    "ExtrasLinearProbeMaPLe": "MaPLe",
    "ELP_CoOp": "CoOp",
    "ELP_CoCoOp": "CoCoOp",
    "ELP_KgCoOp": "KgCoOp",
    "ELP_MaPLe": "MaPLe",
}
_UNREAD = dict(NEW_LAYERS=["linear_probe", "film"], NAMES_TO_UPDATE=["prompt_learner", "linear_probe", "film"])


@TRAINER_REGISTRY.register(aliases=tuple(RELEASED_NAMES))
class DePT(RawFeatures):
    """Decoupled prompt tuning (Zhang et al. 2024, arXiv 2309.07439) on top of another method, TRAINER.DEPT.BACKBONE.

    Beside the method's own similarity head, logits a, a linear head h classifies what belongs to the base classes, on
    features before their L2-normalisation, scaled and shifted channel by channel (one modulation for each modality):
    v' = g_v * v + b_v, t' = g_t * t + b_t. With images v_i, their classes' texts t_{y_i} and lambda = WEIGHT,
    L = (1 - lambda) CE(a, y) + lambda mean(CE(h(t'_{y_i}), y_i), CE(h(v'_i), y_i)) + the method's own regularisers.
    At test (1 - lambda) a + lambda h(v') where all classes are among those trained on, else a alone: a checkpoint names
    the classes of its head. The head and the modulation learn LR_EXP times as fast as the prompts.

    Differs from the paper: none known. Differs from the released code: which classes a head is for is read off the
    checkpoint (there: SUBSAMPLE_CLASSES base, or a dataset called ImageNet..., which is what holds here for released
    checkpoints), so that training on all classes of any dataset works; what is learnt is float32 whatever PREC is;
    HEAD similarity works on CoCoOp, too; the momentum of released checkpoints is left out.

    Shapes: B images, K classes, E embedding.
    """

    BLOCK = "DEPT"
    DEFAULTS = dict(
        PREC=precision(),
        BACKBONE=choice(*BACKBONES, source=PAPER, about="the method that it is on top of"),
        BACKBONE_OPTS=pairs(about="KEY VALUE pairs of its block, which is filled in"),
        HEAD=choice("linear", "similarity", source=CODE, about="similarity: cosines of modulated features"),
        WEIGHT=between(0, 1, 0.7, source=PAPER, about="lambda, of the head in the loss and at test"),
        FUSION=flag(True, source=PAPER, about="at test; False: the head alone"),
        FILM=flag(True, source=PAPER, about="modulate the channels"),
        LR_EXP=above(0, 6.5, source=CODE, about="rate of head and modulation, in those of the prompts"),
        STAGED_LR=flag(True, source=CODE, about="False: one rate for all"),
        BASE_LR_MULT=above(0, 1.0, source=CODE, about="factor on the rate of the prompts"),
        RELEASED=dict({key: choice(value) for key, value in _UNREAD.items()}, ALPHA=None),
    )
    KEY_ALIASES = {
        "TRAINER.LINEAR_PROBE.TYPE": "TRAINER.DEPT.HEAD",
        "TRAINER.LINEAR_PROBE.WEIGHT": "TRAINER.DEPT.WEIGHT",
        "TRAINER.LINEAR_PROBE.TEST_TIME_FUSION": "TRAINER.DEPT.FUSION",
        "TRAINER.FILM.LINEAR_PROBE": "TRAINER.DEPT.FILM",
        **{f"OPTIM.{key}": f"TRAINER.DEPT.{key}" for key in ("LR_EXP", "STAGED_LR", "BASE_LR_MULT")},
        "OPTIM.NEW_LAYERS": "TRAINER.DEPT.RELEASED.NEW_LAYERS",
        "TRAINER.NAMES_TO_UPDATE": "TRAINER.DEPT.RELEASED.NAMES_TO_UPDATE",
        "TRAINER.COOP.ALPHA": "TRAINER.DEPT.RELEASED.ALPHA",
        "TRAINER.COOP.W": "TRAINER.KGCOOP.W",
        **{f"TRAINER.{block}.PREC": "TRAINER.DEPT.PREC" for block in ("COOP", "COCOOP", "KGCOOP", "MAPLE")},
    }

    @classmethod
    def fill_in(cls, cfg):
        """BACKBONE after a released name, and in BACKBONE_OPTS the backbone's whole block."""
        o, name = cfg.TRAINER.DEPT, cfg.TRAINER.NAME
        o.BACKBONE = RELEASED_NAMES.get(name, o.BACKBONE)
        block = TRAINER_REGISTRY.get(o.BACKBONE).BLOCK
        values = flatten(cfg.TRAINER[block])
        if name in RELEASED_NAMES and block == "KGCOOP":  # the released one has CoOp's keys and 1 - cos
            plain = flatten(keys_of(PUBLIC_BLOCKS["COOP"]))
            values |= {key: cfg.TRAINER.COOP[key] for key in plain if cfg.TRAINER.COOP[key] != plain[key]}
            values |= {"DISTANCE": "cosine"}
        own = {f"TRAINER.{block}.{key}": value for key, value in values.items()} | dict(block_pairs(o.BACKBONE_OPTS))
        o.BACKBONE_OPTS = [word for key in sorted(own) for word in (key, own[key])]

    @classmethod
    def check_options(cls, cfg):
        super().check_options(cfg)
        o, inner = cfg.TRAINER.DEPT, cfg.clone()
        host = TRAINER_REGISTRY.get(o.BACKBONE)
        for key, value in block_pairs(o.BACKBONE_OPTS):
            if not key.startswith(f"TRAINER.{host.BLOCK}."):
                raise UserError(f"TRAINER.DEPT.BACKBONE_OPTS: {key} {value!r}; allowed: keys of TRAINER.{host.BLOCK}")
        merge_opts(inner, o.BACKBONE_OPTS, source="TRAINER.DEPT.BACKBONE_OPTS")
        complete(inner, host)

    @property
    def FROZEN_IMAGES(self):
        return self.backbone.FROZEN_IMAGES

    def build_prompts(self, clip, classnames):
        o = self.options
        host = TRAINER_REGISTRY.get(o.BACKBONE)
        own = [*o.BACKBONE_OPTS, f"TRAINER.{host.BLOCK}.PREC", o.PREC]
        self.backbone = inner_trainer(host, self.cfg, self, own, clip)
        ((name, learner),) = self.backbone._models.items()
        released = classes_of_released(self.cfg.DATASET, classnames)
        self.prompts = DecoupledPrompts(learner, classnames, clip.embed_dim, o.HEAD == "linear", o.FILM, released)
        return {"PromptLearner" if name == "prompt_learner" else name: self.prompts}

    def optimizer_of(self, module):
        o, optim = self.options, self.cfg.OPTIM
        new = [p for name, p in module.named_parameters() if name.startswith(("film_lp", "linear_probe"))]
        base = [p for p in module.parameters() if all(p is not other for other in new)]
        rates = (optim.LR * o.BASE_LR_MULT, optim.LR * o.LR_EXP) if o.STAGED_LR else (optim.LR, optim.LR)
        groups = [{"params": part, "lr": rate} for part, rate in zip((base, new), rates) if part]
        return build_optimizer(module, optim, groups)

    def fit_released(self, name, saved):
        return saved | {"optimizer": None}

    # Features as the towers make them, before their L2-normalisation

    def image_features(self, images):
        if self.FROZEN_IMAGES:
            return self.encode_images(images)
        return self.backbone.prompt_learner.image_features(images.to(self.device), normalize=False)

    def text_features(self, unit):
        """Normalised image features (B, E) -> text features (K, E), or of each image (B, K, E), not normalised."""
        learner = self.backbone.prompt_learner
        if isinstance(learner, ConditionalPromptLearner):
            return learner(unit, normalize=False)
        return learner.class_features(normalize=False) if isinstance(learner, TwoTowerPrompts) else learner(False)

    def similarity(self, features, texts):
        """Scaled cosines (B, K) of features (B, E) and texts (K, E) or (B, K, E)."""
        unit, classes = F.normalize(features, dim=-1), F.normalize(texts, dim=-1)
        return self.clip.logit_scale * (classes @ unit.unsqueeze(-1)).squeeze(-1)

    # The two heads

    def head(self, features, texts):
        """The second head's logits of features (B, E): (B, K); texts are read by similarity alone."""
        features, texts = self.prompts.modulated(features, texts)
        if self.options.HEAD == "similarity":
            return self.similarity(features, texts)
        return self.prompts.linear_probe_proj(features)

    def loss(self, batch):
        w, labels, features = self.options.WEIGHT, batch["label"].to(self.device), self.learnt_features(batch)
        unit = F.normalize(features, dim=-1)
        texts = self.text_features(unit).float()
        logits, second, targets = self.similarity(features, texts), self.head(features, texts), labels
        if self.options.HEAD == "linear":  # the texts of the images' classes are its examples, too
            own = texts[labels] if texts.dim() == 2 else texts[torch.arange(len(labels)), labels]  # (B, E)
            of_texts = self.prompts.linear_probe_proj(self.prompts.modulated(features, own)[1])
            second, targets = torch.cat([of_texts, second]), torch.cat([labels, labels])  # (2B, K)
        parts = {"similarity": (1 - w) * F.cross_entropy(logits, labels), "head": w * F.cross_entropy(second, targets)}
        parts |= self.backbone.regularisers(batch, unit, F.normalize(texts, dim=-1))
        return {"loss": torch.stack(list(parts.values())).sum(), **parts, "acc": accuracy(logits, labels)}

    def predict_features(self, features):
        o, unit = self.options, F.normalize(features, dim=-1)
        logits = self.backbone.predict_features(unit) if o.FUSION or not self.prompts.fused else 0.0
        if not self.prompts.fused:
            return logits
        second = self.head(features, self.text_features(unit).float() if o.HEAD == "similarity" else unit)
        return (1 - o.WEIGHT) * logits + o.WEIGHT * second if o.FUSION else second
