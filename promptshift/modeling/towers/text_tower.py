"""CLIP's frozen text tower, run on prompt embeddings and only as far as needed.

Attention is causal, so nothing after the end-of-text position can change its output: the tower runs to the longest
end-of-text position instead of all 77 (exact). Where all classes share [SOS, context], these tokens are the same
for all of them and are computed once for many classes (exact too, see packing.py).
tests/promptshift/modeling/towers/test_text_tower.py holds both equal to the plain run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from dassl.utils.errors import UserError
from promptshift.modeling.clip import FrozenCLIP
from promptshift.modeling.tokens import tokenize
from promptshift.modeling.towers.blocks import is_plain, run_block
from promptshift.modeling.towers.packing import Packing, pack, room_for
from promptshift.modeling.towers.projection import layer_norm, project_features

MAX_TOKENS = 16384  # per chunk: about 3 GB of activations with gradients at width 512, 12 layers, fp16


class TextTower:
    """Prompt embeddings in, text features out.

    Shapes: N prompts, K classes, G contexts, L tokens, P prefix tokens, S suffix tokens, D text width, E embedding.

    Args:
        clip: the frozen model.
        max_tokens: most tokens that run at once; more are run in chunks, and with gradients each chunk is
            recomputed in the backward pass, so that memory stays bounded whatever the number of classes.
    """

    def __init__(self, clip: FrozenCLIP, max_tokens: int = MAX_TOKENS):
        text = clip.text
        pool = getattr(text, "text_pool_type", getattr(text, "pool_type", "argmax"))
        mask = getattr(text, "attn_mask", None)
        if mask is None or pool not in ("argmax", "eos"):
            raise UserError(
                f"backbone '{clip.name}': only causal text towers that pool at the end-of-text token "
                "can be run on prompts"
            )
        self.clip = clip
        self.max_tokens = max_tokens
        self.blocks = list(text.transformer.resblocks)
        self.positions = text.positional_embedding
        self.mask = mask
        self.ln_final, self.projection = text.ln_final, text.text_projection
        self.is_plain = all(is_plain(block) for block in self.blocks)

    @property
    def context_length(self) -> int:
        return self.positions.shape[0]

    def encode(self, embeds: Tensor, eot: Tensor, deep: Sequence[Tensor] = ()) -> Tensor:
        """Runs the tower on whole sequences.

        Args:
            embeds: (N, L, D) token embeddings without positions, L > max(eot).
            eot: (N,) position of the end-of-text token.
            deep: for block i = 1.. the vectors that replace positions 1..M at its input, (M, D) for all prompts or
                (N, M, D) (MaPLe, arXiv 2210.03117, section 3.2).

        Returns:
            (N, E) features, not normalised, float32.
        """
        length = int(eot.max()) + 1
        embeds = embeds[:, :length]
        chunk = max(1, self.max_tokens // length)
        deep = [prompt.expand(embeds.shape[0], -1, -1) for prompt in deep]
        return _in_chunks(self._run, chunk, (embeds, eot.to(embeds.device), *deep), recompute=embeds.shape[0] > chunk)

    @torch.no_grad()
    def encode_texts(self, texts: list[str], normalize: bool = True) -> Tensor:
        """K plain texts -> features (K, E), L2-normalised unless told otherwise, float32.

        Raises:
            UserError: a text is longer than the tower.
        """
        tokens, eot = tokenize(self.clip.tokenizer, texts, self.context_length)
        features = self.encode(self.clip.embed_tokens(tokens), eot)
        return F.normalize(features, dim=-1) if normalize else features

    def _run(self, x: Tensor, eot: Tensor, *deep: Tensor) -> Tensor:
        length = x.shape[1]
        x = x.to(self.clip.dtype) + self.positions[:length].to(self.clip.dtype)
        mask = self.mask[:length, :length].to(x.dtype)
        for i, block in enumerate(self.blocks):
            x = _with_deep(x, deep, i)
            x = run_block(block, x, mask) if self.is_plain else block(x, attn_mask=mask)
        return self._project(x[torch.arange(x.shape[0], device=x.device), eot])

    def _project(self, x: Tensor) -> Tensor:
        x = layer_norm(x, self.ln_final)  # per token, so only the pooled one needs it
        return project_features(x, self.projection)

    def encode_shared(self, prefix: Tensor, suffix: Tensor, suffix_eot: Tensor, deep: Sequence[Tensor] = ()) -> Tensor:
        """Runs G contexts against K classes; many classes stand behind one copy of their context.

        Args:
            prefix: (G, P, D) embeddings of [SOS, context, words that all classes share].
            suffix: (K, S, D) embeddings of [class name, ".", EOT, ...].
            suffix_eot: (K,) position of EOT within the suffix.
            deep: for block i = 1.. the (G, M, D) vectors that replace positions 1..M of the prefixes at its input.

        Returns:
            (G, K, E) features, not normalised, float32.
        """
        if not self.is_plain:
            return self._encode_product(prefix, suffix, suffix_eot, deep)
        n, start = prefix.shape[:2]
        lengths = tuple((suffix_eot + 1).tolist())
        room = room_for(prefix.shape[2], start, self.max_tokens)
        packing = pack(lengths, suffix.shape[1], start, room, self.clip.dtype, prefix.device)
        recompute = n * packing.positions.numel() > self.max_tokens
        columns = []
        for part in packing.split(self.max_tokens):
            per = max(1, self.max_tokens // part.positions.numel())
            columns.append(_in_chunks(partial(self._run_packed, part, suffix), per, (prefix, *deep), recompute))
        return torch.cat(columns, dim=1)[:, packing.order]

    def _run_packed(self, packing: Packing, suffix: Tensor, prefix: Tensor, *deep: Tensor) -> Tensor:
        """Features (G, R * C, E) of the classes in the sequences of a packing."""
        n, rows, dtype = prefix.shape[0], len(packing.tokens), self.clip.dtype
        names = suffix.flatten(0, 1)[packing.tokens].to(dtype)  # (R, T - P, D)
        shared = prefix.to(dtype).unsqueeze(1).expand(-1, rows, -1, -1)
        x = torch.cat([shared, names.expand(n, -1, -1, -1)], dim=2) + self.positions.to(dtype)[packing.positions]
        x = x.flatten(0, 1)  # (G * R, T, D)
        deep = [prompt.repeat_interleave(rows, dim=0) for prompt in deep]
        mask, pooled = (t.repeat(n, *[1] * (t.dim() - 1)) if rows > 1 else t for t in (packing.mask, packing.pooled))
        for i, block in enumerate(self.blocks[:-1]):
            x = run_block(block, _with_deep(x, deep, i), mask)
        x = _with_deep(x, deep, len(self.blocks) - 1)
        x = run_block(self.blocks[-1], x, mask, pooled)  # one token a class is read
        return self._project(x).unflatten(0, (n, rows)).flatten(1, 2)

    def _encode_product(self, prefix: Tensor, suffix: Tensor, suffix_eot: Tensor, deep: Sequence[Tensor]) -> Tensor:
        n, k = prefix.shape[0], suffix.shape[0]
        per = max(1, self.max_tokens // (k * (prefix.shape[1] + suffix.shape[1])))
        eot = suffix_eot + prefix.shape[1]
        rows = []
        for part, *prompts in zip(*(t.split(per) for t in (prefix, *deep))):
            part, *prompts = (t.repeat_interleave(k, dim=0) for t in (part, *prompts))
            tokens = torch.cat([part, suffix.repeat(len(part) // k, 1, 1)], dim=1)
            rows.append(self.encode(tokens, eot.repeat(len(part) // k), prompts))
        return torch.cat(rows).unflatten(0, (n, k))


def _with_deep(x: Tensor, deep: Sequence[Tensor], block: int) -> Tensor:
    """Tokens (N, L, D) at a block's input, with its deep prompts (N, M, D), where it has some, at positions 1..M."""
    if not 0 < block <= len(deep):
        return x
    prompt = deep[block - 1].to(x.dtype)
    return torch.cat([x[:, :1], prompt, x[:, 1 + prompt.shape[1] :]], dim=1)


def _in_chunks(run: Callable[..., Tensor], chunk: int, tensors: tuple[Tensor, ...], recompute: bool) -> Tensor:
    """run(*parts) over chunks of the leading dimension; with gradients, chunks are recomputed backward if asked."""
    recompute = recompute and torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
    if tensors[0].shape[0] <= chunk and not recompute:
        return run(*tensors)
    parts = zip(*(t.split(chunk) for t in tensors))
    if recompute:
        return torch.cat([checkpoint(run, *part, use_reentrant=False) for part in parts])
    return torch.cat([run(*part) for part in parts])
