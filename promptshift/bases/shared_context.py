"""The base of trainers that learn a context of the text tower alone: CoOp, KgCoOp, SPG's prompt labels.

It stands here and not in trainers/coop.py, so that a file of that name from the public repository may replace ours
without taking the other trainers along.
"""

from torch import nn
from yacs.config import CfgNode as CN

from dassl.utils.errors import UserError
from promptshift.bases.prompt_trainer import PromptTrainer
from promptshift.modeling.clip import FrozenCLIP
from promptshift.modeling.prompts import PromptLearner
from promptshift.runs.public_files.public_blocks import PUBLIC_BLOCKS

SHARED_CONTEXT_DEFAULTS = PUBLIC_BLOCKS["COOP"]


class SharedContextTrainer(PromptTrainer):
    """M context vectors shared by all classes, or one set per class (CSC); CLIP stays frozen."""

    DEFAULTS = SHARED_CONTEXT_DEFAULTS

    @classmethod
    def check_options(cls, cfg: CN) -> None:
        super().check_options(cfg)
        if cfg.TRAINER[cls.BLOCK].CSC and cfg.DATASET.SUBSAMPLE_CLASSES == "new":
            raise UserError(
                f"TRAINER.{cls.BLOCK}.CSC: contexts of single classes do not exist for new ones; allowed "
                "with DATASET.SUBSAMPLE_CLASSES new: False"
            )

    def build_prompts(self, clip: FrozenCLIP, classnames: list[str]) -> dict[str, nn.Module]:
        o = self.options
        self.prompt_learner = PromptLearner(
            clip, classnames, o.N_CTX, o.CTX_INIT, o.CSC, o.CLASS_TOKEN_POSITION, self.cfg.MODEL.TEXT_CHUNK
        )
        return {"prompt_learner": self.prompt_learner}

    def class_features(self):
        return self.prompt_learner()
