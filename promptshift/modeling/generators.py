"""Networks that map an image feature to context vectors, and what adversarial training of them needs."""

from __future__ import annotations

import re
from functools import lru_cache

import torch
from torch import Tensor, nn

from dassl.utils.errors import UserError

_TURNS = 8.0  # times that a projection of a unit vector is wound, see image_noise


class TransformerGenerator(nn.Module):
    """DPSPG's generator: a transformer encoder on a sequence of one token, then a linear map to the context.

    One image is one sequence, so no image sees another (arXiv 2505.18770, section on the dual-path generators; the
    figure and the released code both show 4 layers). With a single key self-attention is a linear map, and its
    query and key weights get no gradient.

    Shapes: B images, E embedding, M context vectors, D text width.

    Args:
        embed_dim: E; must be divisible by `heads`.
        n_ctx, text_width: M and D.
    """

    def __init__(
        self,
        embed_dim: int,
        n_ctx: int,
        text_width: int,
        layers: int = 4,
        heads: int = 8,
        feedforward: int = 2048,
        dropout: float = 0.1,
    ):
        super().__init__()
        if embed_dim % heads:
            raise UserError(f"HEADS: {heads} does not divide the embedding width {embed_dim} of the backbone")
        layer = nn.TransformerEncoderLayer(embed_dim, heads, feedforward, dropout)
        self.transformer_encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.fc = nn.Linear(embed_dim, n_ctx * text_width)
        self.shape = (n_ctx, text_width)

    def forward(self, features: Tensor) -> Tensor:
        """Normalised image features (B, E) -> context vectors (B, M, D)."""
        x = self.transformer_encoder(features.unsqueeze(0)).squeeze(0)  # (1 token, B sequences, E) -> (B, E)
        return self.fc(x).unflatten(-1, self.shape)


class MLPGenerator(nn.Module):
    """SPG's generator (arXiv 2404.19286): five linear layers on [noise, image feature]; tanh bounds the context.

    `BatchNorm1d(width, 0.8)` of the released code sets eps, and so does this; the momentum is torch's.

    Shapes: B images, E embedding, Z noise, M context vectors, D text width.

    Args:
        latent_dim: Z; 0 for a generator without noise.
    """

    def __init__(self, embed_dim: int, n_ctx: int, text_width: int, latent_dim: int = 0):
        super().__init__()
        widths = (128, 256, 512, 1024)
        layers: list[nn.Module] = [nn.Linear(latent_dim + embed_dim, widths[0]), nn.LeakyReLU(0.2)]
        for before, after in zip(widths, widths[1:]):
            layers += [nn.Linear(before, after), nn.BatchNorm1d(after, eps=0.8), nn.LeakyReLU(0.2)]
        self.model = nn.Sequential(*layers, nn.Linear(widths[-1], n_ctx * text_width), nn.Tanh())
        self.shape = (n_ctx, text_width)
        self.apply(_kaiming)

    def forward(self, features: Tensor, noise: Tensor | None = None) -> Tensor:
        """Normalised image features (B, E), noise (B, Z) -> context vectors (B, M, D)."""
        x = features if noise is None else torch.cat([noise, features], dim=-1)
        return self.model(x).unflatten(-1, self.shape)


class Discriminator(nn.Module):
    """SPG's critic of (context, image feature) pairs; its score is not squashed, the loss is least squares.

    Shapes: B images, E embedding, M context vectors, D text width.
    """

    def __init__(self, embed_dim: int, n_ctx: int, text_width: int, dropout: float = 0.4):
        super().__init__()
        width = 512
        layers: list[nn.Module] = [nn.Linear(n_ctx * text_width + embed_dim, width), nn.LeakyReLU(0.2)]
        for _ in range(2):
            layers += [nn.Linear(width, width), nn.Dropout(dropout), nn.LeakyReLU(0.2)]
        self.model = nn.Sequential(*layers, nn.Linear(width, 1))
        self.apply(_kaiming)

    def forward(self, ctx: Tensor, features: Tensor) -> Tensor:
        """Context vectors (B, M, D) and normalised image features (B, E) -> scores (B, 1), 1 for a true label."""
        return self.model(torch.cat([ctx.flatten(1), features], dim=-1))


def _kaiming(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.kaiming_uniform_(module.weight, mode="fan_in", nonlinearity="leaky_relu")


def clip_each(module: nn.Module, caps: list[tuple[str, float]]) -> None:
    """Scale every gradient whose own norm exceeds its cap down to it; the others stay as they are.

    PyTorch's clipping alone would shrink those too whose norm is not far above its 1e-6.

    Args:
        caps: (pattern, largest norm); a tensor takes the first whose pattern is found in its name, none: no cap.
    """
    for name, parameter in module.named_parameters():
        cap = next((cap for pattern, cap in caps if re.search(pattern, name)), None)
        if cap is not None and parameter.grad is not None and parameter.grad.norm() > cap:
            nn.utils.clip_grad_norm_([parameter], cap)


def image_noise(features: Tensor, latent_dim: int, samples: int, seed: int) -> Tensor:
    """Noise of an image as a function of its feature and a seed alone: mean 0, variance 1, normal in shape.

    No generator is asked per image: the last bits of a feature differ with the size of the batch that it was
    computed in, and any hash of them would draw other noise. Instead seeded random projections of the feature are
    wound around the unit interval many times (a triangle wave, so that nothing jumps), which makes them uniform;
    twelve of them, less their mean, add up to one number of the noise (the classical sum of twelve uniforms, within
    2 % of the normal density, 6 at most). Rounding moves the noise by as little, images that differ get noise that is
    independent for all purposes, and equal images get equal noise.

    Args:
        features: (B, E), L2-normalised.
        latent_dim: Z.
        samples: S independent draws per image.

    Returns:
        (S, B, Z), the dtype of `features`.
    """
    directions = _directions(features.shape[-1], samples * latent_dim * 12, seed, features.device)
    turns = (_TURNS * features.double() @ directions).unflatten(-1, (samples, latent_dim, 12))  # std _TURNS
    uniform = 2 * (turns - turns.round()).abs()
    return (uniform.sum(dim=-1) - 6).to(features.dtype).transpose(0, 1)


@lru_cache(maxsize=4)  # the same for every batch of a test
def _directions(width: int, count: int, seed: int, device: torch.device) -> Tensor:
    """(width, count) standard normal, float64: reduced-precision matrix products must not touch the noise."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(width, count, generator=generator, dtype=torch.float64).to(device)
