"""Regenerates the weights and inputs of the golden files in tests/goldens (numpy only; see tests/goldens/README.md).

GOLDEN_SEED_SHIFT adds to the seed of every generator: other weights, prompts and images, under which all must hold that
is not compared with the stored numbers (`pytest.mark.stored`, skipped then).
"""

import json
import os
import re
import zlib
from functools import lru_cache
from math import log, prod, sqrt
from pathlib import Path

import numpy as np
import torch

GOLDENS = Path(__file__).parents[1] / "goldens"
SEED_SHIFT = int(os.environ.get("GOLDEN_SEED_SHIFT", "0"))
CLASSNAMES = ["dog", "elephant", "giraffe", "electric_guitar", "horse", "house"]
TEXT = dict(context_length=77, vocab_size=49408, text_width=128, text_layers=4, text_heads=2, embed_dim=64)
VIT = TEXT | dict(image_size=32, patch_size=8, vision_width=192, vision_layers=4, vision_heads=3)
DEEP_TEXT = VIT | dict(text_layers=12)
RESNET = TEXT | dict(image_size=64, patch_size=None, vision_width=16, vision_layers=(1, 1, 1, 1), vision_heads=8)


KINDS = {"vit": VIT, "rn": RESNET, "vit12": DEEP_TEXT}


def golden(name):
    return json.loads((GOLDENS / f"{name}.json").read_text())


def normal(key, shape, seed=0):
    return np.random.default_rng(zlib.crc32(key.encode("utf-8")) + seed + SEED_SHIFT).standard_normal(shape)


def clip_value(key, shape, seed=0):
    """One entry of an OpenAI-format CLIP state dict."""
    if key == "logit_scale":
        return np.float32(log(20.0))
    if key.endswith("num_batches_tracked"):
        return np.int64(0)
    n = normal(key, shape, seed)
    if re.search(r"(^|\.)(ln_\w+|bn\d|norm\d?|downsample\.1)\.weight$", key):
        value = 1 + 0.05 * n
    elif key.endswith("running_var"):
        value = 1 + 0.05 * abs(n)
    elif key.endswith("running_mean"):
        value = 0.05 * n
    elif key.endswith("bias") or key == "token_embedding.weight":
        value = 0.02 * n
    elif key == "positional_embedding":
        value = 0.01 * n
    elif key in ("visual.class_embedding", "visual.positional_embedding", "visual.attnpool.positional_embedding"):
        value = n / sqrt(shape[-1])
    elif key in ("visual.proj", "text_projection"):
        value = n / sqrt(shape[0])
    else:
        value = n / sqrt(prod(shape[1:]))
    return value.astype(np.float32)


def train_value(key, shape, kind, seed=0):
    """A trainable tensor of a golden case."""
    n = normal(key, tuple(shape), seed)
    value = {
        "prompt": 0.02 * n,
        "bias": 0.02 * n,
        "norm_bias": 0.02 * n,
        "norm_weight": 1 + 0.05 * n,
        "matrix": n / sqrt(prod(shape[1:])),
    }[kind]
    return torch.from_numpy(value.astype(np.float32))


@lru_cache(maxsize=4)  # 25 MB each
def state_dict(kind="vit", seed=0):
    """The OpenAI-format state dict of the golden ViT (`vit`; `vit12` with 12 text blocks) or ResNet (`rn`)."""
    shapes = {k: tuple(v.shape) for k, v in _skeleton(kind).items()}
    return {k: torch.from_numpy(np.asarray(clip_value(k, shape, seed))) for k, shape in shapes.items()}


@lru_cache
def _skeleton(kind):
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    s = KINDS[kind]
    vision = CLIPVisionCfg(
        layers=s["vision_layers"], width=s["vision_width"], image_size=s["image_size"], patch_size=s["patch_size"] or 16
    )
    text = CLIPTextCfg(width=s["text_width"], heads=s["text_heads"], layers=s["text_layers"])
    with torch.random.fork_rng():  # kept between calls, so the first one must not draw what a later one does not
        return CLIP(s["embed_dim"], vision, text, quick_gelu=True).state_dict()


def clip(kind="vit", precision="fp32", seed=0):
    """The golden CLIP as the project loads it from a file-like state dict; another seed gives other weights."""
    return _clip(kind, precision, seed)  # one entry of the cache, however the arguments are given


@lru_cache(maxsize=12)  # 15 to 30 MB each: the golden ones, and those of another seed while it is tested
def _clip(kind, precision, seed):
    from promptshift.modeling.backbones.weights import architecture
    from promptshift.modeling.clip import _build

    state = state_dict(kind, seed) if seed else state_dict(kind)
    with torch.random.fork_rng():  # as above
        return _build(state, architecture(state), f"golden-{kind}", precision, "cpu")


def images(tag=1001, batch=4, res=32):
    return torch.from_numpy(
        np.random.default_rng(tag + SEED_SHIFT).standard_normal((batch, 3, res, res)).astype(np.float32)
    )


def probe(name, tensor, seed=0):
    """Direction check of a tensor: sum(t * fixed random tensor)."""
    return float((tensor.detach().double().numpy() * normal("probe:" + name, tuple(tensor.shape), seed)).sum())
