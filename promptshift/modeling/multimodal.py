"""Prompts of both towers: as learnable modules, and as plain values that pure functions run the frozen towers on.

A prompt may carry a leading dimension: G sets of prompts, say one for each test image, run at once as they would run
one by one (tests/promptshift/modeling/test_multimodal.py holds the two equal). The modules' `prompts(tensors)` turns
their own named tensors, or copies with a leading dimension each, into such values.

Shapes: G sets of prompts, V images a set, K classes, M text and n vision prompts, D text
and W vision width, E embedding.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from dassl.utils.errors import UserError
from promptshift.modeling.clip import FrozenCLIP
from promptshift.modeling.prompts import Kept, PromptTemplate
from promptshift.modeling.templates import clean_name
from promptshift.modeling.towers.vision_tower import (
    DeepPrompts,
    VisionPrompts,
    VisionTower,
    check_count,
    check_depth,
    random_prompt,
)


@dataclass
class Prompts:
    """What the towers are given; None or () for a tower without prompts. Each may have a leading dimension G.

    Attributes:
        ctx: (M, D), behind the start token.
        deep_text: (M, D) each, replacing the context at the input of text block 1, 2, ...
        vision: (n, W), behind the patches.
        deep_vision: (n, W) each, replacing the vision prompts at the input of vision block 1, 2, ...
    """

    ctx: Tensor | None = None
    deep_text: Sequence[Tensor] = ()
    vision: Tensor | None = None
    deep_vision: Sequence[Tensor] = ()


def class_features(
    template: PromptTemplate, ctx: Tensor, deep_text: Sequence[Tensor] = (), normalize: bool = True
) -> Tensor:
    """Class features under text prompts, L2-normalised unless told otherwise, at the template's memory bound.

    Args:
        template: the fixed part of the K prompts.
        ctx: (M, D), or (G, M, D).
        deep_text: as `ctx`, one for block 1, 2, ...

    Returns:
        (K, E), or (G, K, E), float32.
    """
    return (template.features if ctx.dim() == 2 else template.features_each)(ctx, deep_text, normalize)


def image_features(
    tower: VisionTower,
    images: Tensor,
    vision: Tensor | None = None,
    deep_vision: Sequence[Tensor] = (),
    normalize: bool = True,
) -> Tensor:
    """Image features under vision prompts, L2-normalised unless told otherwise, float32.

    Args:
        images: (B, 3, S, S), or (G, V, 3, S, S): V images for each of G sets of prompts.
        vision: (n, W), or (B, n, W) one set an image, or (G, n, W) one set for V images; None for none.
        deep_vision: as `vision`, one for block 1, 2, ...

    Returns:
        (B, E), or (G, V, E).
    """
    if images.dim() == 4:
        features = tower.encode(images, vision, deep_vision)
        return F.normalize(features, dim=-1) if normalize else features
    views = images.shape[1]
    vision, *deep = (
        p if p is None or p.dim() == 2 else p.repeat_interleave(views, dim=0) for p in (vision, *deep_vision)
    )  # (G, n, W) -> (G*V, n, W)
    return image_features(tower, images.flatten(0, 1), vision, deep, normalize).unflatten(0, (-1, views))


def project(prompts: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Linear map of prompts (..., M, D) by weight (..., W, D) and bias (..., W) -> (..., M, W)."""
    return prompts @ weight.mT + bias.unsqueeze(-2)


class TwoTowerPrompts(nn.Module):
    """Base of the learnable prompts of both towers; the state dict holds these alone.

    Released checkpoints load: they hold all of CLIP and tokens of their own class names beside the prompts, which is
    left out, and may lack the prefix `prompt_learner.`.

    Attributes:
        template: fixed part of the text prompts, None where the text tower has none.
        tower: the vision tower, None where it has no prompts.
    """

    def __init__(self, template: PromptTemplate | None, tower: VisionTower | None):
        super().__init__()
        self.template, self.tower = template, tower
        self._kept = Kept()
        self.register_load_state_dict_pre_hook(keep_own_names)

    @staticmethod
    def prompts(tensors: Mapping[str, Tensor]) -> Prompts:
        """The prompts of named tensors: this module's, or copies of all of them with one more leading dimension G."""
        raise NotImplementedError

    def forward(self) -> Prompts:
        """-> the prompts as they are now."""
        return self.prompts(dict(self.named_parameters()))

    def class_features(self, normalize: bool = True) -> Tensor:
        """-> class features (K, E), L2-normalised unless told otherwise.

        Without gradients the normalised ones are kept until a parameter changes.
        """

        def compute() -> Tensor:
            prompts = self()
            return class_features(self.template, prompts.ctx, prompts.deep_text, normalize)

        return self._kept(self.parameters(), compute) if normalize else compute()

    def image_features(self, images: Tensor, normalize: bool = True) -> Tensor:
        """Images (B, 3, S, S) -> features (B, E), L2-normalised unless told otherwise, float32."""
        prompts = self()
        return image_features(self.tower, images, prompts.vision, prompts.deep_vision, normalize)


