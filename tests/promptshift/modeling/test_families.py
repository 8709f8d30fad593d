"""Every family of vision-language models: the towers on prompts equal open_clip's own run of the same model."""

import pytest
import torch
import torch.nn.functional as F

import helpers.goldens_recipe as recipe
from dassl.utils.errors import UserError
from helpers.families import FAMILIES, family_clip
from promptshift.modeling.clip import load_clip
from promptshift.modeling.prompts import PromptTemplate
from promptshift.modeling.towers.text_tower import TextTower
from promptshift.modeling.towers.vision_tower import VisionTower

TEXTS = ["a photo of a dog.", "wow!! an electric guitar, seen from the left side.", "!", "x"]  # "!" has CoCa's pad id
CLASSES = ["dog", "electric_guitar", "house!!"]

family = pytest.mark.parametrize("name", FAMILIES)


def own_text(clip, texts):
    """Features of texts as open_clip makes them, over the whole length."""
    with torch.no_grad():
        return clip.model.encode_text(clip.tokenizer(texts), normalize=False)


@family
def test_texts_are_encoded_as_by_open_clip(name):
    clip = family_clip(name)
    tower = TextTower(clip)
    assert tower.truncates == FAMILIES[name].truncates
    together = tower.encode_texts(TEXTS, normalize=False)
    torch.testing.assert_close(together, own_text(clip, TEXTS), atol=2e-5, rtol=1e-4)
    assert (together[0] - together[3]).norm() > 1e-3
    few = TextTower(clip, max_tokens=80)  # one after the other
    torch.testing.assert_close(few.encode_texts(TEXTS, normalize=False), together, atol=2e-5, rtol=1e-4)


@family
def test_logits_are_open_clip_s_up_to_a_constant_bias(name):
    clip, images = family_clip(name), recipe.images(res=FAMILIES[name].image, batch=2)
    features = F.normalize(clip.encode_image(images), dim=-1)
    logits = clip.logit_scale * features @ TextTower(clip).encode_texts(TEXTS).T
    with torch.no_grad():
        image, text = clip.model.encode_image(images), clip.model.encode_text(clip.tokenizer(TEXTS))
        scale, bias = clip.model.logit_scale.exp(), clip.model.logit_bias
        expected = scale * F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T + (0 if bias is None else bias)
    torch.testing.assert_close(logits.softmax(dim=1), expected.softmax(dim=1), atol=1e-5, rtol=0)
    assert (bias is not None) == name.startswith("SigLIP")
    if bias is not None:
        torch.testing.assert_close(logits + bias, expected, atol=1e-4, rtol=0)


def plain(clip, template, ctx):
    """Features of prompts by open_clip's own encode_text, the context put in where its token embedding is looked up."""
    tokens = torch.zeros(len(template.tokens), TextTower(clip).context_length, dtype=torch.long)
    tokens[:, : template.tokens.shape[1]] = template.tokens
    embedding = clip.text.token_embedding

    def put_in(module, inputs, output):
        return torch.cat([output[:, :1], ctx.expand(len(output), -1, -1), output[:, 1 + len(ctx) :]], dim=1)

    with embedding.register_forward_hook(put_in):
        return F.normalize(clip.model.encode_text(tokens, normalize=False), dim=-1)


@family
def test_prompts_and_their_gradients_are_those_of_the_plain_run(name):
    clip = family_clip(name)
    template = PromptTemplate(clip, CLASSES, 4)
    ctx = (torch.randn(4, 64, generator=torch.Generator().manual_seed(1)) * 0.05).requires_grad_()
    weights = torch.arange(1.0, 4.0)
    ours, theirs = template.features(ctx), plain(clip, template, ctx)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    gradients = [torch.autograd.grad(weights @ x[:, :20].sum(dim=1), ctx)[0] for x in (ours, theirs)]
    assert gradients[0].norm() > 1e-4
    torch.testing.assert_close(*gradients, atol=1e-5, rtol=1e-3)
    contexts = torch.stack([ctx.detach(), ctx.detach().flip(0)])
    torch.testing.assert_close(template.features_each(contexts)[0], ours.detach(), atol=1e-5, rtol=0)
    torch.testing.assert_close(template.features_each(contexts)[1], template.features(contexts[1]), atol=1e-5, rtol=0)


@family
def test_vision_prompts_or_a_refusal_in_one_line(name):
    clip, images = family_clip(name), recipe.images(res=FAMILIES[name].image, batch=2)
    if FAMILIES[name].maple:
        torch.testing.assert_close(VisionTower(clip, "MaPLe").encode(images), clip.encode_image(images))
        return
    with pytest.raises(UserError, match="MODEL.BACKBONE.NAME: MaPLe") as error:
        VisionTower(clip, "MaPLe")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["roberta-ViT-B-32:laion2b_s12b_b32k", "xlm-roberta-base-ViT-B-32:laion5b_s13b_b90k"])
def test_text_towers_of_hugging_face_are_refused_before_anything_is_downloaded(name):
    with pytest.raises(UserError, match="context vectors cannot be inserted") as error:
        load_clip(name)
    assert "\n" not in str(error.value) and name in str(error.value)


def test_half_precisions_stay_close(tmp_path):
    from helpers.families import write

    for name in ("SigLIP", "CoCa"):
        (tmp_path / name).mkdir()
        write(name, tmp_path / name)
        expected = TextTower(family_clip(name)).encode_texts(TEXTS)
        clip = load_clip(f"local-dir:{tmp_path / name}", precision="bf16")
        torch.testing.assert_close(TextTower(clip).encode_texts(TEXTS), expected, atol=0.05, rtol=0)
        assert clip.encode_image(recipe.images(res=FAMILIES[name].image, batch=1)).dtype == torch.bfloat16
