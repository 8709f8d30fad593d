"""TCP."""

from dassl.config.options import above, at_least, choice, flag, whole, with_defaults
from dassl.engine import TRAINER_REGISTRY
from promptshift.bases.optimizers import with_eps
from promptshift.bases.shared_context import SHARED_CONTEXT_DEFAULTS, SharedContextTrainer
from promptshift.modeling.conditional import ClassAwarePromptLearner
from promptshift.modeling.templates import fill, template_of
from promptshift.modeling.towers.text_tower import TextTower

PAPER, CODE = "arXiv 2311.18231", "TCP's trainers/tcp.py"
# the released code's fixed texts, where they are not those of the CoOp family
OWN_TEMPLATES = {
    "FGVCAircraft": "a photo of an aircraft {}.",
    "DescribableTextures": "a photo of a {}, a type of texture.",
    "Food101": "a photo of a {}, a type of food.",
}
# what the released code writes behind the context, where it is not "{}."; Cars has no full stop
BEHIND_CONTEXT = {
    "OxfordPets": "{}, a type of pet.",
    "OxfordFlowers": "{}, a type of flower.",
    "FGVCAircraft": "{}, a type of aircraft.",
    "DescribableTextures": "{} texture.",
    "StanfordCars": "{}, a type of car",
    "Food101": "{}, a type of food.",
    "UCF101": "person doing {}.",
}


@TRAINER_REGISTRY.register()
class TCP(SharedContextTrainer):
    """Textual-based class-aware prompt tuning (Yao et al. 2024, arXiv 2311.18231).

    g_k^clip is class k's feature under the dataset's hand-written text. A bottleneck makes M vectors of it,
    P_k = linear2(quick_gelu(linear1(g_k^clip))), which replace the M positions behind the start token at the input of
    text block LAYER; before, a context shared by all classes stands there, as in CoOp. With g_k the class feature:
    L = cross-entropy(exp(logit_scale) * cos(f(x), g_k)) + W * (1 - mean_k cos(g_k, g_k^clip)), W = 8.
    New classes get their P_k from their own texts.

    Differs from the paper: none known. Differs from the released code: LAYER (8 of 12 blocks) and W are keys, which
    are literals there; the bottleneck makes N_CTX vectors (there always 4, and only for text towers of width 512);
    everything runs in PREC and what is learnt in float32 (there fp32 fails, and so does amp); Adam's epsilon is
    ADAM_EPS (there, Dassl's source is edited).

    Shapes: B images, K classes, M context vectors, D text width, E embedding.
    """

    BLOCK = "TCP"
    DEFAULTS = with_defaults(SHARED_CONTEXT_DEFAULTS, "TCP's scripts", N_CTX=4) | dict(
        CSC=choice(False, source=CODE, about="the context is shared"),
        CTX_INIT=flag(False, source=CODE, about="start from 'a photo of a', whatever N_CTX is; False: N(0, 0.02^2)"),
        CLASS_TOKEN_POSITION=choice("end", source=CODE),
        LAYER=whole(8, least=0, source=CODE, about="text block at whose input the class's vectors come in, from 0"),
        W=at_least(0, 8.0, source=PAPER, about="weight of the distance to the hand-written texts"),
        ADAM_EPS=above(0, 1e-3, source="TCP's README", about="epsilon of Adam and its like"),
        RELEASED=dict(W=None, ALPHA=None),
    )
    KEY_ALIASES = {
        "TRAINER.COOP.W": "TRAINER.TCP.RELEASED.W",  # names folders in the released scripts, weighs nothing
        "TRAINER.COOP.ALPHA": "TRAINER.TCP.RELEASED.ALPHA",
        "TRAINER.COOP": "TRAINER.TCP",
    }

    def build_prompts(self, clip, classnames):
        o, chunk, name = self.options, self.cfg.MODEL.TEXT_CHUNK, self.cfg.DATASET.NAME
        template = OWN_TEMPLATES.get(name) or template_of(name)
        self.hand_features = TextTower(clip, chunk).encode_texts(fill(template, classnames))  # (K, E)
        self.prompt_learner = ClassAwarePromptLearner(
            clip,
            classnames,
            self.hand_features,
            o.N_CTX,
            "a photo of a" if o.CTX_INIT else "",
            BEHIND_CONTEXT.get(name, "{}."),
            o.LAYER,
            chunk,
            "TRAINER.TCP.LAYER",
        )
        return {"prompt_learner": self.prompt_learner}

    def optimizer_of(self, module):
        return with_eps(super().optimizer_of(module), self.options.ADAM_EPS)

    def regularisers(self, batch, features, classes):
        return {"knowledge": self.options.W * (1 - (classes * self.hand_features).sum(dim=-1).mean())}
