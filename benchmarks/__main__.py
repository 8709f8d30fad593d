"""`python -m benchmarks [--device cuda]`: the table of ratios. Random weights of ViT-B/16's text size; no download."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch
from tabulate import tabulate

from benchmarks import plain
from benchmarks.adaptation import adaptation_rows
from benchmarks.memory import MEMORY_HEADER, memory_rows
from benchmarks.models import class_names, random_clip
from benchmarks.stage_two import stage_two_rows
from benchmarks.timing import HEADER, Row, compare
from promptshift.modeling.clip import FrozenCLIP, load_clip
from promptshift.modeling.features import cached_features
from promptshift.modeling.generators import TransformerGenerator
from promptshift.modeling.prompts import PromptLearner, PromptTemplate


def text_rows(clip: FrozenCLIP) -> list[Row]:
    """Class features of 65 and 345 classes at 4 context tokens, forward and forward + backward."""
    rows = []
    for classes in (65, 345):
        learner = PromptLearner(clip, class_names(classes), n_ctx=4)
        template, runs = learner.template, 3 if classes < 100 else 2

        def plain_forward(template=template, learner=learner):
            with torch.no_grad():
                return plain.class_features(template, learner.ctx)

        def our_forward(template=template, learner=learner):
            with torch.no_grad():
                return template.features(learner.ctx)

        def gradient(features, learner=learner):
            weights = torch.linspace(-1, 1, features.numel(), device=features.device).view_as(features)
            return torch.autograd.grad((features * weights).sum(), learner.ctx)[0]

        rows.append(compare(f"text tower, {classes} classes, forward", plain_forward, our_forward, runs, ">= 8x"))
        rows.append(
            compare(
                f"text tower, {classes} classes, forward + backward",
                lambda t=template, ln=learner, g=gradient: g(plain.class_features(t, ln.ctx)),
                lambda t=template, ln=learner, g=gradient: g(t.features(ln.ctx)),
                runs,
                ">= 7x",
                tolerance=1e-3,
            )
        )
    return rows


@torch.no_grad()
def dpspg_row(clip: FrozenCLIP, images: int = 16, plain_images: int = 2) -> Row:
    """DPSPG's test at 65 classes: batches of images against one image at a time, time per image."""
    template = PromptTemplate(clip, class_names(65), 4)
    generators = [TransformerGenerator(clip.embed_dim, 4, clip.text_width).to(clip.device).eval() for _ in range(2)]
    features = torch.nn.functional.normalize(torch.randn(images, clip.embed_dim), dim=-1).to(clip.device)

    def ours():
        positive, negative = (
            torch.einsum("be,bke->bk", features, template.features_each(generator(features)))
            for generator in generators
        )
        return positive - 0.2 * negative

    return compare(
        f"DPSPG test, 65 classes, {images} images",
        lambda: plain.dpspg_scores(template, generators, features[:plain_images]),
        ours,
        2,
        ">= 8x",
        share=plain_images / images,
    )


@torch.no_grad()
def cache_row(device: str) -> Row:
    """A second evaluation of the same rendered images: decode and encode again, or read the stored features."""
    from dassl.config import get_cfg_default
    from dassl.data.data_manager import build_data_loader
    from dassl.data.datasets import Datum
    from dassl.data.transforms import build_transform
    from promptshift.mini import MINI_DG, render_world

    clip = load_clip("mini", device=device)
    cfg = get_cfg_default()
    cfg.INPUT.SIZE, cfg.INPUT.INTERPOLATION, cfg.INPUT.TRANSFORMS = (48, 48), "bicubic", ["normalize"]
    cfg.INPUT.PIXEL_MEAN, cfg.INPUT.PIXEL_STD = list(clip.mean), list(clip.std)
    cfg.DATALOADER.NUM_WORKERS, cfg.USE_CUDA = 0, False
    with tempfile.TemporaryDirectory() as folder:
        render_world(MINI_DG, Path(folder) / "mini", per_class=15)
        items = [Datum(str(path)) for path in sorted((Path(folder) / "mini/images").rglob("*.png"))]
        loader = build_data_loader(
            cfg, data_source=items, batch_size=100, tfm=build_transform(cfg, is_train=False), is_train=False
        )

        def encode(images):
            return clip.encode_image(images.to(device)).float()

        def decode_and_encode():
            return torch.cat([encode(batch["img"]).cpu() for batch in loader])

        def from_cache():
            return cached_features(loader, encode, clip.fingerprint, Path(folder) / "cache")[0]

        return compare(
            f"second evaluation of {len(items)} images, mini backbone", decode_and_encode, from_cache, 3, ">= 20x"
        )


def main() -> None:
    arguments = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    arguments.add_argument("--device", default="cpu", help="cpu or cuda")
    device = arguments.parse_args().device
    clip = random_clip(device)
    rows = [*text_rows(clip), dpspg_row(clip), cache_row(device), *stage_two_rows(device), *adaptation_rows(device)]
    print(
        f"device {device}, {torch.get_num_threads()} threads, torch {torch.__version__}; 4 context tokens; "
        "plain = 77 tokens, one image at a time, no cache"
    )
    print(tabulate([row.cells() for row in rows], headers=HEADER, tablefmt="github"))
    print(tabulate([row.cells() for row in memory_rows(device)], headers=MEMORY_HEADER, tablefmt="github"))


if __name__ == "__main__":
    main()
