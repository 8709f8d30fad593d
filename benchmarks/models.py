"""Class lists and a CLIP of ViT-B/16's sizes with random weights: what the benchmarks run on."""

from __future__ import annotations

import open_clip
import torch
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

from promptshift.modeling.clip import FrozenCLIP, build_clip

WORDS = (
    "alarm bat castle drum engine fence glove hammer island jacket kettle lantern mirror needle oven pencil "
    "quilt rocket saddle tractor umbrella violin whistle yacht zebra bucket candle desk"
).split()
TEXT = dict(embed_dim=512, text_width=512, text_layers=12, text_heads=8, context_length=77, vocab_size=49408)
TOKEN_VISION = dict(image_size=32, patch_size=16, vision_width=64, vision_layers=1, vision_heads=1)
VIT_B16 = dict(image_size=224, patch_size=16, vision_width=768, vision_layers=12, vision_heads=12)


def class_names(count: int) -> list[str]:
    """`count` different names of one, two or three words, as benchmark class lists have them."""
    pairs = [f"{a} {b}" for i, a in enumerate(WORDS) for b in WORDS[i + 1 :]]
    names = [name for pair in zip(WORDS, pairs) for name in pair] + pairs[len(WORDS) :]
    names += [f"{pair} {word}" for word in WORDS for pair in pairs if word not in pair.split()]
    return names[:count]


def random_clip(device: str, vision: dict = TOKEN_VISION) -> FrozenCLIP:
    """A CLIP with the text tower of ViT-B/16 (width 512, 12 layers) and an image tower of `vision`, random weights."""
    torch.manual_seed(0)
    sizes = TEXT | vision
    skeleton = CLIP(
        sizes["embed_dim"],
        CLIPVisionCfg(
            layers=vision["vision_layers"],
            width=vision["vision_width"],
            image_size=vision["image_size"],
            patch_size=vision["patch_size"],
        ),
        CLIPTextCfg(width=TEXT["text_width"], heads=TEXT["text_heads"], layers=TEXT["text_layers"]),
        quick_gelu=True,
    )
    model = build_clip(skeleton.state_dict(), sizes).to(device)
    return FrozenCLIP(model, open_clip.get_tokenizer("ViT-B-32"), "random ViT-B/16 sizes", "fp32")
