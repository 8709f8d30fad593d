"""Tiny random models of the families of vision-language models, each built from open_clip's own configuration, shrunk.

A family is saved as a folder with `open_clip_config.json` and `open_clip_model.safetensors`, and loaded from there by
its name `local-dir:FOLDER`: the way of real ones. Trunks of timm are the smallest that timm has of the same class.
"""

import json
import tempfile
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import open_clip
import torch
from safetensors.torch import save_file

_TEXT = dict(width=64, heads=2, layers=2)
_NO_TOKENIZER = ("hf_tokenizer_name", "tokenizer_kwargs")  # which would be downloaded; CLIP's own takes its place
_VIT = dict(image_size=32, patch_size=8, width=64, layers=3, head_width=32)


class Family(NamedTuple):
    """A model of open_clip, what makes it small, and which of its towers take prompts."""

    model: str
    vision: dict
    image: int  # pixels
    truncates: bool  # causal text, cut behind the end-of-text token
    maple: bool
    text: dict = {}


FAMILIES = {
    "OpenAI ViT": Family("ViT-B-16-quickgelu", _VIT, 32, True, True),
    "open_clip ViT": Family("ViT-H-14", _VIT, 32, True, True),
    "ModifiedResNet": Family("RN50", dict(image_size=32, width=16, layers=[1, 1, 1, 1]), 32, True, False),
    "EVA-CLIP": Family("EVA02-B-16", dict(timm_model_name="eva02_tiny_patch14_224"), 224, True, False),
    "ConvNeXt": Family("convnext_base", dict(timm_model_name="test_convnext", image_size=64), 64, True, False),
    "MetaCLIP 2": Family("ViT-H-14-worldwide", _VIT, 32, True, True, dict(eos_id=49407, vocab_size=49408)),
    "CoCa": Family("coca_ViT-B-32", _VIT, 32, False, False),
    "SigLIP": Family("ViT-B-16-SigLIP", dict(timm_model_name="test_vit", image_size=160), 160, False, False),
    "SigLIP 2": Family("ViT-B-16-SigLIP2", dict(timm_model_name="test_vit", image_size=160), 160, False, False),
    "MobileCLIP": Family("MobileCLIP2-S0", dict(timm_model_name="fastvit_t8", image_size=64), 64, False, False),
    "CLIPA": Family("ViT-L-14-CLIPA", _VIT, 32, False, False),
}


def config(name):
    """open_clip's configuration of a family, shrunk."""
    family = FAMILIES[name]
    shrunk = deepcopy(open_clip.get_model_config(family.model))
    shrunk["embed_dim"] = 64
    shrunk["vision_cfg"] |= family.vision
    shrunk["text_cfg"] |= _TEXT | family.text
    if shrunk["text_cfg"].get("hf_tokenizer_name"):
        shrunk["text_cfg"] = {k: v for k, v in shrunk["text_cfg"].items() if k not in _NO_TOKENIZER}
        shrunk["text_cfg"]["vocab_size"] = 49408
    if "multimodal_cfg" in shrunk:
        shrunk["multimodal_cfg"] |= _TEXT | {"attn_pooler_heads": 2}
        shrunk["vision_cfg"] |= {"attn_pooler_heads": 2, "attn_pooler_queries": 8}
    return shrunk


def write(name, folder):
    """Write a family's random model to a folder, which is returned."""
    shrunk = config(name)
    kind = open_clip.CLIP
    if shrunk.pop("custom_text", False):
        kind = open_clip.CoCa if "multimodal_cfg" in shrunk else open_clip.CustomTextCLIP
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = kind(**shrunk)
        for parameter in model.parameters():  # many start at 0 or 1, where two models would be one
            parameter.data += 0.02 * torch.randn_like(parameter)
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config(name)}))
    return folder


@lru_cache(maxsize=len(FAMILIES))
def family_clip(name):
    """The family's model as the project loads it."""
    from promptshift.modeling.clip import load_clip

    with tempfile.TemporaryDirectory() as folder:
        return load_clip(f"local-dir:{write(name, Path(folder))}")
