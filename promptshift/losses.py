"""Pure functions that two or more papers share."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Share of rows whose largest logit is the label, in percent (scalar)."""
    return (logits.argmax(dim=1) == labels).float().mean() * 100


def negative_label_loss(logits: Tensor, labels: Tensor, pos_weight: float) -> Tensor:
    """Binary cross-entropy that wants high logits on every wrong class and a low one on the label.

    DPSPG (arXiv 2505.18770), loss of the negative prompt label; mean over B x K.

    Args:
        logits: (B, K) scaled cosines under the negative prompt.
        labels: (B,).
        pos_weight: weight of the wrong-class terms (the released code uses K - 1).
    """
    wrong = 1 - F.one_hot(labels, logits.shape[1]).to(logits.dtype)
    return F.binary_cross_entropy_with_logits(logits, wrong, pos_weight=logits.new_tensor(float(pos_weight)))


def entropy(logits: Tensor) -> Tensor:
    """Logits (..., K) -> entropy (...) of their softmax, in nats."""
    return -(logits.softmax(dim=-1) * logits.log_softmax(dim=-1)).sum(dim=-1)


def marginal_entropy(logits: Tensor) -> Tensor:
    """Logits (..., V, K) of V views -> entropy (...) of their mean softmax, in nats (TPT, arXiv 2209.07511)."""
    mean = logits.log_softmax(dim=-1).logsumexp(dim=-2) - math.log(logits.shape[-2])  # log of the mean, (..., K)
    return -(mean.exp() * mean.clamp_min(torch.finfo(mean.dtype).min)).sum(dim=-1)


def distillation_kl(logits: Tensor, teacher_logits: Tensor, temperature: float = 1.0) -> Tensor:
    """KL divergence of the teacher's class probabilities from the student's, times T^2, over B x K (scalar).

    The released PromptSRC and PromptKD (arXiv 2307.06948, 2403.02781) divide the sum by B x K, not by B.

    Args:
        logits, teacher_logits: (B, K) scaled cosines.
        temperature: T, dividing both.
    """
    student, teacher = (F.log_softmax(x / temperature, dim=-1) for x in (logits, teacher_logits))
    return F.kl_div(student, teacher, reduction="sum", log_target=True) * temperature**2 / logits.numel()


def symmetric_infonce(images: Tensor, texts: Tensor, scale: Tensor, labels: Tensor | None = None) -> Tensor:
    """Mean of the cross-entropies image to text and text to image of rows that belong together (arXiv 2103.00020).

    Args:
        images, texts: (M, E), L2-normalised; row i of one belongs to row i of the other.
        scale: factor of the cosines.
        labels: (M,) classes; given, rows of the same class do not count as each other's negatives.
    """
    logits = scale * images @ texts.T  # (M, M)
    own = torch.arange(len(logits), device=logits.device)
    if labels is not None:
        twins = (labels[:, None] == labels[None]) & (own[:, None] != own[None])
        logits = logits.masked_fill(twins, float("-inf"))
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def token_alignment(tokens: Tensor, means: Tensor, variances: Tensor) -> Tensor:
    """Distance of the statistics of views from those of the source images (PromptAlign, arXiv 2311.01459).

    Args:
        tokens: (..., n, T, W) tokens of n views.
        means, variances: (T, W) of the source images.

    Returns:
        (...) half the mean absolute difference of the means and half that of the (biased) variances.
    """
    mean = tokens.float().mean(dim=-3)
    variance = (tokens.float() - mean.unsqueeze(-3)).square().mean(dim=-3)
    return 0.5 * ((mean - means).abs().mean(dim=(-2, -1)) + (variance - variances).abs().mean(dim=(-2, -1)))


def weighted_distance(weights: Tensor, features: Tensor, prototypes: Tensor) -> Tensor:
    """Mean absolute differences between features and the prototypes of C classes, weighted by class (PromptSync,
    arXiv 2404.07520).

    Args:
        weights: (..., C), class probabilities.
        features: (..., 1, E), or (..., C, E) one a class.
        prototypes: (C, E), or (..., C, E).

    Returns:
        (...)
    """
    return (weights * (features - prototypes).abs().mean(dim=-1)).sum(dim=-1)


def prototype_discrimination(features: Tensor, prototypes: Tensor, scale: Tensor) -> Tensor:
    """InfoNCE that draws each class to its own prototypes and away from the other classes' (PromptSync, arXiv
    2404.07520).

    Args:
        features: (..., C, E) class features, L2-normalised.
        prototypes: (A, C, E), A of each class, L2-normalised.
        scale: inverse temperature.

    Returns:
        (...) mean over the classes.
    """
    similarity = scale * torch.einsum("...ke,ace->...kac", features, prototypes)  # (..., C, A, C)
    own = similarity.diagonal(dim1=-3, dim2=-1)  # (..., A, C)
    return (similarity.flatten(-2).logsumexp(dim=-1) - own.logsumexp(dim=-2)).mean(dim=-1)
