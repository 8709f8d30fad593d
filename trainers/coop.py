"""CoOp."""
from dassl.engine import TRAINER_REGISTRY
from promptshift.engine.prompt_trainer import PromptTrainer
from promptshift.modeling.prompts import PromptLearner


@TRAINER_REGISTRY.register()
class CoOp(PromptTrainer):
    """Context optimization (Zhou et al. 2022, arXiv 2109.01134).

    Learns M context vectors shared by all classes, or one set per class (CSC); CLIP stays frozen.
    logits = exp(logit_scale) * cos(image feature, class feature); cross-entropy.

    Differs from the released code: the context is kept in float32 whatever PREC is (the released code keeps it in
    fp16 unless PREC is amp); CSC together with CTX_INIT gives every class its own copy of the words (the released
    code drops CSC then); prompts run to their longest end-of-text position.

    Shapes: B images, K classes, M context vectors, D text width, E embedding.
    """

    BLOCK = "COOP"
    DEFAULTS = dict(N_CTX=16, CSC=False, CTX_INIT="", PREC="fp16", CLASS_TOKEN_POSITION="end")

    def build_prompts(self, clip, classnames):
        o = self.options
        self.prompt_learner = PromptLearner(clip, classnames, o.N_CTX, o.CTX_INIT, o.CSC, o.CLASS_TOKEN_POSITION,
                                            self.cfg.MODEL.TEXT_CHUNK)
        return {"prompt_learner": self.prompt_learner}

    def class_features(self):
        return self.prompt_learner()
