"""A trainer inside another one: it never runs, it lends its prompts, features and losses."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor
from yacs.config import CfgNode as CN

from dassl.config import merge_opts
from promptshift.bases.prompt_trainer import PromptTrainer
from promptshift.modeling.clip import FrozenCLIP

# what an inner trainer must not do of its own: it has no training images and starts from no other weights
_IDLE = ("DATALOADER.TRAIN_X.FEATURE_VIEWS", 0, "MODEL.INIT_WEIGHTS", "")


@runtime_checkable
class ProposesNegatives(Protocol):
    """A trainer that names hard negatives otherwise than by its own logits (DPC, arXiv 2503.13443)."""

    def proposals(self, batch: dict) -> Tensor:
        """Logits (B, K) of a training batch whose largest wrong ones are hard negatives."""


def inner_trainer(
    cls: type[PromptTrainer], cfg: CN, outer: PromptTrainer, opts: list, clip: FrozenCLIP | None = None
) -> PromptTrainer:
    """Builds a trainer of class `cls` with the data of another one.

    Args:
        cls: class of the trainer.
        cfg: the outer trainer's configuration.
        outer: the trainer whose dataset and loaders it sees.
        opts: KEY VALUE pairs that turn `cfg` into the inner configuration.
        clip: the frozen CLIP to share; None to load the one that `opts` name.
    """
    inner = cfg.clone()
    inner.defrost()
    merge_opts(inner, ["TRAINER.NAME", cls.__name__, *_IDLE, *opts], source=f"TRAINER.{outer.BLOCK}")
    inner.freeze()
    return cls(inner, data=outer.dm, clip=clip)
