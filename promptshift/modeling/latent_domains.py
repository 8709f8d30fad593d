"""Latent domains: features that hide the class, clusters of them, their prompts, and a prediction mixed over them.

Shapes: N images of a set, B images of a batch, S latent domains, K classes, E embedding, F width of a domain feature,
M1 and M2 context vectors, D text width.
"""

from __future__ import annotations

import math
import warnings

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dassl.utils.errors import UserError
from promptshift.modeling.clip import FrozenCLIP
from promptshift.modeling.prompts import PromptTemplate
from promptshift.modeling.templates import clean_name
from promptshift.modeling.tokens import encode
from promptshift.modeling.towers.text_tower import MAX_TOKENS

AUTO = range(2, 7)  # numbers of latent domains that are tried (arXiv 2511.00067 tunes in this range)
SAMPLE = 2000  # most points that the silhouette looks at: it costs N^2


class _ScaledGradient(torch.autograd.Function):
    """Identity whose gradient is multiplied by a factor."""

    @staticmethod
    def forward(ctx, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.factor, None


def scale_gradient(x: Tensor, factor: float) -> Tensor:
    """Returns x; what flows back through it is multiplied by `factor`."""
    return _ScaledGradient.apply(x, factor)


def reverse_gradient(x: Tensor, strength: float = 1.0) -> Tensor:
    """Gradient reversal layer (Ganin et al. 2016, arXiv 1505.07818, section 4.2): gradient times -strength."""
    return scale_gradient(x, -strength)


def reversal_ramp(progress: float) -> float:
    """Strength of the reversal after a share `progress` in [0, 1] of training, 0 to 1 (arXiv 1505.07818, 5.2.2)."""
    return 2 / (1 + math.exp(-10 * progress)) - 1


class LatentPrompts(nn.Module):
    """Contexts [P_a | P_s]: P_a (M1, D) shared by all images, P_s (S, M2, D) one per latent domain.

    Args:
        clip: the frozen model.
        classnames: K class names.
        slots: most latent domains there may be.
        n_agnostic, n_specific: M1 and M2.
        ctx_init: words of M1 tokens that P_a starts from; empty for N(0, 0.02^2), from which every P_s starts.

    Raises:
        UserError: words of another number of tokens.
    """

    def __init__(
        self,
        clip: FrozenCLIP,
        classnames: list[str],
        slots: int,
        n_agnostic: int,
        n_specific: int,
        ctx_init: str = "",
        max_tokens: int = MAX_TOKENS,
    ):
        super().__init__()
        words = clean_name(ctx_init)
        found = len(encode(clip.tokenizer, words))
        if words and found != n_agnostic:
            raise UserError(
                f"CTX_INIT: '{words}' has {found} tokens, N_CTX_AGNOSTIC is {n_agnostic}; "
                "make them equal or set CTX_INIT ''"
            )
        text = " ".join([words or " ".join(["X"] * n_agnostic), *["X"] * n_specific])
        self.template = PromptTemplate(clip, classnames, n_agnostic + n_specific, text, max_tokens=max_tokens)
        agnostic = (
            self.template.words[:n_agnostic].float().clone()
            if words
            else torch.empty(n_agnostic, clip.text_width).normal_(std=0.02)
        )
        self.ctx_agnostic = nn.Parameter(agnostic.to(clip.device))
        self.ctx_specific = nn.Parameter(
            torch.empty(slots, n_specific, clip.text_width).normal_(std=0.02).to(clip.device)
        )
        self._known: tuple[tuple, Tensor] | None = None

    def forward(self, agnostic: Tensor, specific: Tensor) -> Tensor:
        """P_a (M1, D) and P_s (S, M2, D) -> class features of every latent domain (S, K, E), unit length, float32."""
        ctx = torch.cat([agnostic.expand(len(specific), -1, -1), specific], dim=1)
        return self.template.features_each(ctx).float()

    @torch.no_grad()
    def frozen(self, n_domains: int) -> Tensor:
        """Class features (S, K, E) of the contexts as they are; kept until a context changes."""
        state = (n_domains, self.ctx_agnostic._version, self.ctx_specific._version)
        if self._known is None or self._known[0] != state:
            self._known = state, self(self.ctx_agnostic, self.ctx_specific[:n_domains])
        return self._known[1]


class ClassAdversary(nn.Linear):
    """C_a: domain features (B, F) -> class logits (B, K). It starts at zero: nothing to hide before it has learnt.

    It only serves training: a checkpoint made with another number of classes leaves it as it is.
    """

    def __init__(self, width: int, n_classes: int):
        super().__init__(width, n_classes)
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)
        self.register_load_state_dict_pre_hook(_keep_own_classes)


