"""VPT for CLIP."""

from dassl.engine import TRAINER_REGISTRY
from promptshift.bases.prompt_trainer import PromptTrainer
from promptshift.modeling.multimodal import IndependentPrompts
from promptshift.modeling.templates import clean_name, fill
from promptshift.modeling.towers.text_tower import TextTower
from promptshift.runs.public_files.public_blocks import PUBLIC_BLOCKS


@TRAINER_REGISTRY.register()
class VPT(PromptTrainer):
    """Visual prompt tuning (Jia et al. 2022, arXiv 2203.12119) of CLIP's image tower, as MaPLe's repository runs it.

    Learns n tokens at the input of the vision transformer (shallow) and, with PROMPT_DEPTH_VISION d > 1, n more at
    the inputs of blocks 1 .. d-1 (deep); class features are those of the text "<CTX_INIT> <class>.", frozen.
    logits = exp(logit_scale) * cos(image feature, class feature); cross-entropy.

    Differs from the paper: prompts stand at the end of the sequence, and there is no head to train. Differs from the
    released code: only the prompts are saved, not CLIP; prompts are kept in float32 whatever PREC is. SPG's setting
    (arXiv 2404.19286) is 10 shallow tokens.

    Shapes: B images, K classes, n prompts, W vision width, E embedding.
    """

    BLOCK = "VPT"
    DEFAULTS = PUBLIC_BLOCKS["VPT"]
    FROZEN_IMAGES = False

    def build_prompts(self, clip, classnames):
        o, chunk = self.options, self.cfg.MODEL.TEXT_CHUNK
        texts = fill(f"{clean_name(o.CTX_INIT)} {{}}.".lstrip(), classnames)
        self.text_features = TextTower(clip, chunk).encode_texts(texts)  # (K, E)
        self.prompt_learner = IndependentPrompts(
            clip, classnames, 0, 0, o.N_CTX_VISION, o.PROMPT_DEPTH_VISION, o.CTX_INIT, chunk, self.BLOCK
        )
        return {"prompt_learner": self.prompt_learner}

    def class_features(self):
        return self.text_features

    def image_features(self, images):
        return self.prompt_learner.image_features(images.to(self.device))
