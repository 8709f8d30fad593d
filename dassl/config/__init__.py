"""Default configuration, what its keys allow, and one-line-error merging."""

from yacs.config import CfgNode

from .defaults import _C as cfg_default
from .defaults import OPTIONS
from .merge import COMMAND_LINE, SKIP, merge_file, merge_opts
from .options import check_values

__all__ = [
    "COMMAND_LINE",
    "OPTIONS",
    "SKIP",
    "check_values",
    "clean_cfg",
    "get_cfg_default",
    "merge_file",
    "merge_opts",
]


def get_cfg_default() -> CfgNode:
    """Return a fresh copy of the default configuration."""
    return cfg_default.clone()


def clean_cfg(cfg: CfgNode, trainer: str) -> None:
    """Remove the blocks of all trainers but ``trainer`` from ``cfg`` (for shorter printing)."""
    for key in list(cfg.TRAINER.keys()):
        if key not in ("NAME", trainer.upper()):
            cfg.TRAINER.pop(key, None)
