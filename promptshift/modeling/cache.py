"""Predictions from stored image features: weights by similarity, a cache that is learnt, one that keeps the surest.

Shapes: B images, M or N stored features, K classes, E embedding.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

import torch
from torch import Tensor, nn


def cache_logits(affinity: Tensor, values: Tensor, sharpness: float) -> Tensor:
    """exp(-sharpness (1 - a)) V: what stored features say of others (arXiv 2207.09519, equation 5).

    Args:
        affinity: (B, M) products f k^T of features with the stored ones.
        values: (M, K) what each stored one stands for.
        sharpness: beta, at least 0.

    Returns:
        (B, K); zeros where nothing is stored.
    """
    return torch.exp(-sharpness * (1 - affinity)) @ values


class LabelledCache(nn.Module):
    """Keys with a class each, which may be learnt; saved as weight (N, E), labels, names, alpha, beta.

    Classes are told apart by name: under other class names a key speaks for the class of its own name and for no other.
    A checkpoint brings its number of keys and its names along.

    Args:
        classnames: of the labels.
        width: E.
    """

    def __init__(self, classnames: Sequence[str], width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(0, width))
        self.register_buffer("labels", torch.empty(0, dtype=torch.long))
        self.register_buffer("names", _encoded(classnames))
        self.register_buffer("alpha", torch.zeros((), dtype=torch.float64))
        self.register_buffer("beta", torch.zeros((), dtype=torch.float64))
        self._values: tuple[tuple[str, ...], Tensor] | None = None  # of the class names that were asked for last

    def fill(self, keys: Tensor, labels: Tensor) -> None:
        """Takes keys (N, E) and their labels (N,)."""
        self.weight.data = keys.to(self.weight)
        self.labels.data = labels.to(self.labels)
        self._values = None

    def set_strength(self, beta: float, alpha: float) -> None:
        """Sets the sharpness beta and the weight alpha of the cache's logits."""
        self.beta.fill_(beta)
        self.alpha.fill_(alpha)

    def values(self, classnames: Sequence[str]) -> Tensor:
        """One-hot classes (N, K) of the keys; a row of zeros where K lacks the key's class."""
        wanted = tuple(classnames)
        if self._values is None or self._values[0] != wanted:
            place = {name: k for k, name in enumerate(wanted)}
            column = torch.tensor([place.get(name, -1) for name in _decoded(self.names)], device=self.labels.device)
            own = column[self.labels]
            values = torch.zeros(len(own), len(wanted), device=own.device)
            values[own >= 0, own[own >= 0]] = 1
            self._values = (wanted, values)
        return self._values[1].to(self.weight)

    def affinity(self, features: Tensor) -> Tensor:
        """Unit features (B, E) -> their products (B, N) with the keys."""
        return features @ self.weight.T

    def forward(self, features: Tensor, classnames: Sequence[str]) -> Tensor:
        """Unit features (B, E) -> logits (B, K) of the cache: alpha exp(-beta (1 - f k^T)) V."""
        found = cache_logits(self.affinity(features), self.values(classnames), self.beta.item())
        return self.alpha.item() * found

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *rest) -> None:
        for name in ("weight", "labels", "names"):
            own, saved = getattr(self, name), state_dict.get(prefix + name)
            if isinstance(saved, Tensor) and saved.dim() == own.dim() and saved.shape[1:] == own.shape[1:]:
                own.data = own.new_zeros(saved.shape)
        super()._load_from_state_dict(state_dict, prefix, *rest)
        self._values = None
        classes = len(_decoded(self.names))
        if len(self.labels) != len(self.weight) or not all(0 <= label < classes for label in self.labels.tolist()):
            raise ValueError(f"{len(self.weight)} keys need as many labels, each of one of the {classes} names")


def _encoded(names: Sequence[str]) -> Tensor:
    return torch.tensor(list(json.dumps(list(names)).encode()), dtype=torch.uint8)


def _decoded(names: Tensor) -> list[str]:
    return json.loads(bytes(names.tolist()))


