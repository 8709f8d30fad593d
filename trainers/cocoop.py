"""CoCoOp."""

import torch

from dassl.engine import TRAINER_REGISTRY
from promptshift.bases.prompt_trainer import PromptTrainer
from promptshift.modeling.conditional import ConditionalPromptLearner
from promptshift.runs.public_files.public_blocks import PUBLIC_BLOCKS


@TRAINER_REGISTRY.register()
class CoCoOp(PromptTrainer):
    """Conditional context optimization (Zhou et al. 2022, arXiv 2203.05557).

    Every image x has its own context v_m(x) = v_m + pi, pi = h_theta(f(x)) from the meta-net h (equation 3):
    logits = exp(logit_scale) * cos(f(x), class features under v(x)); cross-entropy.

    Differs from the released code: any batch size runs at a bounded memory (MODEL.TEXT_CHUNK), [SOS, context] is
    run once per image instead of once per image and class; context and meta-net are kept in float32 whatever PREC
    is (there, fp16 unless PREC is amp). SPG (arXiv 2404.19286) trains this baseline at batch size 32, the paper at 1.

    Shapes: B images, K classes, M context vectors, D text width, E embedding.
    """

    BLOCK = "COCOOP"
    DEFAULTS = PUBLIC_BLOCKS["COCOOP"]

    def build_prompts(self, clip, classnames):
        o = self.options
        self.prompt_learner = ConditionalPromptLearner(clip, classnames, o.N_CTX, o.CTX_INIT, self.cfg.MODEL.TEXT_CHUNK)
        return {"prompt_learner": self.prompt_learner}

    def predict_features(self, features):
        classes = self.prompt_learner(features).float()  # (B, K, E)
        return self.clip.logit_scale * torch.einsum("be,bke->bk", features, classes)
