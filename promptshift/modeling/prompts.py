"""Learnable context vectors and the prompts made of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dassl.utils.errors import UserError
from promptshift.modeling.allowed import POSITIONS
from promptshift.modeling.clip import FrozenCLIP
from promptshift.modeling.templates import clean_name
from promptshift.modeling.tokens import encode, special_tokens, tokenize
from promptshift.modeling.towers.text_tower import MAX_TOKENS, Deep, TextTower, by_block


def drop_token_buffers(module, state: dict, prefix: str, *_) -> None:
    """Load hook: token_prefix and token_suffix of released checkpoints belong to their class names, not to ours."""
    for key in [k for k in state if k.rsplit(".", 1)[-1].startswith(("token_prefix", "token_suffix"))]:
        del state[key]


_KGCOOP_REST = ("bias_vectors", "meta_net.")  # drawn and saved by the released KgCoOp, read by nothing


def drop_released_rest(module, state: dict, prefix: str, *_) -> None:
    """Load hook: what released checkpoints of one shared context hold beside it, by name; other keys stay errors."""
    drop_token_buffers(module, state, prefix)
    own = {prefix + name for name, _ in module.named_parameters()}  # CoCoOp learns a meta_net
    for key in [k for k in state if k not in own and k.removeprefix(prefix).startswith(_KGCOOP_REST)]:
        del state[key]


class Kept:
    """A value computed from tensors; without gradients it is kept until one of the tensors changes."""

    def __init__(self):
        self._seen: list[tuple[Tensor, int]] = []
        self._value: Tensor | None = None

    def __call__(self, tensors: Iterable[Tensor], compute: Callable[[], Tensor]) -> Tensor:
        if torch.is_grad_enabled():
            return compute()
        seen = [(tensor, tensor._version) for tensor in tensors]
        same = len(seen) == len(self._seen) and all(
            a is b and version == old for (a, version), (b, old) in zip(seen, self._seen)
        )
        if self._value is None or not same:
            self._seen, self._value = seen, compute()
        return self._value


class PromptTemplate:
    """The fixed part of the prompts "[SOS] ctx class name . [EOT]" of K classes, and where the context goes.

    SOS is whatever the model's tokenizer puts before a text; where that is nothing (SigLIP), the context comes first.

    Shapes: K classes, L tokens, M context vectors, D text width, E embedding, G contexts.

    Args:
        clip: the frozen model.
        classnames: K class names; underscores become spaces.
        n_ctx: M, number of context positions after SOS.
        words: text that stands at the context positions and, where it has more tokens than `n_ctx`, stays fixed
            behind them (MaPLe keeps "of a" that way); empty for none.
        position: where the class name stands: `end`, `middle` (between the halves of the context) or `front`.
        max_tokens: chunk bound of the text tower.
        rest: the text behind the words, {} for the class name; must begin with it unless `position` is `end`.

    Raises:
        UserError: unknown position, no class, words shorter than n_ctx, a prompt longer than the tower.
    """

    def __init__(
        self,
        clip: FrozenCLIP,
        classnames: list[str],
        n_ctx: int,
        words: str = "",
        position: str = "end",
        max_tokens: int = MAX_TOKENS,
        rest: str = "{}.",
    ):
        if position not in POSITIONS:
            raise UserError(f"CLASS_TOKEN_POSITION: unknown position '{position}'; allowed: {', '.join(POSITIONS)}")
        if not classnames:
            raise UserError("the dataset has no class")
        self.clip, self.n_ctx, self.position = clip, n_ctx, position
        self.tower = TextTower(clip, max_tokens)
        names = [clean_name(name) for name in classnames]
        words = words or " ".join(["X"] * n_ctx)
        fixed = len(encode(clip.tokenizer, words)) - n_ctx
        if fixed < 0:
            raise UserError(f"CTX_INIT: '{words}' has fewer tokens than N_CTX {n_ctx}")
        texts = [f"{words} {rest.format(name)}" for name in names]
        self.tokens, self.eot = tokenize(clip.tokenizer, texts, self.tower.context_length)
        embeds = clip.embed_tokens(self.tokens)  # (K, L, D)
        self.start = start = len(special_tokens(clip.tokenizer).start)
        self.words = embeds[0, start : start + n_ctx]  # (M, D) embeddings of the words themselves
        self.prefix, self.suffix = embeds[:, :start], embeds[:, start + n_ctx :]
        self.common = self._common_suffix()
        before = len(encode(clip.tokenizer, words))  # of the tokens alone: a word may be others behind a space
        lengths = [len(encode(clip.tokenizer, f"{words} {name}")) - before for name in names]
        self.order = None if position == "end" else self._order(lengths, fixed).to(embeds.device)  # (K, L)

    def _common_suffix(self) -> int:
        """How many tokens behind the context are the same for all classes; the end-of-text token never counts."""
        behind = self.tokens[:, self.start + self.n_ctx : int(self.eot.min())]
        return int((behind == behind[:1]).all(dim=0).long().cumprod(dim=0).sum())

    def _order(self, name_lengths: list[int], fixed: int) -> Tensor:
        """Permutation of the `end` layout's positions that moves each class name forward, before the fixed words."""
        half = self.n_ctx // 2 if self.position == "middle" else 0
        rows = []
        for length in name_lengths:
            after_ctx = self.start + self.n_ctx
            begin = after_ctx + fixed
            name = list(range(begin, begin + length))
            rest = [*range(after_ctx, begin), *range(begin + length, self.tokens.shape[1])]
            ctx = list(range(self.start, after_ctx))
            rows.append([*range(self.start), *ctx[:half], *name, *ctx[half:], *rest])
        return torch.tensor(rows)

    def embeds(self, ctx: Tensor) -> Tensor:
        """Context (M, D), or one per class (K, M, D) -> prompt embeddings (K, L, D)."""
        ctx = ctx.to(self.suffix.dtype).expand(self.suffix.shape[0], -1, -1)
        x = torch.cat([self.prefix, ctx, self.suffix], dim=1)
        if self.order is None:
            return x
        return x.gather(1, self.order.unsqueeze(-1).expand_as(x))

    def features(self, ctx: Tensor, deep: Deep = (), normalize: bool = True) -> Tensor:
        """Context (M, D) or (K, M, D) -> class features (K, E), L2-normalised unless told otherwise.

        `deep` are what replaces the context at the input of a block, see `TextTower.encode`: (M, D), or one per class
        (K, M, D).
        """
        deep = by_block(deep)
        if self.order is None and all(prompt.dim() == 2 for prompt in (ctx, *deep.values())):
            deep = {block: prompt.unsqueeze(0) for block, prompt in deep.items()}
            return self.features_each(ctx.unsqueeze(0), deep, normalize)[0]
        features = self.tower.encode(self.embeds(ctx), self.eot, deep)
        return F.normalize(features, dim=-1) if normalize else features

    def features_each(self, ctx: Tensor, deep: Deep = (), normalize: bool = True) -> Tensor:
        """G contexts (G, M, D), say one an image, and deep ones -> class features (G, K, E), L2-normalised."""
        deep = by_block(deep)
        if self.order is None:
            same = torch.cat([self.prefix[:1], self.suffix[:1, : self.common]], dim=1).expand(ctx.shape[0], -1, -1)
            start = self.start
            prefix = torch.cat([same[:, :start], ctx.to(same.dtype), same[:, start:]], dim=1)
            eot = self.eot - prefix.shape[1]
            features = self.tower.encode_shared(prefix, self.suffix[:, self.common :], eot, deep)
            return F.normalize(features, dim=-1) if normalize else features
        one = [{block: prompt[g] for block, prompt in deep.items()} for g in range(len(ctx))]
        return torch.stack([self.features(c, prompts, normalize) for c, prompts in zip(ctx, one)])


