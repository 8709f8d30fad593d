"""KgCoOp."""

from dassl.config.options import at_least, choice, with_defaults
from dassl.engine import TRAINER_REGISTRY
from promptshift.bases.shared_context import SHARED_CONTEXT_DEFAULTS, SharedContextTrainer
from promptshift.modeling import templates
from promptshift.modeling.templates import fill
from promptshift.modeling.towers.text_tower import TextTower

PAPER = "arXiv 2303.13283"
# learnt and hand-written class features (K, E), L2-normalised -> their mean distance
DISTANCES = {
    "euclidean": lambda classes, hand: (classes - hand).square().sum(dim=-1).mean(),
    "cosine": lambda classes, hand: (1 - (classes * hand).sum(dim=-1)).mean(),
}


# where the released trainer's hand-written prompt is not CoOp's
TEMPLATES = {"DescribableTextures": "a photo of a {}, a type of texture."}


def template_of(dataset):
    """The released trainer's hand-written prompt of a dataset."""
    return TEMPLATES.get(dataset, templates.template_of(dataset))


@TRAINER_REGISTRY.register()
class KgCoOp(SharedContextTrainer):
    """Knowledge-guided context optimization (Yao et al. 2023, arXiv 2303.13283).

    CoOp whose class features g_i stay near those of the dataset's hand-written prompt, g_i^clip:
    L = cross-entropy + W * 1/K sum_i ||g_i - g_i^clip||^2, both L2-normalised, W = 8.

    DISTANCE `euclidean` is the paper's. Differs from the released code, which takes 1 - cos, half of it: DISTANCE
    `cosine` at the same W is that, and equals `euclidean` at W / 2. Differs from both: see CoOp.

    The hand-written prompts are the released ones, of which that of DescribableTextures is not CoOp's.

    Shapes: K classes, E embedding.
    """

    BLOCK = "KGCOOP"
    DEFAULTS = with_defaults(SHARED_CONTEXT_DEFAULTS, PAPER, N_CTX=4, CTX_INIT="a photo of a") | dict(
        W=at_least(0, 8.0, source=PAPER, about="weight of the distance"),
        DISTANCE=choice(*DISTANCES, source=PAPER, about="cosine: the released code's, half of euclidean"),
    )
    KEY_ALIASES = {"TRAINER.COOP": "TRAINER.KGCOOP"}  # the released configurations set CoOp's block

    def build_prompts(self, clip, classnames):
        texts = fill(template_of(self.cfg.DATASET.NAME), classnames)
        self.hand_features = TextTower(clip, self.cfg.MODEL.TEXT_CHUNK).encode_texts(texts)  # (K, E)
        return super().build_prompts(clip, classnames)

    def regularisers(self, batch, features, classes):
        return {"knowledge": self.options.W * DISTANCES[self.options.DISTANCE](classes, self.hand_features)}
