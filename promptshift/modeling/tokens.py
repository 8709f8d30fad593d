"""Text to token ids, with the positions that prompt learning needs."""

from __future__ import annotations

import torch
from torch import Tensor

from dassl.utils.errors import UserError


def clean_name(classname: str) -> str:
    """Folder-style class name to words: underscores become spaces (all CoOp-family code does so)."""
    return classname.replace("_", " ")


def encode(tokenizer, text: str) -> list[int]:
    """Token ids of a text, without start and end tokens."""
    return list(tokenizer.encode(text))


def tokenize(tokenizer, texts: list[str], context_length: int) -> tuple[Tensor, Tensor]:
    """Texts -> token ids padded with 0 to the longest text, and the position of each end-of-text token.

    Args:
        tokenizer: open_clip's tokenizer of the model.
        texts: K texts.
        context_length: most tokens the text tower has positions for.

    Returns:
        ids (K, L) int64 with L <= context_length, eot (K,) int64.

    Raises:
        UserError: a text does not fit (named); nothing is cut off in silence.
    """
    rows = [[tokenizer.sot_token_id, *encode(tokenizer, text), tokenizer.eot_token_id] for text in texts]
    longest = max(len(row) for row in rows)
    if longest > context_length:
        text = texts[[len(row) for row in rows].index(longest)]
        raise UserError(
            f"prompt '{text[:60]}' has {longest} tokens, the text tower has {context_length} positions; "
            "shorten the class name or N_CTX"
        )
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
    return ids, torch.tensor([len(row) - 1 for row in rows])
