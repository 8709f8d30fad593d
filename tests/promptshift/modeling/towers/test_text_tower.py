"""The fast text tower equals the plain 77-token one; chunks and shared prefixes change nothing."""

import pytest
import torch
import torch.nn.functional as F

import helpers.goldens_recipe as recipe
from dassl.utils.errors import UserError
from promptshift.modeling.prompts import PromptLearner, PromptTemplate
from promptshift.modeling.towers.text_tower import TextTower

NAMES = [*recipe.CLASSNAMES, "a rather long class name indeed"]


def plain_features(template, ctx):
    """The released codes' way: 77 tokens, every class in full."""
    x = template.embeds(ctx)
    pad = template.clip.embed_tokens(torch.zeros(len(x), 77 - x.shape[1], dtype=torch.long))
    model = template.clip.model
    x = torch.cat([x, pad], dim=1) + model.positional_embedding
    x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask))
    return F.normalize(x[torch.arange(len(x)), template.eot] @ model.text_projection, dim=-1)


@pytest.mark.parametrize("position", ["end", "middle", "front"])
@pytest.mark.parametrize("csc", [False, True])
@pytest.mark.parametrize("max_tokens", [16384, 40, 12])
def test_truncated_chunked_shared_equals_77_tokens(position, csc, max_tokens):
    torch.manual_seed(0)
    learner = PromptLearner(recipe.clip(), NAMES, n_ctx=4, csc=csc, position=position, max_tokens=max_tokens)
    fast = learner()
    (fast_grad,) = torch.autograd.grad(fast.square().sum(dim=1) @ torch.arange(7.0) + fast[2, :5].sum(), learner.ctx)
    plain = plain_features(learner.template, learner.ctx)
    (plain_grad,) = torch.autograd.grad(plain.square().sum(dim=1) @ torch.arange(7.0) + plain[2, :5].sum(), learner.ctx)
    torch.testing.assert_close(fast, plain, atol=1e-5, rtol=0)
    torch.testing.assert_close(fast_grad, plain_grad, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("position", ["end", "front"])
@pytest.mark.parametrize("max_tokens", [16384, 64])
def test_many_contexts_equal_one_at_a_time(position, max_tokens):
    template = PromptTemplate(recipe.clip(), NAMES, 4, position=position, max_tokens=max_tokens)
    contexts = torch.randn(5, 4, 128, generator=torch.Generator().manual_seed(1)) * 0.05
    together = template.features_each(contexts)
    assert together.shape == (5, 7, 64)
    for ctx, rows in zip(contexts, together):
        torch.testing.assert_close(rows, plain_features(template, ctx), atol=1e-5, rtol=0)


def test_towers_without_plain_blocks_take_the_general_path():
    template = PromptTemplate(recipe.clip(), NAMES, 4)
    contexts = torch.randn(3, 4, 128, generator=torch.Generator().manual_seed(1)) * 0.05
    shared = template.features_each(contexts)
    template.tower.is_plain = False
    torch.testing.assert_close(template.features_each(contexts), shared, atol=1e-5, rtol=0)


def test_deep_prompts_replace_the_previous_layer_s_outputs():
    clip = recipe.clip()
    template = PromptTemplate(clip, NAMES, 2, "a photo")
    generator = torch.Generator().manual_seed(2)
    ctx, *deep = torch.randn(3, 2, 128, generator=generator) * 0.05
    fast = template.features(ctx, deep)
    x = template.embeds(ctx) + clip.model.positional_embedding[: template.embeds(ctx).shape[1]]
    mask = clip.model.attn_mask[: x.shape[1], : x.shape[1]]
    for i, block in enumerate(clip.model.transformer.resblocks):
        if i in (1, 2):
            x = torch.cat([x[:, :1], deep[i - 1].expand(len(x), -1, -1), x[:, 3:]], dim=1)
        x = block(x, attn_mask=mask)
    plain = clip.model.ln_final(x)[torch.arange(len(x)), template.eot] @ clip.model.text_projection
    torch.testing.assert_close(fast, F.normalize(plain, dim=-1), atol=1e-5, rtol=0)


def plain_with_replacements(template, ctx, deep):
    """The released codes' way: 77 tokens, every class in full, what is replaced at a block's input written out."""
    x, model = template.embeds(ctx), template.clip.model
    pad = template.clip.embed_tokens(torch.zeros(len(x), 77 - x.shape[1], dtype=torch.long))
    x = torch.cat([x, pad], dim=1) + model.positional_embedding
    for i, block in enumerate(model.transformer.resblocks):
        if i in deep:
            x = torch.cat([x[:, :1], deep[i].expand(len(x), -1, -1), x[:, 1 + deep[i].shape[-2] :]], dim=1)
        x = block(x, attn_mask=model.attn_mask)
    return F.normalize(model.ln_final(x[torch.arange(len(x)), template.eot]) @ model.text_projection, dim=-1)


@pytest.mark.parametrize("blocks", [(2,), (3,), (0, 2), (1, 3)])
@pytest.mark.parametrize("of_each_class", [False, True])
@pytest.mark.parametrize("max_tokens", [16384, 40, 12])
def test_any_block_s_input_is_replaced(blocks, of_each_class, max_tokens):
    """Of all classes at once, whose common tokens then run once, or class by class (TCP)."""
    template = PromptTemplate(recipe.clip(), NAMES, 3, max_tokens=max_tokens, rest="person doing {}.")
    generator = torch.Generator().manual_seed(3)
    shape = (len(NAMES), 3, 128) if of_each_class else (3, 128)
    ctx = (torch.randn(3, 128, generator=generator) * 0.05).requires_grad_()
    deep = {block: (torch.randn(shape, generator=generator) * 0.05).requires_grad_() for block in blocks}
    fast, plain = template.features(ctx, deep), plain_with_replacements(template, ctx, deep)
    torch.testing.assert_close(fast, plain, atol=1e-5, rtol=0)
    weights = torch.linspace(-1, 1, fast.numel()).view_as(fast)
    tensors = [ctx, *deep.values()]
    ours, theirs = (torch.autograd.grad((y * weights).sum(), tensors) for y in (fast, plain))
    for mine, plain_one in zip(ours, theirs):
        torch.testing.assert_close(mine, plain_one, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("position", ["end", "front"])
def test_several_contexts_have_replacements_of_their_own(plain, position):
    template = PromptTemplate(recipe.clip(), NAMES, 3, position=position)
    template.tower.is_plain = plain
    generator = torch.Generator().manual_seed(4)
    contexts, third = (torch.randn(5, 3, 128, generator=generator) * 0.05 for _ in range(2))
    together = template.features_each(contexts, {2: third})
    for rows, ctx, deep in zip(together, contexts, third):
        torch.testing.assert_close(rows, plain_with_replacements(template, ctx, {2: deep}), atol=1e-5, rtol=0)


def test_features_before_their_normalisation():
    template = PromptTemplate(recipe.clip(), NAMES, 3)
    for features in (template.features, template.features_each):
        ctx = template.words if features == template.features else template.words[None]
        raw = features(ctx, normalize=False)
        assert raw.norm(dim=-1).max() > 1.5
        torch.testing.assert_close(F.normalize(raw, dim=-1), features(ctx))


def test_a_block_that_is_not_there_has_no_input():
    template = PromptTemplate(recipe.clip(), NAMES, 3)
    with pytest.raises(ValueError, match="block 4 of 4"):
        template.features(template.words, {4: template.words})


def test_words_beyond_n_ctx_stay_fixed_in_the_prompt():
    template = PromptTemplate(recipe.clip(), ["dog"], 2, "a photo of a")
    assert template.tokens[0].tolist() == [49406, 320, 1125, 539, 320, 1929, 269, 49407]
    assert template.words.shape == (2, 128) and template.suffix.shape[1] == 5  # "of a dog . EOT"


def test_state_dict_holds_the_context_alone():
    assert list(PromptLearner(recipe.clip(), NAMES).state_dict()) == ["ctx"]


def test_bad_positions_and_sizes_are_named():
    for kwargs, word in [(dict(position="left"), "left"), (dict(n_ctx=0), "N_CTX"), (dict(n_ctx=90), "77 positions")]:
        with pytest.raises(UserError, match=word):
            PromptLearner(recipe.clip(), NAMES, **kwargs)


def test_non_causal_towers_are_refused():
    clip = recipe.clip()
    broken = type("Clip", (), {"text": type("Text", (), {"attn_mask": None})(), "name": "other"})()
    with pytest.raises(UserError, match="causal"):
        TextTower(broken)
    assert TextTower(clip).context_length == 77