def grid(end: float, steps: int) -> list[float]:
    """0.1 + i (end - 0.1) / steps for i = 0 .. steps - 1: the released Tip-Adapter's values, `end` never among them."""
    return [i * (end - 0.1) / steps + 0.1 for i in range(steps)]


def correct_on_grid(
    logits: Tensor, labels: Tensor, affinity: Tensor, values: Tensor, betas: Sequence[float], alphas: Sequence[float]
) -> Tensor:
    """Counts right answers of logits + alpha * cache_logits(affinity, values, beta).

    Args:
        logits: (B, K) without the cache; labels: (B,).
        affinity: (B, N); values: (N, K).

    Returns:
        (betas, alphas) whole numbers.
    """
    counts = torch.zeros(len(betas), len(alphas), dtype=torch.long)
    for i, beta in enumerate(betas):
        found = cache_logits(affinity, values, beta)
        for j, alpha in enumerate(alphas):
            counts[i, j] = ((logits + alpha * found).argmax(dim=1) == labels).sum()
    return counts


def best_on_grid(counts: Tensor, betas: Sequence[float], alphas: Sequence[float]) -> tuple[float, float]:
    """-> beta and alpha of the first best of counts (betas, alphas), beta the slower; 0, 0 where nothing is ever right,
    which switches the cache off."""
    flat = counts.flatten().tolist()
    if not any(flat):
        return 0.0, 0.0
    beta, alpha = divmod(flat.index(max(flat)), len(alphas))
    return betas[beta], alphas[alpha]


@dataclasses.dataclass(frozen=True)
class Entry:
    """One image of a `SurestCache`.

    Attributes:
        features: (E,).
        entropy: of its prediction, in nats.
        probabilities: (K,) of its prediction.
        image: its place in the stream.
    """

    features: Tensor
    entropy: float
    probabilities: Tensor
    image: int


class SurestCache:
    """For each class the `capacity` images of lowest entropy that were offered to it (TDA, arXiv 2403.18293).

    Attributes:
        entries: class -> its entries, the lowest entropy first; of equal ones the older stands first and stays.
    """

    def __init__(self, capacity: int):
        self.capacity = capacity
        self.entries: dict[int, list[Entry]] = {}

    def offer(self, label: int, entry: Entry) -> None:
        """Keeps an entry while there is room, or in place of the class's last one where its entropy is lower."""
        kept = self.entries.setdefault(label, [])
        if len(kept) < self.capacity:
            kept.append(entry)
        elif entry.entropy < kept[-1].entropy:
            kept[-1] = entry
        kept.sort(key=lambda entry: entry.entropy)

    def keys(self) -> tuple[Tensor, Tensor, Tensor] | None:
        """-> features (M, E), classes (M,), probabilities (M, K), class by class; None where nothing is kept."""
        rows = [(label, entry) for label in sorted(self.entries) for entry in self.entries[label]]
        if not rows:
            return None
        features = torch.stack([entry.features for _, entry in rows])
        labels = torch.tensor([label for label, _ in rows], device=features.device)
        return features, labels, torch.stack([entry.probabilities for _, entry in rows])

    def tensors(self) -> dict[str, Tensor]:
        """Everything it holds, by name; {} where nothing is kept."""
        if (kept := self.keys()) is None:
            return {}
        entries = [entry for label in sorted(self.entries) for entry in self.entries[label]]
        more = {
            "entropies": torch.tensor([entry.entropy for entry in entries], dtype=torch.float64),
            "images": torch.tensor([entry.image for entry in entries]),
        }
        return dict(zip(("features", "labels", "probabilities"), kept, strict=True)) | more

    def restore(self, tensors: dict[str, Tensor], device: torch.device) -> None:
        """Takes back what `tensors` returned."""
        self.entries = {}
        if not tensors:
            return
        columns = (tensors["features"].to(device), tensors["entropies"].tolist())
        columns += (tensors["probabilities"].to(device), tensors["images"].tolist())
        for label, *values in zip(tensors["labels"].tolist(), *columns, strict=True):
            self.entries.setdefault(label, []).append(Entry(*values))
