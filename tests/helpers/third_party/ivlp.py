"""Independent prompts in both towers on the public API: CLIP owns them, under names with VPT."""

from dassl.engine import TRAINER_REGISTRY

from . import coop


class CustomCLIP(coop.CustomCLIP):
    def learner(self, cfg, classnames, clip_model):
        options = cfg.TRAINER.IVLP
        return coop.PromptLearner(options.N_CTX_TEXT, options.CTX_INIT, classnames, clip_model)


@TRAINER_REGISTRY.register()
class IVLP(coop.CoOp):
    block, registered, model_class = "IVLP", "VLPromptLearner", CustomCLIP

    @staticmethod
    def design(cfg):
        options = cfg.TRAINER.IVLP
        return {
            "trainer": "IVLP",
            "vision_depth": options.PROMPT_DEPTH_VISION,
            "language_depth": options.PROMPT_DEPTH_TEXT,
            "vision_ctx": options.N_CTX_VISION,
            "language_ctx": options.N_CTX_TEXT,
        }

    @staticmethod
    def learns(name):
        return "prompt_learner" in name or "VPT" in name
