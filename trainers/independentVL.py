"""IVLP."""

from dassl.engine import TRAINER_REGISTRY
from promptshift.bases.independent_prompts import IndependentPromptsTrainer


@TRAINER_REGISTRY.register()
class IVLP(IndependentPromptsTrainer):
    """Independent vision-language prompting, the baseline of MaPLe (Khattak et al. 2023, arXiv 2210.03117, table 1).

    Learns N_CTX_TEXT vectors at the inputs of the first PROMPT_DEPTH_TEXT text blocks and N_CTX_VISION at those of
    the first PROMPT_DEPTH_VISION vision blocks, each tower for itself. A depth of 0 leaves a tower as it is: deep
    language prompting (vision 0; image features are then frozen, and any backbone will do) or deep vision prompting
    (text 0; class features are those of "<CTX_INIT> <class>.").
    logits = exp(logit_scale) * cos(image feature, class feature); cross-entropy.

    Differs from the released code: only the prompts are saved, not CLIP (released checkpoints load); they are kept in
    float32 whatever PREC is; with words, N_CTX_TEXT may be any number up to theirs (there, above 4 they are dropped);
    PROMPT_DEPTH_TEXT 0 is allowed (there, VPT is the trainer for that).

    Shapes: B images, K classes, M text prompts, n vision prompts, D text width, W vision width, E embedding.
    """

    BLOCK = "IVLP"