def _keep_own_classes(adversary: ClassAdversary, state: dict, prefix: str, *_) -> None:
    if state[f"{prefix}bias"].shape != adversary.bias.shape:
        state.update({prefix + name: value.detach() for name, value in adversary.named_parameters()})


class LatentDomains(nn.Module):
    """Extractor E_d of domain features, the centroids of the latent domains, and an optional gate.

    Centroids and the number of latent domains in use are buffers: a checkpoint is complete without training images.

    Args:
        embed_dim: E.
        slots: most latent domains there may be; the first `n_domains` are in use.
        hidden, width: widths of the hidden layer and of the domain feature (F).
        gate: whether to build a gate, a linear map from the domain feature to one weight per latent domain.
    """

    def __init__(self, embed_dim: int, slots: int, hidden: int = 512, width: int = 256, gate: bool = False):
        super().__init__()
        self.extractor = nn.Sequential(nn.Linear(embed_dim, hidden), nn.ReLU(), nn.Linear(hidden, width))
        self.gate = nn.Linear(width, slots) if gate else None
        self.register_buffer("centroids", torch.zeros(slots, width))
        self.register_buffer("center", torch.zeros(width))
        self.register_buffer("n_domains", torch.tensor(slots))

    def forward(self, features: Tensor) -> Tensor:
        """Image features (B, E) -> L2-normalised domain features (B, F), float32."""
        return F.normalize(self.extractor(features).float(), dim=-1)

    def place(self, z: Tensor, labels: Tensor, n_domains: int) -> None:
        """Takes centroids and center from the domain features (N, F) of a set and their latent domains (N,)."""
        self.n_domains.fill_(n_domains)
        self.centroids.zero_()
        self.centroids[:n_domains] = cluster_means(z, labels, n_domains)
        self.center.copy_(z.mean(dim=0))

    def similarity_weights(self, z: Tensor, tau: float, centered: bool = False) -> Tensor:
        """alpha_s = softmax_s(cos(z, mu_s) / tau): domain features (B, F) -> weights (B, S), rows sum to 1.

        Centered: both are taken from the mean domain feature of the training images, cos(z - m, mu_s - m).
        """
        start = self.center if centered else torch.zeros_like(self.center)
        directions = F.normalize(self.centroids[: int(self.n_domains)] - start, dim=-1)  # (S, F)
        return (F.normalize(z - start, dim=-1) @ directions.T / tau).softmax(dim=-1)

    def gate_weights(self, z: Tensor) -> Tensor:
        """Domain features (B, F) -> learnt weights of the latent domains in use (B, S), rows sum to 1."""
        return self.gate(z)[:, : int(self.n_domains)].float().softmax(dim=-1)


def fused_cosines(weights: Tensor, cosines: Tensor, classes: Tensor) -> Tensor:
    """Cosines with mixed class features F_k = sum_s alpha_s f_k^s, without building one F per image.

    cos(f, F_k) = sum_s alpha_s cos(f, f_k^s) / |F_k|, and |F_k|^2 = alpha' G_k alpha with the Gram matrix G_k of the
    f_k^s.

    Args:
        weights: alpha (B, S).
        cosines: of each image with each class feature (B, S, K).
        classes: L2-normalised class features (S, K, E).

    Returns:
        (B, K) in [-1, 1].
    """
    gram = torch.einsum("ske,tke->kst", classes, classes)
    squared = torch.einsum("bs,kst,bt->bk", weights, gram, weights)
    return torch.einsum("bs,bsk->bk", weights, cosines) / squared.clamp_min(1e-12).sqrt()


