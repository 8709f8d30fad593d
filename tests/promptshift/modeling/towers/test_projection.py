"""What a small step of the prompts does to features in half precision: it is not lost in a last rounding."""

from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F

import helpers.goldens_recipe as recipe
from promptshift.modeling.prompts import PromptTemplate
from promptshift.modeling.towers.projection import layer_norm, project_features
from promptshift.modeling.towers.vision_tower import VisionTower


def autocast(precision):
    return torch.autocast("cpu") if precision == "amp" else nullcontext()


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("precision", ["amp", "bf16", "fp16"])
def test_a_small_step_of_the_context_moves_every_number_of_the_class_features(precision, seed):
    template = PromptTemplate(recipe.clip(precision=precision), recipe.CLASSNAMES, 4, "a photo of a")
    words = template.words.float()
    step = 5e-4 * torch.randn(words.shape, generator=torch.Generator().manual_seed(seed)).sign()
    with torch.no_grad(), autocast(precision):
        before, after = template.features(words), template.features(words + step)
    assert before.dtype == torch.float32
    # features rounded to the compute dtype behind the tower leave 1 % (fp16) to 10 % (amp) of the numbers where they
    # were: L1 distances from the features before the step then have no gradient there
    assert (after == before).float().mean() < 0.003


@pytest.mark.parametrize("precision", ["amp", "bf16", "fp16"])
def test_the_blocks_sums_and_the_features_of_images_are_not_rounded_below_the_weights_dtype(precision):
    clip = recipe.clip(precision=precision)
    with torch.no_grad(), autocast(precision):
        features, tokens = VisionTower(clip, "VPT").encode_with_tokens(recipe.images(), torch.zeros(2, 192))
    assert features.dtype == torch.float32 and {layer.dtype for layer in tokens} == {clip.dtype}


@pytest.mark.parametrize("projection", ["matrix", "linear", "linear without bias", "none"])
def test_norm_and_projection_are_float32_from_any_dtype(projection):
    torch.manual_seed(0)
    norm, x = torch.nn.LayerNorm(8), torch.randn(3, 8).bfloat16()
    torch.nn.init.normal_(norm.weight)
    weight = {
        "matrix": torch.randn(8, 5),
        "linear": torch.nn.Linear(8, 5),
        "linear without bias": torch.nn.Linear(8, 5, bias=False),
        "none": None,
    }[projection]
    normed = F.layer_norm(x.float(), (8,), norm.weight, norm.bias)
    expected = {"matrix": lambda: normed @ weight, "none": lambda: normed}.get(projection, lambda: weight(normed))()
    with torch.autocast("cpu"):
        torch.testing.assert_close(project_features(layer_norm(x, norm), weight), expected)
