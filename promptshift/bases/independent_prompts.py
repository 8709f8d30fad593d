"""The base of trainers that learn prompts of both towers, each for itself: IVLP, PromptSRC.

It stands here and not in trainers/independentVL.py, so that a file of that name from the public repository may
replace ours without taking the other trainers along.
"""

from torch import Tensor, nn

from promptshift.bases.prompt_trainer import PromptTrainer
from promptshift.modeling.clip import FrozenCLIP
from promptshift.modeling.multimodal import IndependentPrompts
from promptshift.modeling.templates import clean_name, fill
from promptshift.modeling.towers.text_tower import TextTower
from promptshift.runs.public_files.public_blocks import PUBLIC_BLOCKS

INDEPENDENT_DEFAULTS = PUBLIC_BLOCKS["IVLP"]


class IndependentPromptsTrainer(PromptTrainer):
    """Prompts at the inputs of the first blocks of both towers; a tower at depth 0 stays as it is.

    Without text prompts the class features are those of "<CTX_INIT> <class>.", without vision prompts the image
    features are frozen.
    """

    DEFAULTS = INDEPENDENT_DEFAULTS

    @property
    def FROZEN_IMAGES(self) -> bool:
        return self.prompt_learner.tower is None

    def build_prompts(self, clip: FrozenCLIP, classnames: list[str]) -> dict[str, nn.Module]:
        o, chunk = self.options, self.cfg.MODEL.TEXT_CHUNK
        self.prompt_learner = IndependentPrompts(
            clip,
            classnames,
            o.N_CTX_TEXT,
            o.PROMPT_DEPTH_TEXT,
            o.N_CTX_VISION,
            o.PROMPT_DEPTH_VISION,
            o.CTX_INIT,
            chunk,
            self.BLOCK,
        )
        if self.prompt_learner.template is None:
            texts = fill(f"{clean_name(o.CTX_INIT)} {{}}.".lstrip(), classnames)
            self.text_features = TextTower(clip, chunk).encode_texts(texts)  # (K, E)
        return {"VLPromptLearner": self.prompt_learner}

    def class_features(self) -> Tensor:
        return self.text_features if self.prompt_learner.template is None else self.prompt_learner.class_features()

    def image_features(self, images: Tensor) -> Tensor:
        if self.FROZEN_IMAGES:
            return self.encode_images(images)
        return self.prompt_learner.image_features(images.to(self.device))
