"""The released codes' formulation, in short: 77 tokens for every class, one image at a time, nothing kept."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def class_features(template, ctx: Tensor, deep: Sequence[Tensor] = ()) -> Tensor:
    """Context (M, D), deep ones -> class features (K, E), every prompt padded to the tower's whole context length."""
    model = template.clip.model
    x = template.embeds(ctx)
    padding = template.clip.embed_tokens(torch.zeros(len(x), len(model.positional_embedding) - x.shape[1]).long())
    x = torch.cat([x, padding], dim=1) + model.positional_embedding
    for i, block in enumerate(model.transformer.resblocks):
        if 0 < i <= len(deep):
            prompt = deep[i - 1].expand(len(x), -1, -1)
            x = torch.cat([x[:, :1], prompt, x[:, 1 + prompt.shape[1] :]], dim=1)
        x = block(x, attn_mask=model.attn_mask)
    x = model.ln_final(x)
    return F.normalize(x[torch.arange(len(x)), template.eot] @ model.text_projection, dim=-1)


def dpspg_scores(template, generators, features: Tensor, alpha: float = 0.2) -> Tensor:
    """Image features (B, E) -> scores (B, K), one image after another, both generated prompts of each."""
    rows = []
    for feature in features:
        positive, negative = (
            class_features(template, generator(feature[None])[0]) @ feature for generator in generators
        )
        rows.append(positive - alpha * negative)
    return torch.stack(rows)


def maple_features(learner, images: Tensor) -> tuple[Tensor, Tensor]:
    """MaPLe's class features (K, E) at 77 tokens and image features (B, E), every token through every block."""
    prompts, visual = learner(), learner.tower.visual
    x = visual.conv1(images).flatten(2).transpose(1, 2)
    x = torch.cat([visual.class_embedding.expand(len(x), 1, -1), x], dim=1) + visual.positional_embedding
    x = visual.ln_pre(torch.cat([x, prompts.vision.expand(len(x), -1, -1)], dim=1))
    for i, block in enumerate(visual.transformer.resblocks):
        if 0 < i <= len(prompts.deep_vision):
            prompt = prompts.deep_vision[i - 1].expand(len(x), -1, -1)
            x = torch.cat([x[:, : -prompt.shape[1]], prompt], dim=1)
        x = block(x)
    seen = F.normalize(visual.ln_post(x)[:, 0] @ visual.proj, dim=-1)
    return class_features(learner.template, prompts.ctx, prompts.deep_text), seen
