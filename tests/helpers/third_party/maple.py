"""MaPLe on the public API: the prompts of both towers are arguments of CLIP's modules."""

from copy import deepcopy

import torch
from torch import nn

from dassl.engine import TRAINER_REGISTRY

from . import coop


class MultiModalPromptLearner(coop.PromptLearner):
    def __init__(self, options, classnames, clip_model):
        super().__init__(options.N_CTX, options.CTX_INIT, classnames, clip_model)
        width, dtype = clip_model.visual.conv1.weight.shape[0], clip_model.dtype
        text_width = self.ctx.shape[1]
        self.proj = nn.Linear(text_width, width).type(dtype)
        deep = options.PROMPT_DEPTH - 1
        self.compound_prompts_text = nn.ParameterList(
            [nn.Parameter(nn.init.normal_(torch.empty(options.N_CTX, text_width), std=0.02)) for _ in range(deep)]
        )
        layer = nn.Linear(text_width, width)  # one draw for all of them, as in the public file
        self.compound_prompt_projections = nn.ModuleList(deepcopy(layer) for _ in range(deep))

    def vision_prompts(self):
        pairs = zip(self.compound_prompt_projections, self.compound_prompts_text)
        return self.proj(self.ctx), [projection(prompt) for projection, prompt in pairs]


class CustomCLIP(coop.CustomCLIP):
    def learner(self, cfg, classnames, clip_model):
        return MultiModalPromptLearner(cfg.TRAINER.MAPLE, classnames, clip_model)

    def features(self, image):
        learner = self.prompt_learner
        shared_ctx, deep_vision = learner.vision_prompts()
        images = self.image_encoder(image.type(self.dtype), shared_ctx, deep_vision)
        return images, self.text_encoder(learner(), learner.tokenized_prompts, learner.compound_prompts_text)


@TRAINER_REGISTRY.register()
class MaPLe(coop.CoOp):
    block, registered, model_class = "MAPLE", "MultiModalPromptLearner", CustomCLIP

    @staticmethod
    def design(cfg):
        return {
            "trainer": "MaPLe",
            "vision_depth": 0,
            "language_depth": 0,
            "vision_ctx": 0,
            "language_ctx": 0,
            "maple_length": cfg.TRAINER.MAPLE.N_CTX,
        }
