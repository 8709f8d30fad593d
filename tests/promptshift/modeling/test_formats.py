"""One random CLIP in every format that MODEL.BACKBONE.PATH and NAME take: the same logits; names read off weights."""

import json
import re

import pytest
import torch
import torch.nn.functional as F

import clip as openai_clip
import helpers.goldens_recipe as recipe
from dassl.utils.errors import UserError
from helpers.clip_formats import (
    behind,
    custom_text,
    hub_folder,
    open_clip_config,
    safe,
    saved,
    scripted,
    to_transformers,
    transformers_config,
)
from promptshift.modeling.backbones.architectures import OPENAI_NAMES, backbone_name, known_name
from promptshift.modeling.backbones.weights import architecture
from promptshift.modeling.clip import empty_clip, load_clip
from promptshift.modeling.towers.text_tower import TextTower

TEXTS = ["a photo of a dog.", "an electric guitar"]
SIZES = recipe.VIT


def logits(clip):
    features = F.normalize(clip.encode_image(recipe.images()).float(), dim=-1)
    return clip.logit_scale * features @ TextTower(clip).encode_texts(TEXTS).T


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
    if path.is_file():
        features = openai_clip.load(str(path), device="cpu")[0].encode_image(recipe.images())
        torch.testing.assert_close(features, clip.encode_image(recipe.images()), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("form", ["transformers folder", "open_clip folder"])
def test_local_folders_by_name(tmp_path, form):
    PATHS[form](recipe.state_dict(), tmp_path)
    clip = load_clip(f"local-dir:{tmp_path}")
    torch.testing.assert_close(logits(clip), logits(recipe.clip()), atol=1e-5, rtol=0)
    for precision, tolerance in (("bf16", 3.0), ("amp", 1e-5)):
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
    shapes = published("RN50")
    state = {
        k: torch.zeros(v.shape, dtype=v.dtype if v.dtype == torch.int64 else torch.half) for k, v in shapes.items()
    }
    path = safe(state, tmp_path / "rn.safetensors")
    assert backbone_name(path) == "RN50"
    with pytest.raises(UserError, match="'ViT-B/16' contradicts MODEL.BACKBONE.PATH .*rn.* holds a RN50") as error:
        load_clip("ViT-B/16", path=str(path))
    assert "\n" not in str(error.value)
    (tmp_path / "open_clip_config.json").write_text(open_clip_config())
    with pytest.raises(UserError, match="does not fit it: .*holds RN50"):
        load_clip(f"local-dir:{tmp_path}", path=str(path))
