"""CLIP's frozen text tower, run on prompt embeddings and only as far as needed.

Attention is causal, so nothing after the end-of-text position can change its output: the tower runs to the longest
end-of-text position instead of all 77 (exact). Where all classes share [SOS, context], these tokens are the same
for all of them and are computed once per context (exact too). tests/promptshift/modeling/towers/test_text_tower.py
holds both equal to the plain run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from dassl.utils.errors import UserError
from promptshift.modeling.clip import FrozenCLIP
from promptshift.modeling.tokens import tokenize
from promptshift.modeling.towers.blocks import is_plain, run_block
from promptshift.modeling.towers.projection import layer_norm, project_features

Deep = Sequence[Tensor] | Mapping[int, Tensor]  # of block 1, 2, ... in turn, or by block

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

    def encode(self, embeds: Tensor, eot: Tensor, deep: Deep = ()) -> Tensor:
        """Runs the tower on whole sequences.

        Args:
            embeds: (N, L, D) token embeddings without positions, L > max(eot).
            eot: (N,) position of the end-of-text token.
            deep: the vectors that replace positions 1..M at the input of block 1, 2, ... (MaPLe, arXiv 2210.03117,
                section 3.2), or of the blocks, counted from 0, that a mapping names (TCP, arXiv 2311.18231);
                (M, D) for all prompts or (N, M, D).

        Returns:
            (N, E) features, not normalised, float32.
        """
        length = int(eot.max()) + 1
        embeds = embeds[:, :length]
        chunk = max(1, self.max_tokens // length)
        deep = {block: prompt.expand(embeds.shape[0], -1, -1) for block, prompt in self._by_block(deep).items()}
        tensors = (embeds, eot.to(embeds.device), *deep.values())
        return _in_chunks(partial(self._run, tuple(deep)), chunk, tensors, recompute=embeds.shape[0] > chunk)

    def _by_block(self, deep: Deep) -> dict[int, Tensor]:
        found = by_block(deep)
        strange = [block for block in found if not 0 <= block < len(self.blocks)]
        if strange:
            raise ValueError(f"block {strange[0]} of {len(self.blocks)} has no input to replace")
        return found

    @torch.no_grad()
    def encode_texts(self, texts: list[str], normalize: bool = True) -> Tensor:
        """K plain texts -> features (K, E), L2-normalised unless told otherwise, float32.

        Raises:
            UserError: a text is longer than the tower.
        """
        tokens, eot = tokenize(self.clip.tokenizer, texts, self.context_length)
        features = self.encode(self.clip.embed_tokens(tokens), eot)
        return F.normalize(features, dim=-1) if normalize else features

    def _run(self, places: tuple[int, ...], x: Tensor, eot: Tensor, *deep: Tensor) -> Tensor:
        length = x.shape[1]
        x = x.to(self.clip.dtype) + self.positions[:length].to(self.clip.dtype)
        mask = None if self.is_plain else self.mask[:length, :length].to(x.dtype)
        prompts = dict(zip(places, deep))
        for i, block in enumerate(self.blocks):
            x = _with_deep(x, prompts.get(i))
            x = run_block(block, x, causal=True)[0] if self.is_plain else block(x, attn_mask=mask)
        return self._project(x[torch.arange(x.shape[0], device=x.device), eot])

    def _project(self, x: Tensor) -> Tensor:
        x = layer_norm(x, self.ln_final)  # per token, so only the pooled one needs it
        return project_features(x, self.projection)

    def encode_shared(self, prefix: Tensor, suffix: Tensor, suffix_eot: Tensor, deep: Deep = ()) -> Tensor:
        """Runs G contexts against K classes; the prefix of a context is computed once for all its classes.

        Args:
            prefix: (G, P, D) embeddings of [SOS, context, words that all classes share].
            suffix: (K, S, D) embeddings of [class name, ".", EOT, ...].
            suffix_eot: (K,) position of EOT within the suffix.
            deep: as for `encode`, (G, M, D) each: of the prefixes, so the same for all classes.

        Returns:
            (G, K, E) features, not normalised, float32.
        """
        deep = self._by_block(deep)
        if not self.is_plain:
            return self._encode_product(prefix, suffix, suffix_eot, deep)
        deep, places = tuple(deep.values()), tuple(deep)
        n, start = prefix.shape[:2]
        recompute = n * (start + int((suffix_eot + 1).sum())) > self.max_tokens
        groups, columns = [], []
        for end in torch.unique(suffix_eot).tolist():  # equal lengths: no padding is computed
            rows = (suffix_eot == end).nonzero().flatten()
            for part in rows.split(max(1, (self.max_tokens - start) // (end + 1))):
                per = max(1, self.max_tokens // (start + len(part) * (end + 1)))
                piece = suffix[part.to(suffix.device), : end + 1]
                groups.append(_in_chunks(partial(self._run_shared, piece, places), per, (prefix, *deep), recompute))
            columns.append(rows)
        order = torch.argsort(torch.cat(columns)).to(prefix.device)
        return torch.cat(groups, dim=1)[:, order]

    def _run_shared(self, suffix: Tensor, places: tuple[int, ...], prefix: Tensor, *deep: Tensor) -> Tensor:
        n, k, dtype = prefix.shape[0], suffix.shape[0], self.clip.dtype
        start, end = prefix.shape[1], prefix.shape[1] + suffix.shape[1]
        positions = self.positions.to(dtype)
        x = prefix.to(dtype) + positions[:start]  # (G, P, D)
        y = (suffix.to(dtype) + positions[start:end]).repeat(n, 1, 1)  # (G*K, S, D)
        prompts = dict(zip(places, deep))
        for i, block in enumerate(self.blocks):
            last = slice(-1, None) if i == len(self.blocks) - 1 else None  # behind the last block one token is read
            x, past = run_block(block, _with_deep(x, prompts.get(i)), causal=True, rows=last)
            past = tuple(t.repeat_interleave(k, dim=0) for t in past)
            y, _ = run_block(block, y, past, causal=True, rows=last)
        return self._project(y[:, -1]).unflatten(0, (n, k))  # (G, K, E)

    def _encode_product(self, prefix: Tensor, suffix: Tensor, suffix_eot: Tensor, deep: Mapping[int, Tensor]) -> Tensor:
        n, k = prefix.shape[0], suffix.shape[0]
        per = max(1, self.max_tokens // (k * (prefix.shape[1] + suffix.shape[1])))
        eot = suffix_eot + prefix.shape[1]
        rows = []
        for part, *prompts in zip(*(t.split(per) for t in (prefix, *deep.values()))):
            part, *prompts = (t.repeat_interleave(k, dim=0) for t in (part, *prompts))
            tokens = torch.cat([part, suffix.repeat(len(part) // k, 1, 1)], dim=1)
            rows.append(self.encode(tokens, eot.repeat(len(part) // k), dict(zip(deep, prompts))))
        return torch.cat(rows).unflatten(0, (n, k))


def by_block(deep: Deep) -> dict[int, Tensor]:
    """What replaces the context, by block: that of block 1, 2, ... where it comes in turn."""
    return dict(deep) if isinstance(deep, Mapping) else dict(enumerate(deep, start=1))


def _with_deep(x: Tensor, prompt: Tensor | None) -> Tensor:
    """Tokens (N, L, D) at a block's input, with its deep prompts (N, M, D), where it has some, at positions 1..M."""
    if prompt is None:
        return x
    prompt = prompt.to(x.dtype)
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
