"""CoCoOp."""
import torch
import torch.nn.functional as F
from torch import nn

from dassl.engine import TRAINER_REGISTRY
from promptshift.engine.prompt_trainer import PromptTrainer
from promptshift.modeling.prompts import PromptLearner


class MetaNet(nn.Module):
    """Two linear layers with a bottleneck of a sixteenth: image feature (B, E) -> context shift (B, D)."""

    def __init__(self, embed_dim: int, text_width: int):
        super().__init__()
        self.linear1 = nn.Linear(embed_dim, embed_dim // 16)
        self.linear2 = nn.Linear(embed_dim // 16, text_width)

    def forward(self, features):
        return self.linear2(F.relu(self.linear1(features)))


class ConditionalPromptLearner(PromptLearner):
    """Context vectors shared by all classes, shifted by a network of the image; saved as ctx, meta_net.linear{1,2}."""

    def __init__(self, clip, classnames, n_ctx, ctx_init, max_tokens):
        super().__init__(clip, classnames, n_ctx, ctx_init, max_tokens=max_tokens)
        self.meta_net = MetaNet(clip.embed_dim, clip.text_width)

    def forward(self, features):
        """Normalised image features (B, E) -> class features of each image (B, K, E), L2-normalised."""
        shift = self.meta_net(features).unsqueeze(1)           # (B, 1, D)
        return self.template.features_each(self.ctx + shift)   # contexts (B, M, D)


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
    DEFAULTS = dict(N_CTX=16, CTX_INIT="", PREC="fp16")

    def build_prompts(self, clip, classnames):
        o = self.options
        self.prompt_learner = ConditionalPromptLearner(clip, classnames, o.N_CTX, o.CTX_INIT,
                                                       self.cfg.MODEL.TEXT_CHUNK)
        return {"prompt_learner": self.prompt_learner}

    def predict_features(self, features):
        classes = self.prompt_learner(features).float()                                # (B, K, E)
        return self.clip.logit_scale * torch.einsum("be,bke->bk", features, classes)
