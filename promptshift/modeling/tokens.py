"""Text to token ids, with the positions that prompt learning needs."""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
from torch import Tensor

from dassl.utils.errors import UserError


class SpecialTokens(NamedTuple):
    """What a tokenizer puts around the tokens of a text.

    Attributes:
        start, end: ids before and behind the text; SigLIP's has no start.
        pad: id that fills a row up.
    """

    start: tuple[int, ...]
    end: tuple[int, ...]
    pad: int


@functools.lru_cache(maxsize=8)
def special_tokens(tokenizer) -> SpecialTokens:
    """Return the tokens that open_clip's tokenizer of a model puts around each text.

    Raises:
        UserError: it changes the tokens of a text besides.
    """
    if not _is_hugging_face(tokenizer):
        return SpecialTokens((tokenizer.sot_token_id,), (tokenizer.eot_token_id,), 0)
    wrapped = tokenizer.tokenizer
    whole, inner = wrapped("a").input_ids, wrapped("a", add_special_tokens=False).input_ids
    places = [i for i in range(len(whole) - len(inner) + 1) if whole[i : i + len(inner)] == inner]
    if not inner or not places or wrapped.pad_token_id is None:
        raise UserError(f"the tokenizer {type(wrapped).__name__} does not keep the tokens of a text together")
    start, end = whole[: places[0]], whole[places[0] + len(inner) :]
    if tokenizer.strip_sep_token:  # open_clip puts 0 for the separator of BERT's tokenizer, wherever it stands
        start, end = ([0 if i == wrapped.sep_token_id else i for i in part] for part in (start, end))
    return SpecialTokens(tuple(start), tuple(end), wrapped.pad_token_id)


def _is_hugging_face(tokenizer) -> bool:
    return hasattr(tokenizer, "tokenizer")  # open_clip's HFTokenizer, around one of the package transformers


def encode(tokenizer, text: str) -> list[int]:
    """Token ids of a text, without start and end tokens."""
    if _is_hugging_face(tokenizer):
        return list(tokenizer.tokenizer(tokenizer.clean_fn(text), add_special_tokens=False).input_ids)
    return list(tokenizer.encode(text))


def tokenize(tokenizer, texts: list[str], context_length: int) -> tuple[Tensor, Tensor]:
    """Texts -> token ids, the shorter ones filled up behind, and the position of each end-of-text token.

    Args:
        tokenizer: open_clip's tokenizer of the model.
        texts: K texts.
        context_length: most tokens the text tower has positions for.

    Returns:
        ids (K, L) int64 with L <= context_length, eot (K,) int64: the last token that is no filling.

    Raises:
        UserError: a text does not fit (named); nothing is cut off in silence.
    """
    start, end, pad = special_tokens(tokenizer)
    rows = [[*start, *encode(tokenizer, text), *end] for text in texts]
    longest = max(len(row) for row in rows)
    if longest > context_length:
        text = texts[[len(row) for row in rows].index(longest)]
        raise UserError(
            f"prompt '{text[:60]}' has {longest} tokens, the text tower has {context_length} positions; "
            "shorten the class name or N_CTX"
        )
    ids = torch.full((len(rows), longest), pad, dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
    return ids, torch.tensor([len(row) - 1 for row in rows])
