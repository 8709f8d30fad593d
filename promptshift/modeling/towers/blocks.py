"""One pre-norm transformer block of CLIP, as both towers run it: one matrix product for queries, keys and values.

torch's `nn.MultiheadAttention` hands its projection a transposed view when batches come first, which becomes a product
per token; here the projection sees the tokens as they lie in memory, which
tests/promptshift/modeling/towers/test_blocks.py holds equal to open_clip's block.

Shapes: N sequences, L tokens, D width, H heads.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


def is_plain(block: nn.Module) -> bool:
    """Whether a block is open_clip's own residual block with torch's attention, which `run_block` replaces."""
    from open_clip.transformer import ResidualAttentionBlock  # takes a second to import; here the CLIP has loaded it

    return (
        isinstance(block, ResidualAttentionBlock)
        and isinstance(block.attn, nn.MultiheadAttention)
        and block.attn.in_proj_weight is not None
        and not hasattr(block, "ln_1_kv")
    )


def run_block(block: nn.Module, x: Tensor, mask: Tensor | None = None, rows: slice | Tensor | None = None) -> Tensor:
    """Run a plain block.

    Args:
        x: tokens (N, L, D).
        mask: what is added to the attention, (L, L) or (N or 1, 1, L, L): 0 where a token may look, else minus
            infinity; without it every token sees all.
        rows: which tokens of x are wanted after the block, the same of every sequence, or (N, L') of each; all
            without it.

    Returns:
        the wanted tokens (N, L', D).
    """
    attn, width = block.attn, block.attn.embed_dim
    h = block.ln_1(x)
    if rows is None:
        queries, keys, values = F.linear(h, attn.in_proj_weight, attn.in_proj_bias).chunk(3, dim=-1)
    else:
        x, part = _wanted(x, rows), _wanted(h, rows)
        queries = F.linear(part, attn.in_proj_weight[:width], attn.in_proj_bias[:width])
        keys, values = F.linear(h, attn.in_proj_weight[width:], attn.in_proj_bias[width:]).chunk(2, dim=-1)
        mask = None if mask is None else _wanted(mask.expand(len(x), 1, -1, -1).squeeze(1), rows).unsqueeze(1)
    out = F.scaled_dot_product_attention(*(_heads(t, attn) for t in (queries, keys, values)), attn_mask=mask)
    x = x + block.ls_1(attn.out_proj(out.transpose(1, 2).flatten(2)))
    return x + block.ls_2(block.mlp(block.ln_2(x)))


def _wanted(x: Tensor, rows: slice | Tensor) -> Tensor:
    """Tokens (N, L, D) -> those of `rows` (N, L', D)."""
    if isinstance(rows, slice):
        return x[:, rows]
    return x.gather(1, rows.unsqueeze(-1).expand(len(x), -1, x.shape[2]))


def _heads(x: Tensor, attn: nn.MultiheadAttention) -> Tensor:
    return x.unflatten(-1, (attn.num_heads, -1)).transpose(1, 2)  # (N, L, D) -> (N, H, L, D/H)
