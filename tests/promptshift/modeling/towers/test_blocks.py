"""The block that both towers run against open_clip's own, values and gradients."""

import pytest
import torch
from open_clip.transformer import CustomResidualAttentionBlock, ResidualAttentionBlock

from promptshift.modeling.towers.blocks import is_plain, run_block


def block_and_tokens(length=7):
    torch.manual_seed(0)
    block = ResidualAttentionBlock(32, 4, ls_init_value=0.5)
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return block, torch.randn(3, length, 32, requires_grad=True)


def causal(length):
    return torch.full((length, length), float("-inf")).triu(1)


@pytest.mark.parametrize("masked", [False, True])
def test_values_and_gradients_are_those_of_open_clip(masked):
    block, x = block_and_tokens()
    mask = causal(7) if masked else None
    results = []
    for run in (lambda: block(x, attn_mask=mask), lambda: run_block(block, x, mask)):
        out = run()
        results.append((out.detach(), *torch.autograd.grad(out.square().sum(), [x, *block.parameters()])))
    for plain, ours in zip(*results):
        torch.testing.assert_close(ours, plain, atol=1e-4, rtol=1e-5)
    assert (block(x, attn_mask=causal(7)) - block(x)).abs().max() > 0.1  # the mask matters


def test_some_tokens_alone():
    block, x = block_and_tokens()
    whole = block(x, attn_mask=causal(7))
    last = run_block(block, x, causal(7)[None, None], rows=slice(-1, None))
    torch.testing.assert_close(last, whole[:, -1:], atol=1e-5, rtol=1e-5)
    rows = torch.tensor([[0, 6], [3, 1], [5, 5]])
    some = run_block(block, x, causal(7)[None, None], rows)
    torch.testing.assert_close(some, whole[torch.arange(3)[:, None], rows], atol=1e-5, rtol=1e-5)
    token = run_block(block, x, rows=slice(0, 1))
    torch.testing.assert_close(token, block(x)[:, :1], atol=1e-5, rtol=1e-5)


def test_only_plain_blocks_are_replaced():
    assert is_plain(ResidualAttentionBlock(32, 4))
    assert not is_plain(CustomResidualAttentionBlock(32, 4))
    assert not is_plain(ResidualAttentionBlock(32, 4, is_cross_attention=True))
