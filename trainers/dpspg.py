"""DPSPG: positive and negative domain prompt labels, then two generators."""
import torch
import torch.nn.functional as F
from torch import nn

from dassl.engine import TRAINER_REGISTRY
from dassl.utils import load_checkpoint
from dassl.utils.errors import UserError
from promptshift.engine.prompt_trainer import PromptTrainer
from promptshift.engine.stages import domain_stage
from promptshift.losses import accuracy, negative_label_loss
from promptshift.modeling.generators import TransformerGenerator
from promptshift.modeling.prompts import PromptLearner, PromptTemplate

RELEASED_KEYS = {"TRAINER.SPG": "TRAINER.DPSPG", "ALPHA": "TRAINER.DPSPG.ALPHA", "EARLY": "TRAINER.DPSPG.EARLY",
                 "LATE": "TRAINER.DPSPG.LATE"}
DEFAULTS = dict(
    N_CTX=4, CSC=False, CLASS_TOKEN_POSITION="end", PREC="fp16",
    POS_CTX_INIT="a photo of a", NEG_CTX_INIT="a photo without a",
    # stage one: one pair of prompt labels per domain
    LABELS=dict(LR=0.002, MAX_EPOCH=70, BATCH_SIZE=32, WARMUP_EPOCH=1, FEATURE_VIEWS=0),
    POS_WEIGHT=0.0,    # weight of the wrong classes in the negative loss; 0: number of classes - 1, as released
    VAL_ALPHA=1.0,     # alpha of stage one's validation score (released: 1, not ALPHA)
    # stage two: the generators
    ALPHA=0.2, LAYERS=4, HEADS=8, FEEDFORWARD=2048, DROPOUT=0.1,
    EARLY=0,           # train only the first EARLY epochs; 0: all
    LATE=0,            # validate and keep checkpoints only after epoch LATE
)


class DualPromptLearner(nn.Module):
    """A positive and a negative context, each shared by all classes."""

    def __init__(self, clip, classnames, options, max_tokens):
        super().__init__()
        shared = (options.CSC, options.CLASS_TOKEN_POSITION, max_tokens)
        self.pos = PromptLearner(clip, classnames, options.N_CTX, options.POS_CTX_INIT, *shared)
        self.neg = PromptLearner(clip, classnames, options.N_CTX, options.NEG_CTX_INIT, *shared)
        self.pos_ctx, self.neg_ctx = self.pos.ctx, self.neg.ctx

    def state_dict(self, *args, **kwargs):
        """{pos_ctx, neg_ctx}, the names of the released checkpoints."""
        return {"pos_ctx": self.pos_ctx.detach(), "neg_ctx": self.neg_ctx.detach()}

    def load_state_dict(self, state, strict=True):
        with torch.no_grad():
            self.pos_ctx.copy_(state["pos_ctx"])
            self.neg_ctx.copy_(state["neg_ctx"])


@TRAINER_REGISTRY.register(aliases=("DPSPG_CoOp",))
class DPSPGLabels(PromptTrainer):
    """Stage one of DPSPG (arXiv 2505.18770): positive and negative prompt labels of one domain.

    L = CE(scale * s+, y) + BCE(scale * s-, 1 - onehot(y)); the negative prompt scores wrong classes high and the
    true one low. s+ and s- are cosines of the image feature with class features under either context.

    Differs from the released code: weight decay and warm-up are what the configuration says (there, argparse
    defaults override the YAML); labels are keyed by seed; contexts stay in float32.

    Shapes: B images, K classes, M context vectors, D text width, E embedding.
    """

    BLOCK, DEFAULTS, KEY_ALIASES = "DPSPG", DEFAULTS, RELEASED_KEYS
    HASHED_OPTIONS = ("N_CTX", "CSC", "CLASS_TOKEN_POSITION", "PREC", "POS_CTX_INIT", "NEG_CTX_INIT", "POS_WEIGHT",
                      "VAL_ALPHA")

    def build_prompts(self, clip, classnames):
        self.learner = DualPromptLearner(clip, classnames, self.options, self.cfg.MODEL.TEXT_CHUNK)
        return {"prompt_learner": self.learner}

    def scores(self, features):
        """-> positive and negative logits, both (B, K)."""
        scale = self.clip.logit_scale
        return scale * features @ self.learner.pos().float().T, scale * features @ self.learner.neg().float().T

    def predict_features(self, features):
        pos, neg = self.scores(features)
        return pos - self.options.VAL_ALPHA * neg

    def loss(self, batch):
        labels = batch["label"].to(self.device)
        pos, neg = self.scores(self.batch_features(batch))
        pos_loss = F.cross_entropy(pos, labels)
        neg_loss = negative_label_loss(neg, labels, self.options.POS_WEIGHT or pos.shape[1] - 1)
        return {"loss": pos_loss + neg_loss, "pos_loss": pos_loss, "neg_loss": neg_loss, "acc": accuracy(pos, labels)}


