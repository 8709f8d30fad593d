"""load_clip against zeroshot.json: features and logits of upstream's CLIP on the same weights."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import helpers.goldens_recipe as recipe
from dassl.utils.errors import UserError
from promptshift.modeling.clip import load_clip
from promptshift.modeling.prompts import PromptTemplate
from promptshift.modeling.templates import clean_name
from promptshift.modeling.tokens import tokenize

GOLDEN = recipe.golden("zeroshot")
# Largest difference to float32 that 6 seeds of weights and images had, with AVX2 and without vector instructions
# (ATEN_CPU_CAPABILITY=default): of coordinates of features of length 1, of images and classes, and of logits, which
# are 0.6 to 4.5 large on average. Tests allow twice as much, for processors that round elsewhere.
HALF_PRECISION = {"fp16": (0.0006, 0.012), "bf16": (0.0044, 0.092), "amp": (0.0044, 0.086)}


@pytest.mark.stored
@pytest.mark.parametrize("kind", ["vit", "rn"])
def test_regenerated_weights_are_the_recipe_s(kind):
    state = recipe.state_dict(kind)
    checks = GOLDEN[f"weight_checks_{kind}"]
    assert set(checks) <= set(state) and {key for key in state if key.startswith("visual.")} <= set(checks)
    for key, check in checks.items():
        value = state[key].double()
        assert float(value.norm()) == pytest.approx(check["l2"], rel=1e-6, abs=1e-7), key
        assert float(value.sum()) == pytest.approx(check["sum"], rel=1e-6, abs=1e-6 * check["l2"]), key
        assert float(value.flatten()[0]) == pytest.approx(check["first"], rel=1e-6, abs=1e-9), key
    images, check = recipe.images().double(), GOLDEN["input_checks"]["images_1001_4x3x32x32"]
    assert float(images.sum()) == pytest.approx(check["sum"], rel=1e-6)
    assert images.flatten()[:3].tolist() == pytest.approx(check["first3"], rel=1e-6)


@pytest.mark.stored
@pytest.mark.parametrize("kind, res", [("vit", 32), ("rn", 64)])
def test_zeroshot_features_and_logits(kind, res):
    case, clip = GOLDEN["cases"][kind], recipe.clip(kind)
    template = PromptTemplate(clip, recipe.CLASSNAMES, 4, "a photo of a")
    for row, eot, ids in zip(template.tokens.tolist(), template.eot.tolist(), case["token_ids"]):
        assert row[: eot + 1] == ids
    image_features = clip.encode_image(recipe.images(res=res))
    np.testing.assert_allclose(image_features, case["image_features_unnormalised"], atol=1e-4)
    text = template.tower.encode(template.embeds(template.words), template.eot)
    np.testing.assert_allclose(text, case["text_features_unnormalised"], atol=1e-4)
    assert float(clip.logit_scale) == pytest.approx(case["logit_scale_exp"], rel=1e-6)
    logits = clip.logit_scale * F.normalize(image_features, dim=-1) @ template.features(template.words).T
    np.testing.assert_allclose(logits, case["logits"], atol=1e-4)


@pytest.mark.stored
@pytest.mark.parametrize("form", ["state_dict", "wrapped", "torchscript", "safetensors"])
@pytest.mark.parametrize("kind, res", [("vit", 32), ("rn", 64)])
def test_local_weights_load_in_every_form_without_rounding(tmp_path, form, kind, res):
    state = recipe.state_dict(kind)
    path = tmp_path / "clip.pt"
    if form == "state_dict":
        torch.save(state, path)
    elif form == "wrapped":
        torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}, "epoch": 3}, path)
    elif form == "safetensors":
        from safetensors.torch import save_file

        path = tmp_path / "clip.safetensors"
        save_file(state, path)
    else:
        torch.jit.script(_as_module(state)).save(str(path))
    clip = load_clip("ViT-B/16", path=str(path))
    expected = GOLDEN["cases"][kind]["image_features_unnormalised"]
    np.testing.assert_allclose(clip.encode_image(recipe.images(res=res)), expected, atol=1e-4)
    assert clip.image_size == res and clip.text_width == 128 and clip.embed_dim == 64


def _as_module(state):
    """A scriptable module tree whose state dict has CLIP's keys, as OpenAI's archives have."""
    root = torch.nn.Module()
    for key, value in state.items():
        *path, leaf = key.split(".")
        node = root
        for name in path:
            if name not in node._modules:
                node.add_module(name, torch.nn.Module())
            node = node._modules[name]
        node.register_buffer(leaf, value)
    root.register_buffer("input_resolution", torch.tensor(32))
    return root


@torch.no_grad()
def features_and_logits(kind, res, precision):
    """Image features (4, E), class features (6, E), logits (4, 6), float32; amp under autocast, as trainers run it."""
    clip = recipe.clip(kind, precision)
    with torch.autocast("cpu", enabled=precision == "amp"):
        template = PromptTemplate(clip, recipe.CLASSNAMES, 4, "a photo of a")
        image_features = F.normalize(clip.encode_image(recipe.images(res=res)).float(), dim=-1)
        classes = template.features(template.words).float()
    return image_features, classes, clip.logit_scale * image_features @ classes.T


@pytest.mark.parametrize("precision", HALF_PRECISION)
@pytest.mark.parametrize("kind, res", [("vit", 32), ("rn", 64)])
def test_lower_precisions_stay_close(kind, res, precision):
    expected, found = features_and_logits(kind, res, "fp32"), features_and_logits(kind, res, precision)
    apart = [(ours - theirs).abs().max().item() for ours, theirs in zip(found, expected)]
    of_features, of_logits = HALF_PRECISION[precision]
    assert 0 < max(apart[:2]) < 2 * of_features  # 0: it was no half precision
    assert 0 < apart[2] < 2 * of_logits < 0.5 * expected[2].abs().mean()


@pytest.mark.parametrize("kind, res", [("vit", 32), ("rn", 64)])
def test_amp_is_float32_without_autocast(kind, res):
    image_features = recipe.clip(kind, "amp").encode_image(recipe.images(res=res))
    assert torch.equal(image_features, recipe.clip(kind).encode_image(recipe.images(res=res)))


def test_bad_requests_are_one_clear_line(tmp_path):
    garbage, foreign = tmp_path / "garbage.pt", tmp_path / "foreign.pt"
    garbage.write_bytes(b"not a checkpoint")
    torch.save({"weight": torch.ones(2)}, foreign)
    for kwargs, words in [
        (dict(name="ViT-B/61"), ["ViT-B/61", "ViT-B/16"]),
        (dict(name="mini", precision="fp8"), ["PREC", "fp8", "bf16"]),
        (dict(name="ViT-B/16", path=str(tmp_path / "none.pt")), ["none.pt"]),
        (dict(name="ViT-B/16", path=str(garbage)), ["garbage.pt"]),
        (dict(name="ViT-B/16", path=str(foreign)), ["foreign.pt", "token_embedding"]),
        (dict(name="ViT-B-32:nothing"), ["nothing", "laion2b"]),
        (dict(name="ViT-B-61:openai"), ["ViT-B-61", "ViT-B-16"]),
        (dict(name="ViT-B-32:openai"), ["QuickGELU", "ViT-B-32-quickgelu:openai"]),
    ]:
        with pytest.raises(UserError) as error:
            load_clip(**kwargs)
        message = str(error.value)
        assert "\n" not in message and all(word in message for word in words), message


def test_too_long_prompts_are_named_not_cut():
    clip = recipe.clip()
    with pytest.raises(UserError, match="77 positions"):
        tokenize(clip.tokenizer, ["word " * 100], 77)
    assert clean_name("electric_guitar") == "electric guitar"
