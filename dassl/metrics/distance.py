"""Pairwise distances between two sets of vectors."""

import torch
import torch.nn.functional as F

from ..utils.errors import UserError

__all__ = ["compute_distance_matrix", "cosine_distance", "euclidean_squared_distance"]


def euclidean_squared_distance(input1: torch.Tensor, input2: torch.Tensor) -> torch.Tensor:
    """Squared Euclidean distances, (M, D) and (N, D) -> (M, N), never below 0."""
    squares = input1.pow(2).sum(1, keepdim=True) + input2.pow(2).sum(1)
    return (squares - 2 * input1 @ input2.t()).clamp_min(0)


def cosine_distance(input1: torch.Tensor, input2: torch.Tensor) -> torch.Tensor:
    """One minus cosine similarity, (M, D) and (N, D) -> (M, N) in [0, 2]."""
    return 1 - F.normalize(input1, dim=1) @ F.normalize(input2, dim=1).t()


def compute_distance_matrix(input1: torch.Tensor, input2: torch.Tensor, metric: str = "euclidean") -> torch.Tensor:
    """Distances (M, N) by ``metric``: ``euclidean`` (squared) or ``cosine``.

    Raises:
        UserError: an unknown metric.
    """
    metrics = {"euclidean": euclidean_squared_distance, "cosine": cosine_distance}
    if metric not in metrics:
        raise UserError(f"distance metric {metric!r} is not one of {', '.join(metrics)}")
    return metrics[metric](input1, input2)
