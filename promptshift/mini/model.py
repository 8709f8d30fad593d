"""The mini CLIPs as modules, and their two towers as functions.

The module is open_clip's; widths are multiples of 64 with one head per 64 channels, so every loader of OpenAI weights
reads it right.
Legend: B images, N texts, L tokens, D channels.
"""

import torch
from open_clip.model import CLIP

from promptshift.modeling.clip import empty_clip

CONFIG = {
    "embed_dim": 128,
    "image_size": 48,
    "patch_size": 12,
    "vision_width": 128,
    "vision_layers": 4,
    "vision_heads": 2,
    "text_width": 128,
    "text_layers": 3,
    "text_heads": 2,
    "context_length": 77,
    "vocab_size": 49408,
    "mean": (0.48145466, 0.4578275, 0.40821073),
    "std": (0.26862954, 0.26130258, 0.27577711),
}
CONFIGS = {  # by the name of the backbone
    "mini": CONFIG,
    "mini_large": CONFIG
    | {
        "embed_dim": 192,
        "vision_width": 192,
        "vision_layers": 5,
        "vision_heads": 3,
        "text_width": 192,
        "text_heads": 3,
    },
}


def build_clip(config: dict, vocab_size: int | None = None) -> CLIP:
    """Randomly initialised CLIP with QuickGELU, in float32.

    Args:
        config: entries as in `CONFIGS`.
        vocab_size: rows of the token table, if not all of the vocabulary is wanted.
    """
    return empty_clip(config | {"vocab_size": vocab_size or config["vocab_size"]})


def normalise_images(images: torch.Tensor, config: dict) -> torch.Tensor:
    """uint8 images (B, H, W, 3) to CLIP's input, float32 (B, 3, H, W)."""
    mean, std = (torch.tensor(config[key], device=images.device) for key in ("mean", "std"))
    return ((images.float() / 255 - mean) / std).permute(0, 3, 1, 2)


def encode_embedded(clip: CLIP, embedded: torch.Tensor, eot: torch.Tensor) -> torch.Tensor:
    """Text features (N, D) of token embeddings (N, L, D), L up to the longest EOT; `eot` (N,) are the EOTs' places."""
    length = embedded.shape[1]
    x = clip.transformer(embedded + clip.positional_embedding[:length], attn_mask=clip.attn_mask[:length, :length])
    x = clip.ln_final(x)[torch.arange(len(x), device=x.device), eot]  # (N, D)
    return x @ clip.text_projection


def encode_tokens(clip: CLIP, tokens: torch.Tensor) -> torch.Tensor:
    """Text features (N, D) of token ids (N, L); the EOT has the highest id, as in OpenAI's vocabulary."""
    eot = tokens.argmax(dim=-1)
    tokens = tokens[:, : int(eot.max()) + 1]
    return encode_embedded(clip, clip.token_embedding(tokens), eot)
