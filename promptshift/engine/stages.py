"""Stages: runs that another run needs first (prompt labels of a domain), made once and kept.

A stage is an ordinary run of a registered trainer in a folder below the output root. It is used again when its
result is complete and was made with the same configuration from the same images.
"""
from __future__ import annotations

import hashlib
import os
import sys
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock
from yacs.config import CfgNode as CN

from dassl.config import merge_opts
from dassl.utils.logger import Logger
from promptshift.engine.config import config_hash
from promptshift.paths import output_root
from promptshift.randomness import own_random_state


def data_fingerprint(items: list, root: str) -> str:
    """16 hex digits over the relative path, size and label of every image of a stage."""
    digest = hashlib.blake2b(digest_size=8)
    for item in items:
        digest.update(f"{os.path.relpath(item.impath, root)}|{os.path.getsize(item.impath)}|{item.label}\n".encode())
    return digest.hexdigest()


def domain_stage(cfg: CN, trainer: str, domains: list[str], items: list, changes: list) -> Path:
    """Runs `trainer` on some domains alone, unless that has been done.

    Args:
        cfg: the configuration of the run that needs the stage.
        trainer: registered name of the stage's trainer.
        domains: the domains that it trains on and selects by, mostly one.
        items: the images of these domains, which name the data the result was made from.
        changes: KEY VALUE pairs that turn `cfg` into the stage's configuration.

    Returns:
        The folder of the finished run.
    """
    stage = cfg.clone()
    stage.defrost()
    merge_opts(stage, ["TRAINER.NAME", trainer, "DATASET.SOURCE_DOMAINS", domains, "DATASET.TARGET_DOMAINS", domains,
                       "DATASET.FINGERPRINT", data_fingerprint(items, cfg.DATASET.ROOT), "RESUME", "",
                       "PROTOCOL", "stage", *changes], source=f"stage {trainer}")
    backbone = cfg.MODEL.BACKBONE.NAME.replace("/", "").replace(":", "_")
    folder = (output_root() / "prompt_labels" / cfg.DATASET.NAME / backbone / trainer / f"seed_{cfg.SEED}"
              / f"{'+'.join(domains)}-{config_hash(stage)[:8]}")
    stage.OUTPUT_DIR = str(folder)
    stage.freeze()
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):  # two runs side by side may need the same stage: one makes it
        _run_once(stage, ", ".join(domains))
    return folder


def _run_once(stage: CN, domains: str) -> None:
    from promptshift.engine.run import finished, run  # a run may need stages, which are runs
    if finished(stage):
        print(f"Prompt labels of {domains}: found in {stage.OUTPUT_DIR}")
        return
    print(f"Prompt labels of {domains}: training them in {stage.OUTPUT_DIR}")
    with own_random_state(), own_log():
        run(stage)


class _Through:
    """Hands text on to another stream; the stage's logger writes to it and to the stage's own file."""

    def __init__(self, stream):
        self.write, self.flush, self.isatty = stream.write, stream.flush, stream.isatty


@contextmanager
def own_log():
    """Lets the stage open its own log.txt while the caller's goes on."""
    caller = sys.stdout
    sys.stdout = _Through(caller)
    try:
        yield
    finally:
        if isinstance(sys.stdout, Logger):
            sys.stdout.close()
        sys.stdout = caller
