"""VPT for CLIP."""
import torch.nn.functional as F
from torch import nn

from dassl.engine import TRAINER_REGISTRY
from promptshift.engine.prompt_trainer import PromptTrainer
from promptshift.modeling.templates import fill
from promptshift.modeling.text_tower import TextTower
from promptshift.modeling.tokens import clean_name
from promptshift.modeling.vision_tower import VisionPrompts, VisionTower


class VisualPromptLearner(nn.Module):
    """The prompts, under the names `image_encoder.VPT` and `image_encoder.transformer.resblocks.<i>.VPT_shallow`.

    The state dict holds the prompts alone; released checkpoints hold all of CLIP beside them, which is left out.
    """

    def __init__(self, tower: VisionTower, n: int, depth: int):
        super().__init__()
        self.image_encoder = VisionPrompts(tower, n, depth, "VPT")
        self.register_load_state_dict_pre_hook(_keep_own_names)


def _keep_own_names(module, state, prefix, *_):
    own = {prefix + name for name, _ in module.named_parameters()}
    for key in [k for k in state if k.startswith(prefix) and k not in own]:
        del state[key]


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
    DEFAULTS = dict(N_CTX_VISION=2, CTX_INIT="a photo of a", PREC="fp16", PROMPT_DEPTH_VISION=1)
    FROZEN_IMAGES = False

    def build_prompts(self, clip, classnames):
        o = self.options
        texts = fill(f"{clean_name(o.CTX_INIT)} {{}}.".lstrip(), classnames)
        self.text_features = TextTower(clip, self.cfg.MODEL.TEXT_CHUNK).encode_texts(texts)  # (K, E)
        self.tower = VisionTower(clip, "VPT")
        self.prompt_learner = VisualPromptLearner(self.tower, o.N_CTX_VISION, o.PROMPT_DEPTH_VISION)
        return {"prompt_learner": self.prompt_learner}

    def class_features(self):
        return self.text_features

    def image_features(self, images):
        prompts = self.prompt_learner.image_encoder
        features = self.tower.encode(images.to(self.device), prompts.VPT, prompts.deep)
        return F.normalize(features.float(), dim=-1)
