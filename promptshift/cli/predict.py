"""`promptshift predict --run FOLDER IMAGE...`: class probabilities of images from a trained run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from dassl.data.transforms import build_transform
from dassl.engine import TrainerX
from dassl.utils import read_image
from dassl.utils.errors import UserError
from promptshift.cli.command import Parser, answer
from promptshift.runs.reopen import reopen

_EPILOG = """\
One line per image: its path, a tab, and the likeliest classes with their probabilities, the likeliest first.
The run's folder is enough: neither the data set nor the data folder is needed.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the likeliest classes of images: 0 when done, 2 after bad input (one line on stderr)."""
    return answer(_main, argv)


def _main(argv: Sequence[str] | None) -> int:
    parser = Parser("promptshift predict", description=__doc__, epilog=_EPILOG)
    parser.add_argument("--run", required=True, metavar="FOLDER", help="output folder of a finished run")
    parser.add_argument("--topk", type=int, default=3, help="how many classes per image (default: 3)")
    parser.add_argument("images", nargs="+", metavar="IMAGE")
    options = parser.parse_args(argv)
    if options.topk < 1:
        raise UserError(f"--topk: {options.topk}, allowed: 1 and more")
    for path in options.images:
        read_image(path)  # all of them are looked at before the first is answered
    trainer = reopen(options.run, key="--run")
    for path, row in zip(options.images, probabilities(trainer, options.images)):
        top = row.topk(min(options.topk, len(row)))
        names = (f"{trainer.lab2cname[i]} {p:.4f}" for p, i in zip(top.values.tolist(), top.indices.tolist()))
        print(f"{path}\t{', '.join(names)}")
    return 0


def probabilities(trainer: TrainerX, paths: Sequence[str]) -> Iterator[Tensor]:
    """Class probabilities (K,) of each image, on the CPU; one does not depend on the others.

    Raises:
        UserError: an image cannot be read.
    """
    if hasattr(trainer, "file_probabilities"):  # adapts to each image, for which it needs more than a tensor of it
        yield from trainer.file_probabilities(paths)
        return
    transform = build_transform(trainer.cfg, is_train=False)
    size = trainer.cfg.DATALOADER.TEST.BATCH_SIZE
    for start in range(0, len(paths), size):
        batch = torch.stack([transform(read_image(path)) for path in paths[start : start + size]])  # (B, 3, S, S)
        yield from _scores(trainer, batch).cpu()


@torch.no_grad()
def _scores(trainer: TrainerX, images: Tensor) -> Tensor:
    """Images (B, 3, S, S) -> probabilities (B, K); trainers without CLIP have plain logits."""
    if hasattr(trainer, "probabilities"):
        return trainer.probabilities(images)
    return trainer.model_inference(images.to(trainer.device)).softmax(dim=-1)
