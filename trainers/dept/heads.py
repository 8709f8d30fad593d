"""What DePT (arXiv 2309.07439) learns beside the prompts of another method: modulated channels and a linear head."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from yacs.config import CfgNode as CN

from promptshift.modeling.multimodal import keep_own_names

CLASSES, HEAD = "linear_probe_classes", "linear_probe_proj."  # names in a state dict


class Modulation(nn.Module):
    """A scale and a shift of each channel: (..., E) -> (..., E), at first none."""

    def __init__(self, channels: int):
        super().__init__()
        self.scale, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, features: Tensor) -> Tensor:
        return self.scale * features + self.bias


class DecoupledPrompts(nn.Module):
    """The prompts of another method, and the second head, under the released names.

    Saved as `prompt_learner.*` (of MaPLe as MaPLe does), `film_lp_img.*`, `film_lp_text.*`, `linear_probe_proj.*`, and
    the names of the head's classes. Loaded where all classes are among these, the head takes their rows; elsewhere it
    is left out (`fused` is False), which is the released rule for new classes and other datasets. Released checkpoints
    hold all of CLIP, which is dropped, and name no classes.

    Shapes: B images, K classes, E embedding.

    Args:
        learner: the method's own learnable module.
        classnames: K class names.
        channels: E.
        linear: whether there is a linear head.
        film: whether the channels are modulated.
        released_classes: what the rows of a released checkpoint stand for; None: it is left out.
    """

    def __init__(
        self,
        learner: nn.Module,
        classnames: Sequence[str],
        channels: int,
        linear: bool,
        film: bool,
        released_classes: Sequence[str] | None,
    ):
        super().__init__()
        parts = dict(learner.named_children()) if not dict(learner.named_parameters(recurse=False)) else {}
        for name, part in (parts or {"prompt_learner": learner}).items():
            self.add_module(name, part)
        if film:
            self.film_lp_img, self.film_lp_text = Modulation(channels), Modulation(channels)
        if linear:
            self.linear_probe_proj = nn.Linear(channels, len(classnames))
        self.classnames, self.released_classes, self.fused = list(classnames), released_classes, True
        self.register_buffer(CLASSES, torch.tensor(list("\n".join(classnames).encode()), dtype=torch.uint8))
        self.register_load_state_dict_pre_hook(_take_rows)

    def modulated(self, features: Tensor, texts: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, E) and texts (..., E), none normalised -> both modulated, if they are at all."""
        if not hasattr(self, "film_lp_img"):
            return features, texts
        return self.film_lp_img(features), self.film_lp_text(texts)

    def rows(self, names: Sequence[str] | None) -> list[int] | None:
        """Where the own classes stand among `names`; None where one is missing."""
        if names is None or not set(self.classnames) <= set(names):
            return None
        same = list(names) == self.classnames  # names may be there twice
        return list(range(len(names))) if same else [list(names).index(name) for name in self.classnames]


def _take_rows(module: DecoupledPrompts, state: dict[str, Tensor], prefix: str, *_) -> None:
    """Load hook: of another run's head the rows of the own classes, or none of it."""
    saved = state.get(prefix + CLASSES)
    names = module.released_classes if saved is None else bytes(saved.tolist()).decode().split("\n")
    rows = module.rows(names)
    keep_own_names(module, state, prefix)
    module.fused = rows is not None
    for name, own in module.state_dict(prefix=prefix).items():
        if name.startswith(prefix + HEAD) and not module.fused:
            state[name] = own
        elif name.startswith(prefix + HEAD) and name in state:
            state[name] = state[name][rows]
    state[prefix + CLASSES] = getattr(module, CLASSES)


def classes_of_released(dataset: CN, classnames: Sequence[str]) -> Sequence[str] | None:
    """Return the classes that the head of a released checkpoint is for, in its order; None where it has no say.

    Args:
        dataset: cfg.DATASET of the run that the head would serve.
        classnames: its classes.
    """
    if dataset.SUBSAMPLE_CLASSES == "new" or (dataset.SUBSAMPLE_CLASSES == "all" and "ImageNet" not in dataset.NAME):
        return None
    listing = Path(dataset.ROOT, "imagenet", "classnames.txt")  # "<synset> <name>" each line, in label order
    if dataset.NAME not in ("ImageNetA", "ImageNetR") or not listing.is_file():
        return classnames
    return [line.partition(" ")[2].strip() for line in listing.read_text(encoding="utf-8").splitlines()]
