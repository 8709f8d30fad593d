"""The released codes' formulation, in short: 77 tokens for every class, one image at a time, nothing kept."""
import torch
import torch.nn.functional as F
from torch import Tensor


def class_features(template, ctx: Tensor) -> Tensor:
    """Context (M, D) -> class features (K, E), every prompt padded to the tower's whole context length."""
    model = template.clip.model
    x = template.embeds(ctx)
    padding = template.clip.embed_tokens(torch.zeros(len(x), len(model.positional_embedding) - x.shape[1]).long())
    x = torch.cat([x, padding], dim=1) + model.positional_embedding
    x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask))
    return F.normalize(x[torch.arange(len(x)), template.eot] @ model.text_projection, dim=-1)


def dpspg_scores(template, generators, features: Tensor, alpha: float = 0.2) -> Tensor:
    """Image features (B, E) -> scores (B, K), one image after another, both generated prompts of each."""
    rows = []
    for feature in features:
        positive, negative = (class_features(template, generator(feature[None])[0]) @ feature
                              for generator in generators)
        rows.append(positive - alpha * negative)
    return torch.stack(rows)
