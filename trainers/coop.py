"""CoOp."""

from dassl.engine import TRAINER_REGISTRY
from promptshift.bases.shared_context import SharedContextTrainer


@TRAINER_REGISTRY.register()
class CoOp(SharedContextTrainer):
    """Context optimization (Zhou et al. 2022, arXiv 2109.01134).

    Learns M context vectors shared by all classes, or one set per class (CSC); CLIP stays frozen.
    logits = exp(logit_scale) * cos(image feature, class feature); cross-entropy.

    Differs from the released code: the context is kept in float32 whatever PREC is (the released code keeps it in
    fp16 unless PREC is amp); CSC together with CTX_INIT gives every class its own copy of the words (the released
    code drops CSC then); prompts run to their longest end-of-text position.

    Shapes: B images, K classes, M context vectors, D text width, E embedding.
    """

    BLOCK = "COOP"
