"""Zero-shot CLIP."""

import logging

from dassl.config.options import text
from dassl.engine import TRAINER_REGISTRY
from promptshift.bases.prompt_trainer import PromptTrainer
from promptshift.modeling.templates import SELECTED, template_of
from promptshift.modeling.towers.text_tower import TextTower
from promptshift.runs.public_files.public_blocks import precision

log = logging.getLogger(f"promptshift.{__name__}")


@TRAINER_REGISTRY.register(aliases=("CLIP_ZS",))
class ZeroshotCLIP(PromptTrainer):
    """CLIP with one hand-written prompt per dataset (Radford et al. 2021, arXiv 2103.00020, section 3.1).

    Nothing is learnt: training goes straight to the test. `TEMPLATE` replaces the dataset's template.

    Differs from the released code: train.py without --eval-only tests instead of failing.
    """

    BLOCK = "ZSCLIP"
    DEFAULTS = dict(
        PREC=precision(), TEMPLATE=text("", holding="{}", about="prompt with {} for the class; '': the dataset's")
    )
    LEARNS = False  # and starts from nothing: protocols make evaluation jobs alone

    def build_prompts(self, clip, classnames):
        tower = TextTower(clip, self.cfg.MODEL.TEXT_CHUNK)
        self.text_features = tower.encode_ensemble(self.templates(), classnames)  # (K, E)
        return {}

    def templates(self) -> list[str]:
        """The templates whose class features are averaged."""
        return [self.options.TEMPLATE or template_of(self.cfg.DATASET.NAME)]

    def class_features(self):
        return self.text_features

    def train(self):
        log.info("Nothing to train: zero-shot")
        self.test()

    def load_model(self, directory, epoch=None):
        """Nothing was saved, so nothing is loaded."""


@TRAINER_REGISTRY.register()
class ZeroshotCLIP2(ZeroshotCLIP):
    """Zero-shot CLIP with the mean of eight templates' class features (the seven selected ones and the dataset's).

    Differs from the released code: the template list is not changed by being used (there, building the trainer
    twice adds the dataset's template twice).
    """

    def templates(self):
        return [*SELECTED, *super().templates()]
