"""The backbone's name where weights of one's own are given: read off their sizes, which decide what is built."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Mapping

from yacs.config import CfgNode as CN

from dassl.config import COMMAND_LINE
from dassl.utils.errors import UserError

log = logging.getLogger(__name__)

NAME, PATH = "MODEL.BACKBONE.NAME", "MODEL.BACKBONE.PATH"
# OpenAI's names by the sizes of their vision towers (arXiv 2103.00020, tables 19 and 20): patch, width, blocks, pixels
_SIZES = {
    (None, 64, (3, 4, 6, 3), 224): "RN50",
    (None, 64, (3, 4, 23, 3), 224): "RN101",
    (32, 768, 12, 224): "ViT-B/32",
    (16, 768, 12, 224): "ViT-B/16",
    (14, 1024, 24, 224): "ViT-L/14",
    (14, 1024, 24, 336): "ViT-L/14@336px",
}


def name_backbone(cfg: CN, sources: Mapping[str, str]) -> None:
    """Put the name that MODEL.BACKBONE.PATH's weights have in place of one that was not chosen together with it.

    Tables and published rows go by the name. Weights of none of OpenAI's sizes keep the name that they are given, and
    files that cannot be read are named by the loader.

    Args:
        cfg: the merged configuration; MODEL.BACKBONE.NAME is changed.
        sources: dotted key -> where its value came from.

    Raises:
        UserError: the name stands on the command line, or where the path does, and is another one's.
    """
    backbone = cfg.MODEL.BACKBONE
    if not backbone.PATH or ":" in backbone.NAME:
        return
    path = os.path.abspath(os.path.expanduser(backbone.PATH))
    try:
        stat = os.stat(path)
        found = _named(path, stat.st_size, stat.st_mtime_ns)
    except (OSError, ValueError):
        return
    if not found or found == backbone.NAME:
        return
    if backbone.NAME and sources.get(NAME) in (COMMAND_LINE, sources.get(PATH, COMMAND_LINE)):
        raise UserError(f"{NAME}: {backbone.NAME}, but the weights in {PATH} {backbone.PATH} are those of {found}")
    log.info(f"{NAME}: {found}, read off the weights in {backbone.PATH}")
    backbone.NAME = found


@functools.lru_cache(maxsize=8)
def _named(path: str, size: int, changed: int) -> str:
    """OpenAI's name for the weights in a file, "" where they are no CLIP of theirs."""
    from promptshift.modeling.backbones.weights import architecture, read_state_dict  # with torch, so only when needed

    try:
        sizes = architecture(read_state_dict(path))
    except UserError:
        return ""
    keys = ("patch_size", "vision_width", "vision_layers", "image_size")
    return _SIZES.get(tuple(sizes[key] for key in keys), "")
