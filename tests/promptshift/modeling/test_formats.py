"""One random CLIP in every format that MODEL.BACKBONE.PATH and NAME take: the same logits; and names read off weights."""

import json
import re

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

import clip as openai_clip
import helpers.goldens_recipe as recipe
from dassl.utils.errors import UserError
from promptshift.modeling.architectures import OPENAI_NAMES, backbone_name, known_name
from promptshift.modeling.clip import empty_clip, load_clip
from promptshift.modeling.towers.text_tower import TextTower
from promptshift.modeling.weights import architecture, read_state_dict

TEXTS = ["a photo of a dog.", "an electric guitar"]
SIZES = recipe.VIT


def logits(clip):
    features = F.normalize(clip.encode_image(recipe.images()), dim=-1)
    return clip.logit_scale * features @ TextTower(clip).encode_texts(TEXTS).T


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


PATHS = {
    "OpenAI archive": lambda s, f: scripted(s, f / "ViT.pt"),
    "state dict": lambda s, f: saved(s, f / "clip.pt"),
    "open_clip safetensors": lambda s, f: safe(s, f / "open_clip_model.safetensors"),
    "open_clip, text tower apart": lambda s, f: safe(custom_text(s), f / "open_clip_model.safetensors"),
    "open_clip checkpoint": lambda s, f: saved(
        {"epoch": 3, "state_dict": behind("module.", s), "optimizer": {"state": {}, "param_groups": []}}, f / "e.pt"
    ),
    "checkpoint of a wrapper": lambda s, f: saved({"model": behind("clip_model.", s)}, f / "clip.pth.tar"),
    "transformers safetensors": lambda s, f: safe(to_transformers(s), f / "model.safetensors"),
    "transformers bin": lambda s, f: saved(to_transformers(s), f / "pytorch_model.bin"),
    "transformers behind a prefix": lambda s, f: saved(behind("model.clip.", to_transformers(s)), f / "wrapped.bin"),
    "transformers folder": lambda s, f: hub_folder(f, to_transformers(s), "config.json", transformers_config()),
    "open_clip folder": lambda s, f: hub_folder(f, s, "open_clip_config.json", open_clip_config()),
}


@pytest.mark.parametrize("form", PATHS)
def test_every_format_gives_the_same_logits(tmp_path, form):
    path = PATHS[form](recipe.state_dict(), tmp_path)
    clip = load_clip("ViT-B/16", path=str(path))
    torch.testing.assert_close(logits(clip), logits(recipe.clip()), atol=1e-5, rtol=0)
    assert backbone_name(path) == ""  # no published model has these sizes
    model, _ = (
        openai_clip.load(str(path / "model.safetensors" if form == "transformers folder" else path))
        if (path.is_file() or form == "transformers folder")
        else (None, None)
    )
    if model is not None:
        ours = F.normalize(model.encode_image(recipe.images()), dim=-1)
        torch.testing.assert_close(ours, F.normalize(clip.encode_image(recipe.images()), dim=-1), atol=1e-5, rtol=0)


@pytest.mark.parametrize("form", ["transformers folder", "open_clip folder"])
def test_local_folders_by_name(tmp_path, form):
    PATHS[form](recipe.state_dict(), tmp_path)
    clip = load_clip(f"local-dir:{tmp_path}")
    torch.testing.assert_close(logits(clip), logits(recipe.clip()), atol=1e-5, rtol=0)
    for precision, tolerance in (("bf16", 1.0), ("amp", 1e-5)):
        other = load_clip(f"local-dir:{tmp_path}", precision=precision)
        torch.testing.assert_close(logits(other).float(), logits(clip), atol=tolerance, rtol=0)


@pytest.mark.parametrize("config", ["config.json", "open_clip_config.json"])
def test_the_activation_is_the_configuration_s(tmp_path, config):
    ours = config.startswith("open_clip")
    content = open_clip_config(False) if ours else transformers_config(hidden_act="gelu")
    state = recipe.state_dict()
    hub_folder(tmp_path, state if ours else to_transformers(state), config, content)
    model = empty_clip(SIZES, quick_gelu=False).eval()
    model.load_state_dict(state)
    with torch.no_grad():
        expected = model.encode_image(recipe.images())
    for name, path in (("ViT-B/16", str(tmp_path)), (f"local-dir:{tmp_path}", "")):
        torch.testing.assert_close(load_clip(name, path).encode_image(recipe.images()), expected, atol=1e-5, rtol=0)
    assert (expected - recipe.clip().encode_image(recipe.images())).abs().max() > 1e-3