class CoupledPrompts(TwoTowerPrompts):
    """MaPLe's prompts (arXiv 2210.03117, section 3.2): vision prompts are linear maps of the text prompts.

    Saved as `prompt_learner.` + `ctx`, `proj.*`, `compound_prompts_text.<j>`, `compound_prompt_projections.<j>.*`:
    prompts and projections of the first block, and of block j + 1. The deep projections are copies of one random
    linear layer at the start, as in the released code.

    Args:
        clip: the frozen model.
        classnames: K class names.
        n_ctx: M, learnt vectors a layer.
        ctx_init: words whose first M tokens start the context, the others stay fixed; empty for N(0, 0.02^2).
        depth: number of layers of each tower with prompts of their own, 1 for the first alone.
        max_tokens: memory bound of the text tower.
        key: name of the configuration's block, for error messages.

    Raises:
        UserError: n_ctx or depth out of range, fewer words than n_ctx, a backbone without vision transformer.
    """

    def __init__(
        self, clip: FrozenCLIP, classnames: list[str], n_ctx: int, ctx_init: str, depth: int, max_tokens: int, key: str
    ):
        tower = VisionTower(clip, key)
        template, ctx = _text_prompts(clip, classnames, n_ctx, ctx_init, max_tokens, f"TRAINER.{key}.N_CTX")
        check_depth(f"TRAINER.{key}.PROMPT_DEPTH", depth, min(tower.layers, len(template.tower.blocks)), clip.name)
        super().__init__(template, tower)
        learner = self.prompt_learner = nn.Module()
        learner.ctx = ctx
        learner.proj = nn.Linear(clip.text_width, tower.width)
        learner.compound_prompts_text = nn.ParameterList(
            random_prompt(n_ctx, clip.text_width) for _ in range(depth - 1)
        )
        layer = nn.Linear(clip.text_width, tower.width)
        learner.compound_prompt_projections = nn.ModuleList(deepcopy(layer) for _ in range(depth - 1))

    @staticmethod
    def prompts(tensors):
        ctx = tensors["prompt_learner.ctx"]
        deep = _numbered(tensors, r"prompt_learner\.compound_prompts_text\.(\d+)")

        def seen(text: Tensor, layer: str) -> Tensor:
            return project(text, tensors[f"prompt_learner.{layer}.weight"], tensors[f"prompt_learner.{layer}.bias"])

        return Prompts(
            ctx,
            list(deep.values()),
            seen(ctx, "proj"),
            [seen(text, f"compound_prompt_projections.{j}") for j, text in deep.items()],
        )


class IndependentPrompts(TwoTowerPrompts):
    """Prompts of each tower for itself, deep ones included, under the parameter names of the released IVLP.

    Saved as `prompt_learner.ctx`, `text_encoder.transformer.resblocks.<i>.VPT_shallow`, `image_encoder.VPT` and
    `image_encoder.transformer.resblocks.<i>.VPT_shallow`; a tower at depth 0 has none.

    Args:
        clip: the frozen model.
        classnames: K class names.
        n_text, n_vision: vectors a layer.
        depth_text, depth_vision: number of layers with prompts of their own; 0 for none.
        ctx_init, max_tokens, key: as for `CoupledPrompts`.

    Raises:
        UserError: a number or depth out of range, no prompts at all, fewer words than n_text, vision prompts for a
            backbone without vision transformer.
    """

    def __init__(
        self,
        clip: FrozenCLIP,
        classnames: list[str],
        n_text: int,
        depth_text: int,
        n_vision: int,
        depth_vision: int,
        ctx_init: str,
        max_tokens: int,
        key: str,
    ):
        if depth_text == depth_vision == 0:
            raise UserError(
                f"TRAINER.{key}.PROMPT_DEPTH_VISION: 0, without text prompts, leaves nothing to learn; "
                "allowed: 1 and more"
            )
        tower = VisionTower(clip, key) if depth_vision else None
        template = ctx = None
        if depth_text:
            template, ctx = _text_prompts(clip, classnames, n_text, ctx_init, max_tokens, f"TRAINER.{key}.N_CTX_TEXT")
            check_depth(f"TRAINER.{key}.PROMPT_DEPTH_TEXT", depth_text, len(template.tower.blocks), clip.name)
        super().__init__(template, tower)
        if depth_text:
            self.prompt_learner = nn.Module()
            self.prompt_learner.ctx = ctx
            self.text_encoder = DeepPrompts(n_text, clip.text_width, depth_text)
        if depth_vision:
            self.image_encoder = VisionPrompts(tower, n_vision, depth_vision, key)

    @staticmethod
    def prompts(tensors):
        deep = r"_encoder\.transformer\.resblocks\.(\d+)\.VPT_shallow"
        text, vision = (list(_numbered(tensors, tower + deep).values()) for tower in ("text", "image"))
        return Prompts(tensors.get("prompt_learner.ctx"), text, tensors.get("image_encoder.VPT"), vision)


def _text_prompts(
    clip: FrozenCLIP, classnames: list[str], n_ctx: int, ctx_init: str, max_tokens: int, key: str
) -> tuple[PromptTemplate, nn.Parameter]:
    check_count(key, n_ctx)
    words = clean_name(ctx_init)
    template = PromptTemplate(clip, classnames, n_ctx, words, max_tokens=max_tokens)
    ctx = nn.Parameter(template.words.float().clone()) if words else random_prompt(n_ctx, clip.text_width)
    return template, ctx


def keep_own_names(module: nn.Module, state: dict, prefix: str, *_) -> None:
    """Load hook: drops what is no prompt of this module's and gives prompts saved without their prefix theirs."""
    own = [prefix + name for name, _ in module.named_parameters()]
    found = {
        name: state[short]
        for name in own
        for short in (name, prefix + name.removeprefix(prefix).removeprefix("prompt_learner."))
        if short in state
    }
    for key in [key for key in state if key.startswith(prefix)]:
        del state[key]
    state.update(found)


def _numbered(tensors: Mapping[str, Tensor], pattern: str) -> dict[int, Tensor]:
    found = {int(match[1]): tensor for name, tensor in tensors.items() if (match := re.fullmatch(pattern, name))}
    return dict(sorted(found.items()))
