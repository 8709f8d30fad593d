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
    # with torch: only where it is needed
    from promptshift.modeling.backbones.architectures import image_tower_name
    from promptshift.modeling.backbones.weights import architecture, read_state_dict

    try:
        return image_tower_name(architecture(read_state_dict(path)))
    except UserError:
        return ""
