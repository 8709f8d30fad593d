"""What trainers share that read every test image as views: how views are cut, batched, and read from files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from dassl.data.data_manager import DatasetWrapper
from dassl.data.transforms import build_transform
from dassl.utils import read_image
from dassl.utils.errors import UserError
from promptshift.adapting.stream import StreamViews, image_name, view_seed
from promptshift.bases.prompt_trainer import PromptTrainer
from promptshift.modeling.views import ViewTransform

MOST_AT_ONCE = 64  # images read together where memory allows more
MOST_BYTES = 2**28  # of their views


class ReadsViews(PromptTrainer):
    """Reads images as VIEWS views, the clean one first; its block has VIEWS and AUGMIX.

    Shapes: N images, V views, S image side.
    """

    def view_transform(self) -> ViewTransform:
        """PIL image -> views (V, 3, S, S)."""
        c = self.cfg.INPUT
        return ViewTransform(
            build_transform(self.cfg, is_train=False), c.SIZE, self.options.VIEWS, c.RRCROP_SCALE, self.uses_augmix()
        )

    def uses_augmix(self) -> bool:
        """AUGMIX, with `auto` read as TPT's release does: on for all but ImageNet and its variants."""
        choice = self.options.AUGMIX
        return choice == "on" or choice == "auto" and not self.cfg.DATASET.NAME.startswith("ImageNet")

    def images_at_once(self) -> int:
        """TEST.TTA_BATCH, or as many images as the bound on the memory of their views allows."""
        bytes_of_views = self.options.VIEWS * 3 * self.clip.image_size**2 * 4
        return self.cfg.TEST.TTA_BATCH or max(1, min(MOST_AT_ONCE, MOST_BYTES // bytes_of_views))

    def in_chunks(self, run: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        """Images (N, V, 3, S, S) -> `run` of all of them, (N, V, ...), no more at once than the bound on tokens."""
        per = max(1, self.cfg.MODEL.TEXT_CHUNK // 256)  # of ViT-B/16 and its like, which have about 200 tokens
        return torch.cat([run(part) for part in images.flatten(0, 1).split(per)]).unflatten(0, images.shape[:2])

    def stream_views(self, items: list) -> StreamViews:
        """Views of the images of a test set."""
        images = DatasetWrapper(self.cfg, items, self.view_transform())
        return StreamViews(images, self.cfg.DATASET.ROOT, self.cfg.SEED, self.cfg.TEST.STRICT)

    def file_views(self, paths: Sequence[str], size: int) -> Iterator[Tensor]:
        """Views (n, V, 3, S, S) of image files, `size` files at a time.

        Raises:
            UserError: an image cannot be read.
        """
        images = DatasetWrapper(self.cfg, [], self.view_transform())
        for start in range(0, len(paths), size):
            part = [
                (read_image(path), view_seed(self.cfg.SEED, image_name(path, self.cfg.DATASET.ROOT)))
                for path in paths[start : start + size]
            ]
            yield torch.stack([images.augment(image, seed)["img"] for image, seed in part])


def check_share(key: str, share: float, views: int) -> None:
    """Refuses a share of the views that is less than one view or more than all.

    Raises:
        UserError: naming the key.
    """
    if not 1 <= int(views * share) <= views:
        raise UserError(
            f"{key}: {share} of {views} views is {int(max(views * share, 0))} confident views; allowed: "
            f"{1 / views:g} (one view) to 1"
        )
