"""One pre-norm transformer block of CLIP, as both towers run it: one matrix product for queries, keys and values.

torch's `nn.MultiheadAttention` hands its projection a transposed view when batches come first, which becomes a product
per token; here the projection sees the tokens as they lie in memory, which
tests/promptshift/modeling/towers/test_blocks.py holds equal to open_clip's block.

Shapes: N sequences, L tokens, P tokens seen before, D width, H heads.
"""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

KeysValues = tuple[Tensor, Tensor]  # (N, H, L, D/H) each


def is_plain(block: nn.Module) -> bool:
    """Whether a block is open_clip's own residual block with torch's attention, which `run_block` replaces."""
    from open_clip.transformer import ResidualAttentionBlock  # takes a second to import; here the CLIP has loaded it

    return (
        isinstance(block, ResidualAttentionBlock)
        and isinstance(block.attn, nn.MultiheadAttention)
        and block.attn.in_proj_weight is not None
        and not hasattr(block, "ln_1_kv")
    )


def run_block(
    block: nn.Module, x: Tensor, past: KeysValues | None = None, causal: bool = False, rows: slice | None = None
) -> tuple[Tensor, KeysValues]:
    """Run a plain block.

    Args:
        x: tokens (N, L, D).
        past: keys and values of tokens that stand before all of x and are seen by all of them.
        causal: a token of x sees those of x that stand before it, and itself; else all of x.
        rows: which tokens of x are wanted behind the block, all without it. With `causal` it must reach to the last.

    Returns:
        the wanted tokens (N, L', D), and the keys and values of all of x.
    """
    attn, width = block.attn, block.attn.embed_dim
    h = block.ln_1(x)
    if rows is None:
        queries, keys, values = F.linear(h, attn.in_proj_weight, attn.in_proj_bias).chunk(3, dim=-1)
    else:
        x, part = x[:, rows], h[:, rows]
        queries = F.linear(part, attn.in_proj_weight[:width], attn.in_proj_bias[:width])
        keys, values = F.linear(h, attn.in_proj_weight[width:], attn.in_proj_bias[width:]).chunk(2, dim=-1)
    queries, own = _heads(queries, attn), (_heads(keys, attn), _heads(values, attn))
    seen = own if past is None else tuple(torch.cat(pair, dim=2) for pair in zip(past, own))
    mask = _causal_mask(queries.shape[2], seen[0].shape[2], x.device) if causal and queries.shape[2] > 1 else None
    out = F.scaled_dot_product_attention(queries, *seen, attn_mask=mask)  # (N, H, L', D/H)
    x = x + block.ls_1(attn.out_proj(out.transpose(1, 2).flatten(2)))
    return x + block.ls_2(block.mlp(block.ln_2(x))), own


def _heads(x: Tensor, attn: nn.MultiheadAttention) -> Tensor:
    return x.unflatten(-1, (attn.num_heads, -1)).transpose(1, 2)  # (N, L, D) -> (N, H, L, D/H)


@functools.lru_cache(maxsize=256)
def _causal_mask(queries: int, keys: int, device: torch.device) -> Tensor:
    """(queries, keys), True where a query that stands among the last keys may look."""
    return torch.ones(queries, keys, dtype=torch.bool, device=device).tril(keys - queries)
