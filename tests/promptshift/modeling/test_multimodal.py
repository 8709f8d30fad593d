"""Prompts of both towers: many sets at once equal one at a time, and the fast text path equals the plain one."""

import pytest
import torch

import helpers.goldens_recipe as recipe
from benchmarks import plain
from promptshift.modeling.multimodal import CoupledPrompts, IndependentPrompts, class_features, image_features

NAMES = [*recipe.CLASSNAMES, "a rather long class name indeed"]


def coupled(**options):
    torch.manual_seed(0)
    return CoupledPrompts(
        recipe.clip(),
        NAMES,
        **dict(dict(n_ctx=2, ctx_init="a photo of a", depth=4, max_tokens=16384, key="MAPLE"), **options),
    )


def independent(**options):
    torch.manual_seed(0)
    return IndependentPrompts(
        recipe.clip(),
        NAMES,
        **dict(
            dict(
                n_text=2,
                depth_text=3,
                n_vision=3,
                depth_vision=4,
                ctx_init="a photo of a",
                max_tokens=16384,
                key="IVLP",
            ),
            **options,
        ),
    )


def copies(module, sets):
    """Every tensor of a module `sets` times, each copy a little different; and the copies one by one."""
    generator = torch.Generator().manual_seed(1)
    many = {
        name: value.detach() + 0.05 * torch.randn(sets, *value.shape, generator=generator)
        for name, value in module.named_parameters()
    }
    return many, [{name: value[g].clone() for name, value in many.items()} for g in range(sets)]


def features(module, tensors, images):
    """Class and image features under named tensors of `module`."""
    prompts = module.prompts(tensors)
    return (
        class_features(module.template, prompts.ctx, prompts.deep_text),
        image_features(module.tower, images, prompts.vision, prompts.deep_vision),
    )


@pytest.mark.parametrize("make", [coupled, independent])
@pytest.mark.parametrize("max_tokens, fast", [(16384, True), (60, True), (60, False)])
def test_many_sets_at_once_equal_one_at_a_time(make, max_tokens, fast):
    module = make(max_tokens=max_tokens)
    module.template.tower.is_plain = fast
    images = recipe.images(batch=6).unflatten(0, (3, 2))  # 3 sets, 2 images each
    many, single = copies(module, 3)
    for tensor in many.values():
        tensor.requires_grad_()
    classes, seen = features(module, many, images)
    assert classes.shape == (3, 7, 64) and seen.shape == (3, 2, 64)
    logits = torch.einsum("gve,gke->gvk", seen, classes)
    logits.square().sum().backward()
    for g, tensors in enumerate(single):
        alone = {name: tensor.requires_grad_() for name, tensor in tensors.items()}
        one_class, one_image = features(module, alone, images[g])
        torch.testing.assert_close(classes[g], one_class, atol=1e-5, rtol=0)
        torch.testing.assert_close(seen[g], one_image, atol=1e-5, rtol=0)
        (one_image @ one_class.T).square().sum().backward()
        for name, tensor in alone.items():
            torch.testing.assert_close(many[name].grad[g], tensor.grad, atol=1e-4, rtol=1e-3)


def test_one_set_an_image_runs_without_views():
    module, images = independent(), recipe.images(batch=3)
    many, single = copies(module, 3)
    prompts = module.prompts(many)
    together = image_features(module.tower, images, prompts.vision, prompts.deep_vision)
    for i, tensors in enumerate(single):
        torch.testing.assert_close(together[i], features(module, tensors, images[i : i + 1])[1][0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("max_tokens", [16384, 30])
@pytest.mark.parametrize(
    "names", [NAMES, ["dog"], ["red dog", "red horse", "red dog house"]], ids=["several", "one", "one first word"]
)
def test_words_that_all_classes_share_run_once_and_change_nothing(names, max_tokens):
    torch.manual_seed(0)
    module = CoupledPrompts(recipe.clip(), names, 2, "a photo of a", 4, max_tokens, "MAPLE")
    assert module.template.common == {7: 2, 1: 4, 3: 3}[len(names)]  # of a | of a dog . | of a red
    prompts = module()
    weights = torch.linspace(-1, 1, len(names) * 64).view(len(names), 64)
    fast, slow = module.class_features(), plain.class_features(module.template, prompts.ctx, prompts.deep_text)
    torch.testing.assert_close(fast, slow, atol=1e-5, rtol=0)
    parameters = [module.prompt_learner.ctx, *module.prompt_learner.compound_prompts_text]
    expected = torch.autograd.grad((slow * weights).sum(), parameters)
    for actual, value in zip(torch.autograd.grad((fast * weights).sum(), parameters), expected):
        torch.testing.assert_close(actual, value, atol=1e-5, rtol=1e-3)


def test_class_features_are_kept_until_a_prompt_changes():
    module = coupled()
    with torch.no_grad():
        before = module.class_features()
        assert module.class_features() is before
        module.prompt_learner.compound_prompts_text[2][0, :64].add_(1.0)
        assert (module.class_features() - before).abs().max() > 1e-3
    assert module.class_features().requires_grad


def test_vision_prompts_of_every_layer_reach_the_class_token():
    module = coupled()
    module.image_features(recipe.images()).square().cumsum(0).sum().backward()
    for layer in (module.prompt_learner.proj, *module.prompt_learner.compound_prompt_projections):
        assert layer.bias.grad.norm() > 0  # the last one's block runs for the class token alone
