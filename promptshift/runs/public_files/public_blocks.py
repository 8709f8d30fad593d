"""What the train.py of the public repositories declares for their trainers: the released values, in one place.

A trainer file of theirs brings no block of its own and finds these; ours take their defaults from here, changed where
they say so.
"""

from __future__ import annotations

from dassl.config.options import Option, above, at_least, choice, flag, number, text, whole
from promptshift.modeling.allowed import POSITIONS, PRECISIONS
from promptshift.modeling.templates import TEMPLATE_SETS, templates_of

COOP, COCOOP, MAPLE = "arXiv 2109.01134", "arXiv 2203.05557", "arXiv 2210.03117"
VPT, PROMPTSRC, PROMPTKD = "arXiv 2203.12119", "arXiv 2307.06948", "arXiv 2403.02781"


def precision(default: str = "fp16") -> Option:
    """PREC: the precision of the frozen CLIP."""
    return choice(*PRECISIONS, default=default, about="precision of the frozen CLIP; what is learnt is float32")


def start_words(default: str, source: str = "") -> Option:
    """CTX_INIT: the words that a context starts from."""
    return text(default, source=source, about="words that the context starts from; '' for N(0, 0.02^2)")


def template_list(*default: str, source: str = "") -> Option:
    """TEMPLATES: hand-written prompts whose class features are averaged."""
    allowed = f"a list of texts with {{}}, or of dataset, {', '.join(TEMPLATE_SETS)}"

    def fits(value: object) -> bool:
        words = isinstance(value, list | tuple) and all(isinstance(word, str) for word in value)
        return bool(value) and words and all("{}" in text for text in templates_of(value, ""))

    words = ("dataset", *TEMPLATE_SETS)
    return Option(list(default), allowed, fits, words, source, "prompts with {} for the class, or sets of them")


def _both_towers(n_vision: int, n_text: int, source: str) -> dict:
    return dict(
        N_CTX_VISION=whole(n_vision, least=0, source=source, about="vision prompts of a block"),
        N_CTX_TEXT=whole(n_text, least=0, source=source, about="text prompts of a block"),
        CTX_INIT=start_words("a photo of a", source),
        PREC=precision(),
        PROMPT_DEPTH_VISION=whole(9, least=0, source=source, about="vision blocks with prompts; 0: none"),
        PROMPT_DEPTH_TEXT=whole(9, least=0, source=source, about="text blocks with prompts; 0: none"),
    )


def _maple() -> dict:
    return dict(
        N_CTX=whole(2, least=1, source=MAPLE, about="context vectors of a block"),
        CTX_INIT=start_words("a photo of a", MAPLE),
        PREC=precision(),
        PROMPT_DEPTH=whole(9, least=1, source=MAPLE, about="blocks of each tower with prompts of their own"),
    )


PUBLIC_BLOCKS = {
    "COOP": dict(
        N_CTX=whole(16, least=1, source=COOP, about="context vectors; with CTX_INIT as many as its tokens"),
        CSC=flag(False, source=COOP, about="a context for each class"),
        CTX_INIT=start_words("", COOP),
        PREC=precision(),
        CLASS_TOKEN_POSITION=choice(*POSITIONS, source=COOP, about="where the class name stands"),
    ),
    "COCOOP": dict(
        N_CTX=whole(16, least=1, source=COCOOP, about="context vectors; with CTX_INIT as many as its tokens"),
        CTX_INIT=start_words("", COCOOP),
        PREC=precision(),
    ),
    "MAPLE": _maple(),
    "PROMPTALIGN": _maple(),
    "IVLP": _both_towers(2, 2, MAPLE),
    "VPT": dict(
        N_CTX_VISION=whole(2, least=1, source=VPT, about="prompts of a block"),
        CTX_INIT=text("a photo of a", about="words before the class name; they stay"),
        PREC=precision(),
        PROMPT_DEPTH_VISION=whole(1, least=1, source=VPT, about="vision blocks with prompts; 1: shallow"),
    ),
    "PROMPTSRC": _both_towers(4, 4, PROMPTSRC)
    | dict(
        TEXT_LOSS_WEIGHT=at_least(0, 25.0, source=PROMPTSRC, about="of mean |g - frozen g|"),
        IMAGE_LOSS_WEIGHT=at_least(0, 10.0, source=PROMPTSRC, about="of mean |f - frozen f|"),
        GPA_MEAN=number(15.0, source=PROMPTSRC, about="epoch that weighs most in the mean of the prompts"),
        GPA_STD=above(0, 1.0, source=PROMPTSRC, about="width of these weights, in epochs"),
    ),
    "PROMPTKD": _both_towers(4, 4, PROMPTKD)
    | dict(
        PROJECT_LAYER=choice(1, 2, default=2, source=PROMPTKD, about="layers of the projector; 1: a linear map"),
        CE_WEIGHT=at_least(0, 0.0, source=PROMPTKD, about="of the cross-entropy with labels"),
        KD_WEIGHT=at_least(0, 1.0, source=PROMPTKD, about="of the distillation"),
        TEMPERATURE=above(0, 1.0, source=PROMPTKD, about="of the distillation"),
        TEACHER_NAME=text("ViT-L/14", source=PROMPTKD, about="the teacher's CLIP, as MODEL.BACKBONE.NAME"),
    ),
}

# Keys that no public file reads but the files of configs/trainers set: they are there where a public file took the
# place of ours. Values of their kind, not defaults of anything.
CONFIGURED = {
    "KGCOOP": dict(N_CTX=4, CTX_INIT="a photo of a", CSC=False, PREC="fp16", W=8.0, DISTANCE="euclidean"),
    "PROMPTKD": dict(MODAL="base2novel"),
    "PROMPTSRC": dict(TEMPLATES=[]),
    "ZSCLIP": dict(PREC="fp16", TEMPLATE=""),
}
