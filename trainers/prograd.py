"""ProGrad."""

import torch
import torch.nn.functional as F

from dassl.config.options import above, at_least, choice, flag, with_defaults
from dassl.engine import TRAINER_REGISTRY
from promptshift.bases.shared_context import SHARED_CONTEXT_DEFAULTS, SharedContextTrainer
from promptshift.losses import accuracy
from promptshift.modeling.prompts import PromptLearner
from promptshift.modeling.templates import fill, template_of
from promptshift.modeling.towers.text_tower import TextTower

CODE = "ProGrad's train.py"
# the released code's hand-written prompts, where they are not those of the CoOp family; here the category comes first
OWN_TEMPLATES = {
    "OxfordPets": "a type of pet, a photo of a {}.",
    "OxfordFlowers": "a type of flower, a photo of a {}.",
    "FGVCAircraft": "a type of aircraft, a photo of a {}.",
    "DescribableTextures": "a texture of {}.",
    "Food101": "a type of food, a photo of {}.",
}


@TRAINER_REGISTRY.register()
class ProGrad(SharedContextTrainer):
    """Prompt-aligned gradient (Zhu et al. 2023, arXiv 2205.14865).

    CoOp whose steps never go against what zero-shot CLIP knows. g_d is the gradient of the cross-entropy, g_k that of
    KL(zero-shot || learnt) at temperature T, both over the whole context; the step follows
    g = g_d where <g_d, g_k> >= 0, else g_d - LAMBDA * <g_d, g_k> / |g_k|^2 * g_k (equation 5).
    The zero-shot texts are the dataset's hand-written prompt. With CTX_INIT the context starts from that prompt's
    words, the last ones of N_CTX vectors; the others start at zero.

    Differs from the paper: LAMBDA, which is the released code's (1 there too; 0.8 on Flowers102, DTD and EuroSAT with 8
    and 16 shots). Differs from the released code: KL is the divergence's cross-entropy part there as here, so the same
    gradient; zero-shot CLIP runs in PREC (there in float32); gradients are compared in float32 whatever PREC is; `amp`
    and CLASS_TOKEN_POSITION middle work; with CSC every class starts from the words (there CSC is dropped then).

    Shapes: B images, K classes, M context vectors, D text width, E embedding.
    """

    BLOCK = "PROGRAD"
    DEFAULTS = with_defaults(SHARED_CONTEXT_DEFAULTS, CODE, N_CTX=16) | dict(
        CTX_INIT=flag(True, source=CODE, about="start from the words of the dataset's prompt; False: N(0, 0.02^2)"),
        T=above(0, 1.0, source=CODE, about="temperature of the divergence"),
        LAMBDA=at_least(0, 1.0, source=CODE, about="how much of the conflict is taken out; 1: all"),
        RELEASED=dict(LOSS=choice("prograd"), GM=None, ALPHA=None, COOP_ALPHA=None),
    )
    KEY_ALIASES = {
        "LOSS.NAME": "TRAINER.PROGRAD.RELEASED.LOSS",
        "LOSS.GM": "TRAINER.PROGRAD.RELEASED.GM",
        "LOSS.ALPHA": "TRAINER.PROGRAD.RELEASED.ALPHA",
        "LOSS": "TRAINER.PROGRAD",
        "TRAINER.COOP.ALPHA": "TRAINER.PROGRAD.RELEASED.COOP_ALPHA",
        "TRAINER.COOP": "TRAINER.PROGRAD",
    }

    def build_prompts(self, clip, classnames):
        o, chunk, name = self.options, self.cfg.MODEL.TEXT_CHUNK, self.cfg.DATASET.NAME
        template = OWN_TEMPLATES.get(name) or template_of(name)
        self.hand_features = TextTower(clip, chunk).encode_texts(fill(template, classnames))  # (K, E)
        words = template.partition(" {}")[0] if o.CTX_INIT else ""
        self.prompt_learner = PromptLearner(
            clip, classnames, o.N_CTX, words, o.CSC, o.CLASS_TOKEN_POSITION, chunk, pad=True
        )
        return {"prompt_learner": self.prompt_learner}

    def loss(self, batch):
        o, labels, features = self.options, batch["label"].to(self.device), self.learnt_features(batch)  # (B, E)
        logits = self.predict_features(features)  # (B, K)
        known = F.softmax(self.clip.logit_scale * features @ self.hand_features.T / o.T, dim=-1)
        kl = F.cross_entropy(logits / o.T, known) * o.T**2
        (self.guide,) = torch.autograd.grad(kl, [self.prompt_learner.ctx], retain_graph=True)
        return {"loss": F.cross_entropy(logits, labels), "kl_loss": kl.detach(), "acc": accuracy(logits, labels)}

    def after_backward(self, names):
        ctx, guide = self.prompt_learner.ctx, self.guide.float()
        guide = guide / guide.norm().clamp_min(torch.finfo(guide.dtype).tiny)  # nothing is taken out along a zero one
        conflict = (ctx.grad * guide).sum()
        if conflict < 0:
            ctx.grad -= self.options.LAMBDA * conflict * guide
