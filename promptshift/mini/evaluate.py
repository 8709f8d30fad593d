"""Judges a weights file: `python -m promptshift.mini.evaluate --weights FILE --per-class 60 --data-seeds 0 1 2`.

Prints, per data seed, zero-shot accuracy, CoOp on the held-out domain (trained on the other three) and CoOp from base
to new classes. The numbers follow from planted caption noise (README.md): they show that code works, not which method
is better.
Legend: M images, K classes, L tokens, D channels.
"""

import argparse
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from open_clip.tokenizer import SimpleTokenizer

from .model import build_clip, encode_embedded, normalise_images
from .weights import MINI_WEIGHTS, read_packed
from .world import MINI_DG, render_image

TEMPLATE = "a photo of a {}."
N_CTX = 4
TRAIN_SHARE = 0.7


@dataclass(frozen=True)
class Features:
    """Normalised image features (M, D), labels (M,) and whether each image is in the training part (M,)."""

    features: torch.Tensor
    labels: torch.Tensor
    train: torch.Tensor

    def select(self, mask: torch.Tensor) -> "Features":
        """The images where `mask` (M,) holds."""
        return Features(self.features[mask], self.labels[mask], self.train[mask])


def load_packed_clip(path) -> tuple[CLIP, dict]:
    """Frozen CLIP of a packed file, float32, eval mode, with its config."""
    state_dict, config = read_packed(path)
    clip = build_clip(config)
    clip.load_state_dict(state_dict)
    return clip.eval().requires_grad_(False), config


def domain_features(clip: CLIP, config: dict, domain: str, per_class: int, seed: int) -> Features:
    """Render and encode one domain of `MINI_DG`."""
    images = np.stack(
        [render_image(MINI_DG, domain, name, i, seed)[0] for name in MINI_DG.classes for i in range(per_class)]
    )
    with torch.no_grad():
        batches = normalise_images(torch.from_numpy(images), config).split(256)
        features = torch.cat([F.normalize(clip.encode_image(batch), dim=-1) for batch in batches])
    index = torch.arange(len(images))
    return Features(features, index // per_class, index % per_class < round(TRAIN_SHARE * per_class))


def join(parts: list[Features]) -> Features:
    """Concatenate the images of several domains."""
    return Features(*(torch.cat([getattr(part, name) for part in parts]) for name in ("features", "labels", "train")))


class Prompt:
    """`TEMPLATE` for K classes with its first four words as a shared, tunable context (CoOp, arXiv 2109.01134)."""

    def __init__(self, clip: CLIP, classnames: tuple[str, ...]):
        tokens = SimpleTokenizer()([TEMPLATE.format(name) for name in classnames])
        self.clip, self.eot = clip, tokens.argmax(dim=-1)
        self.embedded = clip.token_embedding(tokens[:, : int(self.eot.max()) + 1])  # (K, L, D)
        self.ctx = self.embedded[0, 1 : 1 + N_CTX].clone().requires_grad_()

    def text_features(self) -> torch.Tensor:
        """Normalised text features (K, D)."""
        ctx = self.ctx.expand(len(self.embedded), -1, -1)
        embedded = torch.cat([self.embedded[:, :1], ctx, self.embedded[:, 1 + N_CTX :]], dim=1)
        return F.normalize(encode_embedded(self.clip, embedded, self.eot), dim=-1)

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """Logits (M, K) of image features (M, D)."""
        return self.clip.logit_scale.exp() * features @ self.text_features().T

    def tune(self, data: Features, epochs: int = 8, batch: int = 32, lr: float = 2e-3) -> "Prompt":
        """CoOp: cross-entropy on the context alone, SGD with momentum and a cosine schedule; returns itself."""
        generator, steps = torch.Generator().manual_seed(1), epochs * (len(data.labels) // batch)
        optimizer = torch.optim.SGD([self.ctx], lr=lr, momentum=0.9, weight_decay=5e-4)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(epochs):
            order = torch.randperm(len(data.labels), generator=generator)
            for index in order[: len(order) // batch * batch].split(batch):
                loss = F.cross_entropy(self.logits(data.features[index]), data.labels[index])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
        return self

    @torch.no_grad()
    def accuracy(self, data: Features) -> float:
        """Share of the images, in percent, whose class gets the highest logit."""
        return 100 * (self.logits(data.features).argmax(dim=-1) == data.labels).float().mean().item()


def zero_shot(clip: CLIP, domains: dict[str, Features]) -> dict[str, float]:
    """Accuracy of the untouched template per domain."""
    prompt = Prompt(clip, MINI_DG.classes)
    return {name: prompt.accuracy(data) for name, data in domains.items()}


def leave_one_out(clip: CLIP, domains: dict[str, Features]) -> dict[str, float]:
    """Accuracy on each domain of a context tuned on the training part of the others."""
    result = {}
    for target, data in domains.items():
        sources = join([d.select(d.train) for name, d in domains.items() if name != target])
        result[target] = Prompt(clip, MINI_DG.classes).tune(sources).accuracy(data)
    return result


def base_to_new(clip: CLIP, domains: dict[str, Features]) -> dict[str, float]:
    """Accuracy on base and new classes before and after tuning on the base classes' training part, domains pooled."""
    half, data = len(MINI_DG.classes) // 2, join(list(domains.values()))
    base, new = data.select(data.labels < half), data.select(data.labels >= half)
    test, new = base.select(~base.train), Features(new.features, new.labels - half, new.train)
    before, after = (Prompt(clip, MINI_DG.classes[:half]) for _ in range(2))
    after.tune(base.select(base.train))
    transferred = Prompt(clip, MINI_DG.classes[half:])
    result = {
        "base zero-shot": before.accuracy(test),
        "base CoOp": after.accuracy(test),
        "new zero-shot": transferred.accuracy(new),
    }
    transferred.ctx = after.ctx
    return result | {"new CoOp": transferred.accuracy(new)}


def _row(label: str, values: dict[str, float], average: bool = False) -> str:
    cells = [*values.values(), *([sum(values.values()) / len(values)] if average else [])]
    return " | ".join([f"| {label}", *(f"{cell:.1f}" for cell in cells)]) + " |"


def main(argv: list[str] | None = None) -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(prog="python -m promptshift.mini.evaluate", description=__doc__.splitlines()[0])
    parser.add_argument("--weights", default=MINI_WEIGHTS)
    parser.add_argument("--per-class", type=int, default=60)
    parser.add_argument("--data-seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args(argv)
    clip, config = load_packed_clip(args.weights)
    print("\n".join(["| data seed, method | " + " | ".join((*MINI_DG.domains, "average")) + " |", "|---" * 6 + "|"]))
    halves = []
    for seed in args.data_seeds:
        domains = {name: domain_features(clip, config, name, args.per_class, seed) for name in MINI_DG.domains}
        print(_row(f"{seed}, zero-shot", zero_shot(clip, domains), average=True), flush=True)
        print(_row(f"{seed}, CoOp, held-out domain", leave_one_out(clip, domains), average=True), flush=True)
        halves.append((seed, base_to_new(clip, domains)))
    print("\n".join(["", "| data seed | " + " | ".join(halves[0][1]) + " |", "|---" * 5 + "|"]))
    print("\n".join(_row(str(seed), values) for seed, values in halves))


if __name__ == "__main__":
    main()