class PromptLearner(nn.Module):
    """Context vectors learnt by gradient descent (CoOp, arXiv 2109.01134, section 3.2).

    The state dict holds `ctx` alone. Released checkpoints that also hold `token_prefix` and `token_suffix` load:
    these are dropped, the project's trainers rebuild them from the class names; so are KgCoOp's unused tensors.

    Shapes: K classes, M context vectors, D text width, E embedding.

    Args:
        clip: the frozen model.
        classnames: K class names.
        n_ctx: M; ignored (and replaced by their number of tokens) when words are given, as in CoOp.
        ctx_init: words whose embeddings start the context; empty for N(0, 0.02^2).
        csc: one context per class instead of one for all. With words, every class starts from the words.
        position: `end`, `middle` or `front`.
        rest: see `PromptTemplate`.
        pad: with words, keep n_ctx vectors: zeros stand before those of the words, one for each that is counted by
            its spaces, so that of words with more tokens than spaces tell the last ones stay fixed (ProGrad, arXiv
            2205.14865).

    Raises:
        UserError: n_ctx below 1, or with `pad` below the number of words; as `PromptTemplate`.
    """

    def __init__(
        self,
        clip: FrozenCLIP,
        classnames: list[str],
        n_ctx: int = 16,
        ctx_init: str = "",
        csc: bool = False,
        position: str = "end",
        max_tokens: int = MAX_TOKENS,
        rest: str = "{}.",
        pad: bool = False,
    ):
        super().__init__()
        words, blank = clean_name(ctx_init), 0
        if words and pad:
            blank, words = n_ctx - len(words.split()), _padded(words, n_ctx)
        elif words:
            n_ctx = len(encode(clip.tokenizer, words))
        if n_ctx < 1:
            raise UserError(f"N_CTX: {n_ctx} is not a number of context vectors; allowed: 1 and more")
        self.template = PromptTemplate(clip, classnames, n_ctx, words, position, max_tokens, rest)
        shape = (len(classnames), n_ctx, clip.text_width) if csc else (n_ctx, clip.text_width)
        if words:
            ctx = self.template.words.float().expand(shape).clone()
            ctx[..., :blank, :] = 0
        else:
            ctx = torch.empty(shape).normal_(std=0.02)  # drawn on the CPU: the same on every device
        # float32 whatever the precision of CLIP: an SGD step of 2e-3 is lost in fp16 (released code keeps fp16)
        self.ctx = nn.Parameter(ctx.to(clip.device))

        self.register_load_state_dict_pre_hook(drop_released_rest)
        self._kept = Kept()

    def forward(self, normalize: bool = True) -> Tensor:
        """-> class features (K, E), L2-normalised unless told otherwise.

        Without gradients the normalised ones are kept until a parameter changes.
        """
        return self._kept(self.parameters(), self.features) if normalize else self.features(normalize=False)

    def features(self, normalize: bool = True) -> Tensor:
        """-> class features (K, E), computed now."""
        return self.template.features(self.ctx, normalize=normalize)


def _padded(words: str, n_ctx: int) -> str:
    """Words with a placeholder for each vector of the context that they leave over."""
    blank = n_ctx - len(words.split())
    if blank < 0:
        raise UserError(f"N_CTX: {n_ctx}; allowed: {len(words.split())} and more, the words of '{words}'")
    return " ".join(["X"] * blank + [words])