@TRAINER_REGISTRY.register(aliases=("DPSPG_TRANSFORMER",))
class DPSPG(PromptTrainer):
    """Dual-path stable soft prompt generation (arXiv 2505.18770).

    Two generators map an image feature f to a positive and a negative context; they are trained to reproduce the
    prompt labels of the image's domain:  L = MSE(G+(f), v+_d) + MSE(G-(f), v-_d).
    Prediction: argmax_k  s+_k - ALPHA * s-_k, cosines without logit scale.
    Labels of every source domain (never the target's) are made first, once per domain, seed and configuration.

    Differs from the paper: none known. Differs from the released code: EARLY and LATE are off (there they are set
    per target domain); a stage-one configuration is not overridden by command-line defaults; no label of the
    target is read; test images are scored many at a time (each image is a sequence of its own).

    Shapes: B images, K classes, M context vectors, D text width, E embedding.
    """

    BLOCK, DEFAULTS, KEY_ALIASES = "DPSPG", DEFAULTS, RELEASED_KEYS

    def build_prompts(self, clip, classnames):
        o = self.options
        sizes = (clip.embed_dim, o.N_CTX, clip.text_width, o.LAYERS, o.HEADS, o.FEEDFORWARD, o.DROPOUT)
        self.pos_encoder, self.neg_encoder = TransformerGenerator(*sizes), TransformerGenerator(*sizes)
        self.template = PromptTemplate(clip, classnames, o.N_CTX, position=o.CLASS_TOKEN_POSITION,
                                       max_tokens=self.cfg.MODEL.TEXT_CHUNK)
        if o.EARLY:  # the schedule still runs to MAX_EPOCH, as in the released code
            self.max_epoch = min(self.max_epoch, o.EARLY)
        return {"posencoder": self.pos_encoder, "negencoder": self.neg_encoder}

    def validates_now(self):
        return self.epoch + 1 > self.options.LATE and super().validates_now()

    def before_train(self):
        self.labels = self.prompt_labels()  # {"pos": (domains, M, D), "neg": ...}
        super().before_train()

    def prompt_labels(self):
        """Stage one for every source domain: {"pos", "neg"} -> (all domains, M, D), zeros where not a source."""
        o, data = self.options.LABELS, self.dm.dataset
        changes = ["OPTIM.NAME", "sgd", "OPTIM.LR", o.LR, "OPTIM.MAX_EPOCH", o.MAX_EPOCH, "OPTIM.WEIGHT_DECAY", 5e-4,
                   "OPTIM.LR_SCHEDULER", "cosine", "OPTIM.WARMUP_EPOCH", o.WARMUP_EPOCH,
                   "OPTIM.WARMUP_TYPE", "constant", "OPTIM.WARMUP_CONS_LR", 1e-5,
                   "DATALOADER.TRAIN_X.BATCH_SIZE", o.BATCH_SIZE, "DATALOADER.TRAIN_X.FEATURE_VIEWS", o.FEATURE_VIEWS,
                   "TEST.FINAL_MODEL", "best_val", "TEST.SPLIT", "val", "TEST.EVAL_FREQ", 1]
        if not hasattr(data, "domains"):
            raise UserError(f"DATASET.NAME: DPSPG needs a dataset with named domains, {self.cfg.DATASET.NAME} has none")
        shape = (len(data.domains), self.options.N_CTX, self.clip.text_width)
        labels = {"pos": torch.zeros(shape), "neg": torch.zeros(shape)}
        for index in sorted({item.domain for item in data.train_x}):
            items = [item for item in data.train_x + data.val if item.domain == index]
            folder = domain_stage(self.cfg, "DPSPGLabels", data.domains[index], items, changes)
            state = load_checkpoint(folder / "prompt_learner" / "model-best.pth.tar")["state_dict"]
            labels["pos"][index], labels["neg"][index] = state["pos_ctx"], state["neg_ctx"]
        return {name: label.to(self.device) for name, label in labels.items()}

    def loss(self, batch):
        features, domains = self.batch_features(batch), batch["domain"].to(self.device)
        pos_loss = F.mse_loss(self.pos_encoder(features), self.labels["pos"][domains])
        neg_loss = F.mse_loss(self.neg_encoder(features), self.labels["neg"][domains])
        return {"loss": pos_loss + neg_loss, "pos_loss": pos_loss, "neg_loss": neg_loss}

    def cosines(self, features, generator):
        """Cosine of each image with every class under its own generated context: (B, E) -> (B, K)."""
        classes = self.template.features_each(generator(features)).float()  # (B, K, E)
        return torch.einsum("be,bke->bk", features, classes)

    def predict_features(self, features):
        positive = self.cosines(features, self.pos_encoder)
        if not self.options.ALPHA:
            return positive
        return positive - self.options.ALPHA * self.cosines(features, self.neg_encoder)
