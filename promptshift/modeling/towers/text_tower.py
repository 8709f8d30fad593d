"""CLIP's frozen text tower, run on prompt embeddings and only as far as needed.

Where attention is causal and the end-of-text token is read, nothing after that token can change the output: the tower
runs to the longest end-of-text position instead of all 77 (exact). Where all classes share [SOS, context], these tokens
are the same for all of them and are computed once for many classes (exact too, see packing.py). Towers whose tokens see
those behind them, or that read another token than the end of text (SigLIP, CoCa, MobileCLIP), run over their whole
length, padding included, as their training did. tests/promptshift/modeling/towers holds all of them equal to the plain
run.
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
from promptshift.modeling.templates import fill
from promptshift.modeling.tokens import special_tokens, tokenize
from promptshift.modeling.towers.blocks import is_plain, run_block
from promptshift.modeling.towers.packing import Packing, pack, room_for
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
        blocks = getattr(getattr(text, "transformer", None), "resblocks", None)
        pool = getattr(text, "text_pool_type", getattr(text, "pool_type", "argmax"))
        if blocks is None or pool not in ("argmax", "eos", "first", "last"):
            raise UserError(
                f"backbone '{clip.name}': only open_clip's own text transformer, causal or not, that ends in one token "
                "can be run on prompts"
            )
        self.clip, self.max_tokens = clip, max_tokens
        self.blocks = list(blocks)
        self.positions = text.positional_embedding
        self.mask = getattr(text, "attn_mask", None)  # (positions, positions) additive, None where all is seen
        self.cls = getattr(text, "cls_emb", None)  # CoCa's token behind the text, which is then read
        self.pool = "last" if self.cls is not None else pool
        self.hides_padding = self.cls is not None or getattr(text, "use_pad_mask", False)
        self.legacy_mask = not getattr(text, "correct_cls_mask", False)
        self.truncates = self.mask is not None and self.pool in ("argmax", "eos") and not self.hides_padding
        self.ln_final, self.projection = text.ln_final, text.text_projection
        self.is_plain = all(is_plain(block) for block in self.blocks)
        self.start, _, pad = special_tokens(clip.tokenizer)
        self.padding = clip.embed_tokens(torch.tensor([pad]))  # (1, D)

    @property
    def context_length(self) -> int:
        """Most tokens of a text."""
        return self.positions.shape[0] - (self.cls is not None)

    def encode(self, embeds: Tensor, eot: Tensor, deep: Deep = ()) -> Tensor:
        """Runs the tower on whole sequences.

        Args:
            embeds: (N, L, D) token embeddings without positions, L > max(eot).
            eot: (N,) position of the end-of-text token.
            deep: the vectors that replace the M positions behind the start token at the input of block 1, 2, ...
                (MaPLe, arXiv 2210.03117, section 3.2), or of the blocks, counted from 0, that a mapping names (TCP,
                arXiv 2311.18231); (M, D) for all prompts or (N, M, D).

        Returns:
            (N, E) features, not normalised, float32.
        """
        embeds = embeds[:, : int(eot.max()) + 1]
        if not self.truncates:
            fill = self.padding.to(embeds.dtype).expand(len(embeds), self.context_length - embeds.shape[1], -1)
            embeds = torch.cat([embeds, fill], dim=1)
        length = embeds.shape[1]
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

    def encode_ensemble(self, templates: Sequence[str], classnames: list[str]) -> Tensor:
        """Templates with {} for K classes -> mean over templates of the unit features, made unit again, (K, E)."""
        rows = [self.encode_texts(fill(template, classnames)) for template in templates]
        return F.normalize(torch.stack(rows).mean(dim=0), dim=-1)

    def _run(self, places: tuple[int, ...], x: Tensor, eot: Tensor, *deep: Tensor) -> Tensor:
        mask = self._mask(x)
        x = x.to(self.clip.dtype)
        if self.cls is not None:
            x = torch.cat([x, self.cls.to(x.dtype).expand(len(x), 1, -1)], dim=1)
        x = x + self.positions[: x.shape[1]].to(x.dtype)
        prompts = dict(zip(places, deep))
        plain = self.is_plain and not self.hides_padding
        for i, block in enumerate(self.blocks):
            x = _with_deep(x, prompts.get(i), len(self.start))
            x = run_block(block, x, mask) if plain else block(x, attn_mask=mask)
        if self.pool in ("argmax", "eos"):
            return self._project(x[torch.arange(x.shape[0], device=x.device), eot])
        return self._project(x[:, 0 if self.pool == "first" else -1])

    def _mask(self, embeds: Tensor) -> Tensor | None:
        """Additive mask of the blocks' attention: (L, L), or (N * H, L, L) where it depends on the text; None for none.

        CoCa's hides padding from all tokens. Its released weights were trained with a mask that is off by one, the
        first column put in front for the token behind the text; this is kept (open_clip's `correct_cls_mask`).
        """
        length = embeds.shape[1] + (self.cls is not None)
        mask = None if self.mask is None else self.mask[:length, :length].to(self.clip.dtype)
        if not self.hides_padding:
            return mask
        seen = (embeds != self.padding.to(embeds.dtype)).any(dim=-1)  # (N, L)
        if self.cls is not None:
            more = seen.new_ones(len(seen), 1)
            seen = torch.cat([more, seen] if self.legacy_mask else [seen, more], dim=1)
        hidden = torch.zeros(seen.shape, dtype=self.clip.dtype, device=seen.device).masked_fill(~seen, -torch.inf)
        hidden = hidden.unsqueeze(1).expand(-1, length, -1)  # (N, L, L)
        heads = self.blocks[0].attn.num_heads
        return (hidden if mask is None else hidden + mask).repeat_interleave(heads, dim=0)

    def _project(self, x: Tensor) -> Tensor:
        x = layer_norm(x, self.ln_final)  # per token, so only the pooled one needs it
        return project_features(x, self.projection)

    def encode_shared(self, prefix: Tensor, suffix: Tensor, suffix_eot: Tensor, deep: Deep = ()) -> Tensor:
        """Runs G contexts against K classes; many classes stand behind one copy of their context.

        Args:
            prefix: (G, P, D) embeddings of [SOS, context, words that all classes share].
            suffix: (K, S, D) embeddings of [class name, ".", EOT, ...].
            suffix_eot: (K,) position of EOT within the suffix.
            deep: as for `encode`, (G, M, D) each: of the prefixes, so the same for all classes.

        Returns:
            (G, K, E) features, not normalised, float32.
        """
        deep = self._by_block(deep)
        if not (self.is_plain and self.truncates):
            return self._encode_product(prefix, suffix, suffix_eot, deep)
        deep, places = tuple(deep.values()), tuple(deep)
        n, start = prefix.shape[:2]
        lengths = tuple((suffix_eot + 1).tolist())
        room = room_for(prefix.shape[2], start, self.max_tokens)
        packing = pack(lengths, suffix.shape[1], start, room, self.clip.dtype, prefix.device)
        recompute = n * packing.positions.numel() > self.max_tokens
        columns = []
        for part in packing.split(self.max_tokens):
            per = max(1, self.max_tokens // part.positions.numel())
            run = partial(self._run_packed, part, suffix, places)
            columns.append(_in_chunks(run, per, (prefix, *deep), recompute))
        return torch.cat(columns, dim=1)[:, packing.order]

    def _run_packed(
        self, packing: Packing, suffix: Tensor, places: tuple[int, ...], prefix: Tensor, *deep: Tensor
    ) -> Tensor:
        """Features (G, R * C, E) of the classes in the sequences of a packing."""
        n, rows, dtype = prefix.shape[0], len(packing.tokens), self.clip.dtype
        names = suffix.flatten(0, 1)[packing.tokens].to(dtype)  # (R, T - P, D)
        shared = prefix.to(dtype).unsqueeze(1).expand(-1, rows, -1, -1)
        x = torch.cat([shared, names.expand(n, -1, -1, -1)], dim=2) + self.positions.to(dtype)[packing.positions]
        x = x.flatten(0, 1)  # (G * R, T, D)
        prompts = {i: prompt.repeat_interleave(rows, dim=0) for i, prompt in zip(places, deep)}
        mask, pooled = (t.repeat(n, *[1] * (t.dim() - 1)) if rows > 1 else t for t in (packing.mask, packing.pooled))
        for i, block in enumerate(self.blocks):
            rows_read = pooled if i == len(self.blocks) - 1 else None  # behind the last block one token a class is read
            x = run_block(block, _with_deep(x, prompts.get(i), len(self.start)), mask, rows_read)
        return self._project(x).unflatten(0, (n, rows)).flatten(1, 2)

    def _encode_product(self, prefix: Tensor, suffix: Tensor, suffix_eot: Tensor, deep: Mapping[int, Tensor]) -> Tensor:
        n, k = prefix.shape[0], suffix.shape[0]
        length = prefix.shape[1] + suffix.shape[1] if self.truncates else self.context_length
        per = max(1, self.max_tokens // (k * length))
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


def _with_deep(x: Tensor, prompt: Tensor | None, start: int) -> Tensor:
    """Tokens (N, L, D) at a block's input, with its deep prompts (N, M, D), where it has some, behind the start."""
    if prompt is None:
        return x
    prompt = prompt.to(x.dtype)
    return torch.cat([x[:, :start], prompt, x[:, start + prompt.shape[1] :]], dim=1)


def _in_chunks(run: Callable[..., Tensor], chunk: int, tensors: tuple[Tensor, ...], recompute: bool) -> Tensor:
    """run(*parts) over chunks of the leading dimension; with gradients, chunks are recomputed backward if asked."""
    recompute = recompute and torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
    if tensors[0].shape[0] <= chunk and not recompute:
        return run(*tensors)
    parts = zip(*(t.split(chunk) for t in tensors))
    if recompute:
        return torch.cat([checkpoint(run, *part, use_reentrant=False) for part in parts])
    return torch.cat([run(*part) for part in parts])