def k_means(points: Tensor, n: int, seed: int) -> Tensor:
    """K-means++ with 10 starts on points (N, F), N >= n -> labels (N,) in 0..n-1, every one of them used."""
    from sklearn.cluster import KMeans  # scikit-learn and scipy take two seconds to import: only where they are used
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # equal points leave clusters empty; they are filled next
        labels = KMeans(n, init="k-means++", n_init=10, random_state=seed).fit(points.numpy()).labels_
    return fill_empty_clusters(points, torch.from_numpy(labels).long(), n)


def fill_empty_clusters(points: Tensor, labels: Tensor, n: int) -> Tensor:
    """Gives each empty cluster the point that lies farthest from its centroid in a cluster of two or more.

    Args:
        points: (N, F), N >= n.
        labels: (N,) in 0..n-1.

    Returns:
        New labels (N,).
    """
    labels = labels.clone()
    for empty in (torch.bincount(labels, minlength=n) == 0).nonzero().flatten().tolist():
        sizes = torch.bincount(labels, minlength=n)
        distances = (points - cluster_means(points, labels, n)[labels]).norm(dim=-1)
        distances[sizes[labels] < 2] = -1  # a cluster's only point stays
        labels[distances.argmax()] = empty
    return labels


def cluster_means(points: Tensor, labels: Tensor, n: int) -> Tensor:
    """Mean of each cluster: points (N, F), labels (N,) -> (n, F), zeros for an empty one."""
    sums = torch.zeros(n, points.shape[1], dtype=points.dtype).index_add_(0, labels, points)
    return sums / torch.bincount(labels, minlength=n).clamp_min(1).unsqueeze(1)


def choose_number(points: Tensor, seed: int) -> int:
    """The number of clusters in 2..6 with the largest mean silhouette (Rousseeuw 1987) on at most 2,000 points.

    Points (N, F); the smallest number wins a tie, and fewer than three points are one cluster.
    """
    from sklearn.metrics import silhouette_score

    rows = np.random.default_rng(seed).permutation(len(points))[:SAMPLE]
    sample = points[torch.from_numpy(np.sort(rows))]
    scores = {n: silhouette_score(sample.numpy(), k_means(sample, n, seed).numpy()) for n in AUTO if n < len(sample)}
    return max(scores, key=scores.get, default=1)


def match_ids(new: Tensor, old: Tensor, n: int) -> Tensor:
    """Renames new cluster ids so that they overlap the old ones most (Kuhn-Munkres on overlap counts).

    Args:
        new, old: (N,) ids in 0..n-1 of the same images.

    Returns:
        The new clustering under the old names (N,).
    """
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(contingency(new, old, n, n).numpy(), maximize=True)
    names = torch.empty(n, dtype=torch.long)
    names[torch.from_numpy(rows)] = torch.from_numpy(columns)
    return names[new]


def contingency(first: Tensor, second: Tensor, n_first: int, n_second: int) -> Tensor:
    """Counts of images by two labelings (N,), (N,) -> (n_first, n_second) int64."""
    return torch.bincount(first * n_second + second, minlength=n_first * n_second).view(n_first, n_second)


def purity(table: Tensor) -> float:
    """Share of images that belong to their cluster's most frequent domain, in [0, 1]; table (S, domains)."""
    return float(table.max(dim=1).values.sum() / table.sum())


def fusion_report(weights: Tensor, choices: Tensor, labels: Tensor) -> dict:
    """What the fusion did on a labelled set, and how far a perfect choice of prompt would get (U_sel).

    Args:
        weights: (N, S) fusion weights.
        choices: (N, S) class predicted by each latent domain's prompt alone.
        labels: (N,).

    Returns:
        `weight_entropy` (nats, mean), `single_prompt` accuracies in percent, `best_single_prompt` (the largest of
        them) and `u_sel`: percent of images that at least one prompt gets right. The last two look at the labels:
        they are upper bounds, never a way to select.
    """
    right = choices == labels.unsqueeze(1)  # (N, S)
    singles = [100 * value for value in right.double().mean(dim=0).tolist()]
    return {
        "weight_entropy": float(torch.special.entr(weights.double()).sum(dim=1).mean()),
        "single_prompt": singles,
        "best_single_prompt": max(singles),
        "u_sel": 100 * float(right.any(dim=1).double().mean()),
    }
