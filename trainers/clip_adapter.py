"""CLIP-Adapter."""

import torch
import torch.nn.functional as F
from torch import nn

from dassl.config.options import between, text, whole
from dassl.engine import TRAINER_REGISTRY
from dassl.utils.errors import UserError
from promptshift.bases.raw_features import RawFeatures
from promptshift.modeling.templates import template_of
from promptshift.modeling.towers.text_tower import TextTower
from promptshift.runs.public_files.public_blocks import precision

PAPER = "arXiv 2110.04544"


class Adapter(nn.Module):
    """Two linear layers without bias, a ReLU behind each: features (B, E) -> (B, E); saved as fc.0 and fc.2."""

    def __init__(self, width: int, reduction: int):
        super().__init__()
        bottleneck = [nn.Linear(width, width // reduction, bias=False), nn.ReLU()]
        self.fc = nn.Sequential(*bottleneck, nn.Linear(width // reduction, width, bias=False), nn.ReLU())

    def forward(self, features):
        return self.fc(features)


@TRAINER_REGISTRY.register(aliases=("CLIPAdapter",))
class CLIP_Adapter(RawFeatures):
    """A bottleneck behind the frozen image tower (Gao et al. 2021, arXiv 2110.04544).

    f' = RATIO A(f) + (1 - RATIO) f on the image feature before it is normalised; logits = exp(logit_scale) cos(f', t)
    with t of the dataset's hand-written prompt; cross-entropy.

    New classes: the adapter knows no classes, so it is used as it is with texts of the new names.

    Differs from the paper: its adapter on the text side and its search for the best ratio are in no released code and
    not here; a ratio is set with RATIO. Differs from the released code: the width is the backbone's (there 1024, of
    RN50), text features are computed once and not in every step, PREC is heeded (there CLIP is float32 whatever it
    says, the default here).

    Shapes: B images, K classes, E embedding.
    """

    BLOCK = "CLIP_ADAPTER"
    DEFAULTS = dict(
        PREC=precision("fp32"),
        RATIO=between(0, 1, 0.2, source=PAPER, about="share of the adapted feature"),
        REDUCTION=whole(4, least=1, source=PAPER, about="the bottleneck is the embedding's width divided by this"),
        TEMPLATE=text("", holding="{}", about="prompt with {} for the class; '': the dataset's"),
    )

    def build_prompts(self, clip, classnames):
        o = self.options
        if o.REDUCTION > clip.embed_dim:
            raise UserError(f"TRAINER.CLIP_ADAPTER.REDUCTION: {o.REDUCTION}; allowed: 1 to {clip.embed_dim}")
        templates = [o.TEMPLATE or template_of(self.cfg.DATASET.NAME)]
        self.text_features = TextTower(clip, self.cfg.MODEL.TEXT_CHUNK).encode_ensemble(templates, classnames)  # (K, E)
        self.adapter = Adapter(clip.embed_dim, o.REDUCTION)
        return {"clip_adapter": self.adapter}

    def class_features(self):
        return self.text_features

    def predict_features(self, features):
        """Raw image features (B, E) -> logits (B, K)."""
        ratio = self.options.RATIO
        with torch.autocast(self.device.type, enabled=False):  # rounding would cost more than two small layers do
            mixed = ratio * self.adapter(features) + (1 - ratio) * features
            return self.clip.logit_scale * F.normalize(mixed, dim=-1) @ self.text_features.T
