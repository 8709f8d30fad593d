"""PromptSRC."""

from math import exp

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dassl.config.options import names
from dassl.engine import TRAINER_REGISTRY
from dassl.utils.errors import UserError
from promptshift.bases.independent_prompts import IndependentPromptsTrainer
from promptshift.losses import distillation_kl
from promptshift.modeling.templates import IMAGENET_60, fill
from promptshift.modeling.towers.text_tower import TextTower
from promptshift.runs.public_files.public_blocks import PUBLIC_BLOCKS


class WeightedMean:
    """A mean of a module's parameters over epochs that can be stopped and resumed; sums are kept in float64."""

    def __init__(self):
        self.sums: dict[str, Tensor] = {}
        self.weight = 0.0

    @torch.no_grad()
    def add(self, module: nn.Module, weight: float) -> None:
        for name, value in module.named_parameters():
            term = weight * value.double()
            self.sums[name] = self.sums[name] + term if name in self.sums else term
        self.weight += weight

    @torch.no_grad()
    def load_into(self, module: nn.Module) -> None:
        for name, value in module.named_parameters():
            value.copy_(self.sums[name] / self.weight)

    def state(self) -> dict:
        return {"sums": {name: value.cpu() for name, value in self.sums.items()}, "weight": self.weight}

    def load_state(self, state: dict, device: torch.device) -> None:
        self.sums = {name: value.to(device) for name, value in state["sums"].items()}
        self.weight = float(state["weight"])


def gaussian(epoch: int, mean: float, std: float) -> float:
    """Weight of an epoch (counted from 1), not normalised: 1 at the mean."""
    return exp(-(((epoch - mean) / std) ** 2) / 2)


@TRAINER_REGISTRY.register()
class PromptSRC(IndependentPromptsTrainer):
    """Self-regulating prompts (Khattak et al. 2023, arXiv 2307.06948).

    IVLP's prompts under three constraints (section 3.2), frozen counterparts with a hat:
    L = cross-entropy + TEXT_LOSS_WEIGHT * mean |g - g^| + IMAGE_LOSS_WEIGHT * mean |f - f^| + KL(p^ || p) / (B K),
    means over all entries; g^ is the normalised mean of the frozen class features of 60 templates, not normalised
    before. After the last epoch the prompts become their mean over epochs e = 1.. with weights
    N(e; GPA_MEAN, GPA_STD^2), normalised: that mean is tested and saved.

    Differs from the released code: only prompts are averaged (there, all of CLIP too); a resumed run keeps the sum
    (there, it is lost); only the prompts are saved (released checkpoints load); float32 prompts whatever PREC is
    (there, only fp16 runs). TEMPLATES replaces the 60. Under TEST.FINAL_MODEL best_val the mean is a candidate as the
    last epoch, the others are single epochs. Differs from both, as IVLP: with words, N_CTX_TEXT may be any number.

    Shapes: B images, K classes, M text prompts, n vision prompts, D text width, W vision width, E embedding.
    """

    BLOCK = "PROMPTSRC"
    DEFAULTS = PUBLIC_BLOCKS["PROMPTSRC"] | dict(
        TEMPLATES=names(holding="{}", about="prompts of the frozen class features, {} for the class; []: the 60"),
    )

    @classmethod
    def check_options(cls, cfg):
        super().check_options(cfg)
        o, epochs = cfg.TRAINER.PROMPTSRC, cfg.OPTIM.MAX_EPOCH
        if sum(gaussian(e + 1, o.GPA_MEAN, o.GPA_STD) for e in range(epochs)) < 1e-200:
            raise UserError(
                f"TRAINER.PROMPTSRC.GPA_MEAN: {o.GPA_MEAN} with GPA_STD {o.GPA_STD} leaves no epoch of the "
                f"{epochs} of OPTIM.MAX_EPOCH any weight; allowed: means near 1 to {epochs}"
            )

    def build_prompts(self, clip, classnames):
        tower, templates = TextTower(clip, self.cfg.MODEL.TEXT_CHUNK), self.options.TEMPLATES or IMAGENET_60
        rows = [tower.encode_texts(fill(template, classnames), normalize=False) for template in templates]
        self.frozen_classes = F.normalize(torch.stack(rows).mean(dim=0), dim=-1)  # (K, E)
        self.mean, self.last_prompts = WeightedMean(), {}
        return super().build_prompts(clip, classnames)

    def regularisers(self, batch, features, classes):
        o, scale = self.options, self.clip.logit_scale
        frozen = self.batch_features(batch)
        return {
            "text_l1": o.TEXT_LOSS_WEIGHT * F.l1_loss(classes, self.frozen_classes),
            "image_l1": o.IMAGE_LOSS_WEIGHT * F.l1_loss(features, frozen),
            "kl": distillation_kl(scale * features @ classes.T, scale * frozen @ self.frozen_classes.T),
        }

    def before_train(self):
        super().before_train()
        if self.start_epoch == self.max_epoch:  # nothing left to train, the mean is loaded
            return
        if self.start_epoch and not self.mean.sums:
            raise UserError(
                f"{self.cfg.RESUME or self.output_dir}: the checkpoint holds no prompt mean over its "
                f"{self.start_epoch} epochs, so PromptSRC cannot go on from it; use another OUTPUT_DIR"
            )
        if self.last_prompts:  # the run ended here before: go on from the prompts, not from their mean
            self.prompt_learner.load_state_dict(self.last_prompts)

    def after_epoch(self):
        self.aggregate()
        super().after_epoch()

    def aggregate(self) -> None:
        """Adds the epoch's prompts to their mean, which replaces them after the last epoch."""
        self.mean.add(self.prompt_learner, gaussian(self.epoch + 1, self.options.GPA_MEAN, self.options.GPA_STD))
        self.last_prompts = {}
        if self.epoch + 1 == self.max_epoch:
            self.last_prompts = {name: value.clone() for name, value in self.prompt_learner.state_dict().items()}
            self.mean.load_into(self.prompt_learner)

    def extra_state(self):
        return {"mean": self.mean.state(), "last_prompts": self.last_prompts}

    def load_extra_state(self, state):
        if "mean" in state:
            self.mean.load_state(state["mean"], self.device)
            self.last_prompts = dict(state["last_prompts"])