@pytest.mark.parametrize(
    "content, word",
    [
        ("{", "JSON"),
        ("[]", "list"),
        (json.dumps({"model_type": "clip", "text_config": {"hidden_act": "relu"}}), "hidden_act is 'relu'"),
        (transformers_config().replace('"num_attention_heads": 3', '"num_attention_heads": 7'), "num_attention_heads"),
        (transformers_config().replace('"num_attention_heads": 3', '"num_attention_heads": "x"'), "num_attention"),
    ],
)
def test_a_bad_configuration_is_one_line(tmp_path, content, word):
    hub_folder(tmp_path, to_transformers(recipe.state_dict()), "config.json", content)
    for name, path in (("ViT-B/16", str(tmp_path)), (f"local-dir:{tmp_path}", "")):
        with pytest.raises(UserError, match=re.escape(word)) as error:
            load_clip(name, path)
        assert "\n" not in str(error.value) and "config.json" in str(error.value)


@pytest.mark.parametrize(
    "content, word",
    [
        ({}, "embed_dim"),
        ({"model_cfg": {"embed_dim": 64, "vision_cfg": [], "text_cfg": {}}}, "vision_cfg"),
        ({"model_cfg": {"embed_dim": 64, "vision_cfg": {}, "text_cfg": {"colour": 1}}}, "colour"),
        ({"model_cfg": {"embed_dim": 64, "vision_cfg": {}, "text_cfg": {"hf_tokenizer_name": 5}}}, "transformers"),
        ({"model_cfg": {"embed_dim": 32, "vision_cfg": {}, "text_cfg": {"width": 64, "heads": 2}}}, "does not fit"),
    ],
)
def test_a_bad_open_clip_folder_is_one_line(tmp_path, content, word):
    hub_folder(tmp_path, recipe.state_dict(), "open_clip_config.json", json.dumps(content))
    with pytest.raises(UserError, match=word) as error:
        load_clip(f"local-dir:{tmp_path}")
    assert "\n" not in str(error.value)


def test_folders_without_weights_or_configuration_are_one_line(tmp_path):
    for name, word in (
        (f"local-dir:{tmp_path / 'none'}", "no such folder"),
        (f"local-dir:{tmp_path}", "open_clip_config.json"),
    ):
        with pytest.raises(UserError, match=word):
            load_clip(name)
    (tmp_path / "open_clip_config.json").write_text(open_clip_config())
    with pytest.raises(UserError, match="holds no weights.*model.safetensors"):
        load_clip(f"local-dir:{tmp_path}")


def test_parts_of_a_transformers_file_are_named_when_they_are_missing(tmp_path):
    state = to_transformers(recipe.state_dict())
    query = "vision_model.encoder.layers.2.self_attn.q_proj.weight"
    for change, word in (
        ({query: None}, query),
        ({query: state[query][:1]}, "alike"),
        ({"visual_projection.weight": None}, "visual"),
        ({"vision_model.head.probe": torch.ones(1)}, "vision_model.head.probe"),
    ):
        safe({k: v for k, v in (state | change).items() if v is not None}, tmp_path / "model.safetensors")
        with pytest.raises(UserError, match=re.escape(word)) as error:
            load_clip("ViT-B/16", path=str(tmp_path / "model.safetensors"))
        assert "\n" not in str(error.value) and "MODEL.BACKBONE.PATH" in str(error.value)


def published(name):
    """A file's worth of zeros with the sizes of a published model, without its memory."""
    import open_clip

    config = open_clip.get_model_config(OPENAI_NAMES.get(name, name))
    with torch.device("meta"):
        config.pop("custom_text", None)
        return open_clip.CLIP(**config).state_dict()


@pytest.mark.parametrize("name", [*OPENAI_NAMES, "ViT-H-14", "ViT-bigG-14", "RN50x4", "ViT-g-14"])
def test_the_name_is_read_off_the_sizes(name):
    assert known_name(architecture(published(name))) == name


def test_a_file_of_another_published_model_is_refused(tmp_path):
    sizes = architecture(published("ViT-B/32"))
    with torch.device("meta"):
        shapes = {k: v.shape for k, v in empty_clip(sizes).state_dict().items()}
    path = saved(
        {k: torch.zeros(1, dtype=torch.float16).expand(s).clone() for k, s in shapes.items()}, tmp_path / "b.pt"
    )
    assert backbone_name(path) == "ViT-B/32"
    with pytest.raises(
        UserError, match="'ViT-B/16' contradicts MODEL.BACKBONE.PATH .*b.pt.* holds a ViT-B/32"
    ) as error:
        load_clip("ViT-B/16", path=str(path))
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="does not fit it: .*holds .*ViT-B-32"):
        load_clip("ViT-B-16-quickgelu:openai", path=str(path))
    assert load_clip("ViT-B/32", path=str(path)).image_size == 224
    assert len(read_state_dict(path)) == len(shapes)
