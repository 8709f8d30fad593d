"""Trainer files of others at work: what they ask for and do not find becomes one line, or is given to them."""

from __future__ import annotations

import hashlib
import shutil
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import yacs.config
from yacs.config import CfgNode as CN

from dassl.utils import atomic_path
from dassl.utils.errors import UserError
from promptshift.mini.weights import SHA256, load_mini_state_dict
from promptshift.paths import checkout, output_root


@contextmanager
def explained(cfg: CN) -> Iterator[None]:
    """Turns two failures of a trainer file that was written for another train.py or data set into one line.

    Raises:
        UserError: a configuration key that nothing declares was read, or a table of the file (of templates, of
            statistics) lacks the data set or backbone that `cfg` names; every other exception passes.
    """
    try:
        yield
    except AttributeError as error:
        frames = traceback.extract_tb(error.__traceback__)
        if frames[-1].filename != yacs.config.__file__ or frames[-1].name != "__getattr__":
            raise
        raise UserError(
            f"{_place(frames[-2])} reads the configuration key {error.args[0]!r}, which nothing declares; give the "
            "file whose extend_cfg(cfg) does, e.g. the train.py of its repository: --extend-cfg FILE"
        ) from None
    except KeyError as error:
        frame, wanted = (
            traceback.extract_tb(error.__traceback__)[-1],
            {
                cfg.DATASET.NAME: "DATASET.NAME",
                cfg.MODEL.BACKBONE.NAME: "MODEL.BACKBONE.NAME",
            },
        )
        if isinstance(error, UserError) or not error.args or error.args[0] not in wanted or not _is_open(frame):
            raise
        raise UserError(
            f"{wanted[error.args[0]]}: {error.args[0]!r} has no entry in the table that {_place(frame)} reads "
            f"({frame.line}); add one there"
        ) from None


def offer_mini() -> None:
    """Makes the embedded CLIPs known to another repository's own `clip` package that its files have imported.

    Such a package looks a backbone up in `clip.clip._MODELS` and fetches its address with `_download`, which reads
    file addresses as well and takes the checksum from the last folder of the address, as OpenAI's do.
    """
    for module in list(sys.modules.values()):
        models = vars(module).get("_MODELS")
        if isinstance(models, dict) and "_download" in vars(module) and "mini" not in models:  # ours has it
            models |= {backbone: _mini_file(backbone).as_uri() for backbone in SHA256}


def _mini_file(backbone: str) -> Path:
    """`$OUTPUT/clip/<SHA-256 of the file>/<backbone>-<that of the weights>.pt`, written where it is not there."""
    name = f"{backbone}-{SHA256[backbone][:16]}.pt"
    for path in (output_root() / "clip").glob(f"*/{name}"):
        return path
    with atomic_path(output_root() / "clip" / name) as temporary:
        torch.save(load_mini_state_dict(name=backbone), temporary)
        path = output_root() / "clip" / hashlib.sha256(temporary.read_bytes()).hexdigest() / name
        path.parent.mkdir(exist_ok=True)
        with atomic_path(path) as copy:
            shutil.copy(temporary, copy)
    return path


def _place(frame: traceback.FrameSummary) -> str:
    return f"{frame.filename}, line {frame.lineno},"


def _is_open(frame: traceback.FrameSummary) -> bool:
    """Whether a frame lies in a folder that users put files into."""
    path = Path(frame.filename)
    return any(path.is_relative_to(checkout() / folder) for folder in ("trainers", "datasets"))
