"""Networks that map an image feature to context vectors."""
from __future__ import annotations

from torch import Tensor, nn

from dassl.utils.errors import UserError


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

    def __init__(self, embed_dim: int, n_ctx: int, text_width: int, layers: int = 4, heads: int = 8,
                 feedforward: int = 2048, dropout: float = 0.1):
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
