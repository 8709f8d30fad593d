"""MaPLe."""

from dassl.engine import TRAINER_REGISTRY
from promptshift.bases.prompt_trainer import PromptTrainer
from promptshift.modeling.multimodal import CoupledPrompts
from promptshift.runs.public_files.public_blocks import PUBLIC_BLOCKS


@TRAINER_REGISTRY.register()
class MaPLe(PromptTrainer):
    """Multi-modal prompt learning (Khattak et al. 2023, arXiv 2210.03117).

    Learns M text vectors at the inputs of the first J = PROMPT_DEPTH text blocks, and a linear layer for each block
    that makes the vision prompts of the same block from them (section 3.2):
    [SOS, P_0, words, class] -> g(class), [CLS, patches, F_0(P_0)] -> f(x), P_i and F_i(P_i) replacing the prompts at
    the input of block i < J. logits = exp(logit_scale) * cos(f(x), g(class)); cross-entropy.
    With N_CTX 2 and CTX_INIT "a photo of a" the first two words are learnt, "of a" stays fixed behind them.

    Differs from the paper: the vision prompts stand at the end of the sequence, as in the released code. Differs from
    the released code: only prompts and projections are saved, not CLIP (released checkpoints load); they are kept in
    float32 whatever PREC is (there in fp16, and fp32 fails); with words, N_CTX may be any number up to theirs (there,
    above 4 the words are dropped). SPG's baseline (arXiv 2404.19286) is this with M = 2.

    Shapes: B images, K classes, M context vectors, D text width, W vision width, E embedding.
    """

    BLOCK = "MAPLE"
    DEFAULTS = PUBLIC_BLOCKS["MAPLE"]
    FROZEN_IMAGES = False

    def build_prompts(self, clip, classnames):
        o = self.options
        self.prompt_learner = CoupledPrompts(
            clip, classnames, o.N_CTX, o.CTX_INIT, o.PROMPT_DEPTH, self.cfg.MODEL.TEXT_CHUNK, self.BLOCK
        )
        return {"MultiModalPromptLearner": self.prompt_learner}

    def class_features(self):
        return self.prompt_learner.class_features()

    def image_features(self, images):
        return self.prompt_learner.image_features(images.to(self.device))
