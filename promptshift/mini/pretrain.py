"""Pretrains a mini CLIP: `python -m promptshift.mini.pretrain --out FILE [--model NAME] [--seed S] [--device cuda]`.

Symmetric InfoNCE over in-batch pairs (Radford et al. 2021, arXiv 2103.00020). Muon moves the matrices of the blocks,
AdamW the rest. Auxiliary classifiers on the image feature guide the first half of the steps and are thrown away.
"""

import argparse
import math
import random
import time

import torch
import torch.nn.functional as F
from torch import nn

from .captions import sample_caption, twin
from .model import CONFIGS, build_clip, encode_tokens, normalise_images
from .muon import Muon
from .pretraining_set import ATTRIBUTES, CaptionTokens, PretrainingSet, render_pretraining_set
from .weights import pack

IMAGES, EPOCHS, BATCH, PEAK_LR, WARMUP = 34_000, 4, 128, 3e-3, 100
LONG_SHARE = 0.2  # share of the batches with long captions
AUXILIARY = {"classname": 1.0, "style": 0.1, "colour": 0.2, "background": 0.1, "distractor": 0.3, "big": 0.1}


def build_optimizers(clip: nn.Module, heads: nn.Module) -> list[torch.optim.Optimizer]:
    """Muon for the two-dimensional weights of the residual blocks, AdamW for everything else."""
    blocks = {name: p for name, p in clip.named_parameters() if "resblocks" in name and p.ndim == 2}
    rest = [p for name, p in clip.named_parameters() if name not in blocks] + list(heads.parameters())
    return [
        Muon(blocks.values(), lr=PEAK_LR),
        torch.optim.AdamW(rest, lr=PEAK_LR, betas=(0.9, 0.98), weight_decay=0.01),
    ]


def learning_rate(step: int, steps: int) -> float:
    """Linear warm-up, then a cosine from `PEAK_LR` down to 1 % of it."""
    if step < WARMUP:
        return PEAK_LR * (step + 1) / WARMUP
    progress = (step - WARMUP) / max(1, steps - WARMUP)
    return PEAK_LR * (0.01 + 0.99 * (1 + math.cos(math.pi * progress)) / 2)


def contrastive_loss(clip: nn.Module, image_features: torch.Tensor, text_features: torch.Tensor) -> torch.Tensor:
    """Symmetric InfoNCE of features (B, D) that belong together row by row."""
    image_features, text_features = F.normalize(image_features, dim=-1), F.normalize(text_features, dim=-1)
    logits = clip.logit_scale.exp().clamp(max=100) * image_features @ text_features.T  # (B, B)
    labels = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2


def twin_loss(clip: nn.Module, images: torch.Tensor, texts: torch.Tensor, twins: torch.Tensor) -> torch.Tensor:
    """Two-way choice between each image's caption and its look-alike twin, all features (B, D).

    Its optimum is a margin of log((1 - s) / s) where captions of that kind swap with probability s.
    """
    difference = F.normalize(texts, dim=-1) - F.normalize(twins, dim=-1)
    return F.softplus(-clip.logit_scale.exp() * (F.normalize(images, dim=-1) * difference).sum(dim=-1)).mean()


def augment(images: torch.Tensor, rng: random.Random) -> torch.Tensor:
    """Roll a batch (B, 3, H, W) by up to 3 pixels and mirror it half of the time."""
    images = images.roll((rng.randint(-3, 3), rng.randint(-3, 3)), dims=(2, 3))
    return images.flip(3) if rng.random() < 0.5 else images


class Pretraining:
    """State of one pretraining run."""

    def __init__(self, data: PretrainingSet, config: dict, seed: int, device: str, epochs: int):
        torch.manual_seed(seed)
        self.config = config
        self.data, self.device, self.epochs = data, device, epochs
        self.tokens, self.rng = CaptionTokens(), random.Random(seed)
        self.clip = build_clip(config, vocab_size=len(self.tokens.token_ids)).to(device)
        self.heads = nn.ModuleDict(
            {name: nn.Linear(config["embed_dim"], len(ATTRIBUTES[name])) for name in AUXILIARY}
        ).to(device)
        self.optimizers = build_optimizers(self.clip, self.heads)
        self.steps = epochs * (len(data.images) // BATCH)

    def loss(self, index: torch.Tensor, step: int) -> torch.Tensor:
        """Loss of the images `index` (B,)."""
        images = augment(normalise_images(self.data.images[index].to(self.device), self.config), self.rng)
        long = self.rng.random() < LONG_SHARE
        captions = [sample_caption(self.rng, self.data.facts[i], long) for i in index.tolist()]
        features, texts = self.clip.encode_image(images), self.encode(captions)
        loss = contrastive_loss(self.clip, features, texts)
        if 2 * step >= self.steps:
            loss = loss + twin_loss(self.clip, features, texts, self.encode([twin(caption) for caption in captions]))
        share = max(0.0, 1 - 2 * step / self.steps)
        for name, weight in AUXILIARY.items() if share else ():
            targets = self.data.targets[name][index].to(self.device)
            loss = loss + share * weight * F.cross_entropy(self.heads[name](features), targets)
        return loss

    def encode(self, captions: list[str]) -> torch.Tensor:
        """Text features (B, D) of B captions."""
        return encode_tokens(self.clip, self.tokens.batch(captions).to(self.device))

    def step(self, index: torch.Tensor, step: int) -> float:
        """One update; returns the loss."""
        loss = self.loss(index, step)
        for optimizer in self.optimizers:
            optimizer.zero_grad()
            optimizer.param_groups[0]["lr"] = learning_rate(step, self.steps)
        loss.backward()
        nn.utils.clip_grad_norm_([*self.clip.parameters(), *self.heads.parameters()], 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
        return loss.item()

    def run(self) -> None:
        """All epochs, with a progress line every 100 steps."""
        step, start = 0, time.time()
        for _ in range(self.epochs):
            order = torch.randperm(len(self.data.images))
            for index in order[: len(order) // BATCH * BATCH].split(BATCH):
                loss = self.step(index, step)
                step += 1
                if step % 100 == 0:
                    print(f"step {step}/{self.steps} loss {loss:.3f} ({time.time() - start:.0f} s)", flush=True)


def main(argv: list[str] | None = None) -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser(prog="python -m promptshift.mini.pretrain", description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True, help="packed weights to write (.npz)")
    parser.add_argument("--model", choices=CONFIGS, default="mini", help="sizes of the CLIP")
    parser.add_argument("--seed", type=int, default=0, help="seed of the images, captions and initial weights")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    args = parser.parse_args(argv)
    start = time.time()
    data = render_pretraining_set(args.images, args.seed)
    print(f"rendered {args.images} images ({time.time() - start:.0f} s)", flush=True)
    run = Pretraining(data, CONFIGS[args.model], args.seed, args.device, args.epochs)
    run.run()
    sha256 = pack(run.clip.state_dict(), run.tokens.token_ids, run.config, args.out)
    print(f"wrote {args.out} (logit scale {run.clip.logit_scale.exp().item():.1f}), SHA-256 {sha256}")


if __name__ == "__main__":
    main()
