"""The promptable vision tower: CLIP's own without prompts, and where prompts stand with them."""

import pytest
import torch

import helpers.goldens_recipe as recipe
from dassl.utils.errors import UserError
from promptshift.modeling.towers.vision_tower import VisionPrompts, VisionTower


@pytest.fixture
def tower():
    return VisionTower(recipe.clip(), "VPT")


def prompts(*shape, seed=0):
    return torch.randn(*shape, 192, generator=torch.Generator().manual_seed(seed)) * 0.1


@pytest.mark.parametrize("precision, tolerance", [("fp32", 1e-5), ("bf16", 0.05), ("fp16", 0.01)])
def test_without_prompts_it_is_clip_s_image_encoder(precision, tolerance):
    clip, images = recipe.clip(precision=precision), recipe.images()
    features = VisionTower(clip, "VPT").encode(images)
    assert features.dtype == torch.float32  # the last projection is not rounded to the compute dtype
    torch.testing.assert_close(features, clip.encode_image(images).float(), atol=tolerance, rtol=tolerance)


def test_one_set_per_image_is_that_set_for_each_image(tower):
    images, shallow, deep = recipe.images(batch=3), prompts(3, 2), [prompts(3, 2, seed=1), prompts(3, 2, seed=2)]
    together = tower.encode(images, shallow, deep)
    for i in range(3):
        alone = tower.encode(images[i : i + 1], shallow[i], [d[i] for d in deep])
        torch.testing.assert_close(together[i], alone[0], atol=1e-5, rtol=0)
    shared = tower.encode(images, shallow[0])
    torch.testing.assert_close(shared, tower.encode(images, shallow[:1].expand(3, -1, -1)), atol=1e-6, rtol=0)


def test_blocks_see_the_prompts_that_are_theirs(tower):
    images, shallow, deep = recipe.images(), prompts(2), [prompts(2, seed=1)]
    features, tokens = tower.encode_with_tokens(images, shallow, deep)
    torch.testing.assert_close(features, tower.encode(images, shallow, deep), atol=1e-6, rtol=0)
    assert [tuple(t.shape) for t in tokens] == [(4, 1 + 16 + 2, 192)] * 4
    torch.testing.assert_close(tokens[0][:, -2:], tower.visual.ln_pre(shallow).expand(4, -1, -1))
    assert torch.equal(tokens[1][:, -2:], deep[0].expand(4, -1, -1))  # replaced
    torch.testing.assert_close(tokens[2], tower.blocks[1](tokens[1]), atol=1e-5, rtol=0)  # handed on
    _, plain = tower.encode_with_tokens(images)
    torch.testing.assert_close(tokens[0][:, :-2], plain[0])


def test_gradients_reach_the_prompts_and_not_clip(tower):
    shallow, deep = prompts(2).requires_grad_(), prompts(2, seed=1).requires_grad_()
    tower.encode(recipe.images(), shallow, [deep]).sum().backward()
    assert shallow.grad.norm() > 0 and deep.grad.norm() > 0
    assert all(p.grad is None for p in tower.visual.parameters())


def test_deep_prompts_need_shallow_ones_and_a_block(tower):
    for shallow, deep in [(None, [prompts(2)]), (prompts(2), [prompts(2)] * 4)]:
        with pytest.raises(ValueError, match="deep prompts"):
            tower.encode(recipe.images(), shallow, deep)


def test_other_towers_and_sizes_are_refused_by_name(tower):
    with pytest.raises(UserError, match="MODEL.BACKBONE.NAME.*VPT.*'golden-rn'"):
        VisionTower(recipe.clip("rn"), "VPT")
    with pytest.raises(UserError, match="IVLP.N_CTX_VISION: 0"):
        VisionPrompts(tower, 0, 1, "IVLP")
    for depth in (0, 5):
        with pytest.raises(UserError, match=f"IVLP.PROMPT_DEPTH_VISION: {depth}.*1 to 4"):
            VisionPrompts(tower, 2, depth, "IVLP")
