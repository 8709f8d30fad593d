"""Whether images come as the backbone takes them."""

from __future__ import annotations

import logging

from yacs.config import CfgNode as CN

from dassl.utils.errors import UserError
from promptshift.modeling.clip import FrozenCLIP

log = logging.getLogger(__name__)


def check_input(cfg: CN, clip: FrozenCLIP) -> None:
    """Refuse images of another size than the backbone's; say where they are normalised in another way."""
    size = tuple(cfg.INPUT.SIZE)
    if size != (clip.image_size, clip.image_size):
        raise UserError(
            f"INPUT.SIZE: {size} does not fit backbone '{clip.name}', which takes "
            f"({clip.image_size}, {clip.image_size})"
        )
    for key, wanted in (("PIXEL_MEAN", clip.mean), ("PIXEL_STD", clip.std)):
        if any(abs(a - b) > 1e-3 for a, b in zip(cfg.INPUT[key], wanted)):
            log.warning(f"INPUT.{key} {list(cfg.INPUT[key])} is not what '{clip.name}' was trained on: {list(wanted)}")
