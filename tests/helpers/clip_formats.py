"""The golden ViT in the layouts and files that CLIPs come in."""

import json
import re

import torch
from safetensors.torch import save_file


def to_transformers(state):
    """The golden ViT's state dict as transformers' CLIPModel has it."""
    tables = [
        (r"visual\.transformer\.", "vision_model.encoder."),
        (r"^transformer\.", "text_model.encoder."),
        (r"resblocks\.", "layers."),
        (r"\.ln_([12])\.", r".layer_norm\1."),
        (r"\.c_fc\.", ".fc1."),
        (r"\.c_proj\.", ".fc2."),
        (r"\.attn\.", ".self_attn."),
        (r"visual\.ln_pre", "vision_model.pre_layrnorm"),
        (r"visual\.ln_post", "vision_model.post_layernorm"),
        (r"^ln_final", "text_model.final_layer_norm"),
        (r"visual\.conv1", "vision_model.embeddings.patch_embedding"),
        (r"visual\.class_embedding", "vision_model.embeddings.class_embedding"),
        (r"visual\.positional_embedding", "vision_model.embeddings.position_embedding.weight"),
        (r"^positional_embedding", "text_model.embeddings.position_embedding.weight"),
        (r"^token_embedding", "text_model.embeddings.token_embedding"),
        (r"visual\.proj$", "visual_projection.weight"),
        (r"^text_projection$", "text_projection.weight"),
    ]
    result = {}
    for name, value in state.items():
        for pattern, new in tables:
            name = re.sub(pattern, new, name)
        if "in_proj_" in name:
            for letter, part in zip("qkv", value.chunk(3)):
                result[name.replace("in_proj_", f"{letter}_proj.")] = part.clone()
        else:
            result[name] = value.t().contiguous() if name.endswith("_projection.weight") else value
    positions = {f"{t}_model.embeddings.position_ids": torch.arange(n)[None] for t, n in (("text", 77), ("vision", 17))}
    return result | positions


def transformers_config(**towers):
    tower = {"hidden_act": "quick_gelu"} | towers
    heads = {"text_config": tower | {"num_attention_heads": 2}, "vision_config": tower | {"num_attention_heads": 3}}
    return json.dumps({"model_type": "clip", **heads})


def open_clip_config(quick_gelu=True):
    vision = dict(image_size=32, patch_size=8, width=192, layers=4, head_width=64)
    text = dict(context_length=77, vocab_size=49408, width=128, heads=2, layers=4)
    model = dict(embed_dim=64, quick_gelu=quick_gelu, vision_cfg=vision, text_cfg=text)
    return json.dumps({"model_cfg": model})


def scripted(state, path):
    root = torch.nn.Module()
    for key, value in state.items():
        *parents, leaf = key.split(".")
        node = root
        for name in parents:
            if name not in node._modules:
                node.add_module(name, torch.nn.Module())
            node = node._modules[name]
        node.register_buffer(leaf, value)
    torch.jit.script(root).save(str(path))
    return path


def saved(content, path):
    torch.save(content, path)
    return path


def safe(state, path):
    save_file({name: value.contiguous() for name, value in state.items()}, path)
    return path


def custom_text(state):
    return {k if k.startswith(("visual.", "logit")) else f"text.{k}": v for k, v in state.items()}


def behind(prefix, state):
    return {prefix + name: value for name, value in state.items()}


def hub_folder(folder, state, config, content):
    (folder / config).write_text(content)
    name = "open_clip_model.safetensors" if config.startswith("open_clip") else "model.safetensors"
    safe(state, folder / name)
    return folder
