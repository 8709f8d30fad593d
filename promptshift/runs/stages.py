"""Stages: runs that another run needs first (labels of a domain, a backbone, a teacher), made once and kept.

A stage is an ordinary run of a registered trainer in a folder below the output root. It is used again when its
result is complete and was made with the same configuration from the same images.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import os
from pathlib import Path

from filelock import FileLock
from yacs.config import CfgNode as CN

from dassl.config import get_cfg_default, merge_file, merge_opts
from dassl.data.datasets import DATASET_REGISTRY
from dassl.engine import TRAINER_REGISTRY
from dassl.utils.yaml_reader import read_yaml
from promptshift.modeling.embedded import EMBEDDED
from promptshift.paths import checkout, output_root, trainer_config_file
from promptshift.randomness import own_random_state
from promptshift.runs.config import config_hash, extend_cfg, stage_hash
from promptshift.runs.options import complete

log = logging.getLogger(__name__)


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
    merge_opts(
        stage,
        [
            "TRAINER.NAME",
            trainer,
            "DATASET.SOURCE_DOMAINS",
            domains,
            "DATASET.TARGET_DOMAINS",
            domains,
            "DATASET.FINGERPRINT",
            data_fingerprint(items, cfg.DATASET.ROOT),
            "RESUME",
            "",
            "STAGE",
            "",
            "PROTOCOL",
            "stage",
            *changes,
        ],
        source=f"stage {trainer}",
    )
    return _made(stage, "prompt_labels", "+".join(domains), f"Prompt labels of {', '.join(domains)}")


def trainer_file(trainer: str, dataset: str, config: str = "") -> Path:
    """The YAML that a stage is made from.

    Args:
        trainer: registered name of the stage's trainer.
        dataset: DATASET.NAME, any of its names.
        config: a file of `configs/trainers/<trainer>/` without its suffix; empty for the dataset's own file,
            `mini.yaml` in the embedded world, or `default.yaml`, whichever exists first.

    Raises:
        UserError: there is no such file.
    """
    return trainer_config_file(trainer, [config] if config else [*_dataset_files(dataset), "default"])


def _dataset_files(dataset: str) -> list[str]:
    """Names that the dataset's YAML has in configs/datasets; `mini` behind them for an embedded one."""
    registered, stems, embedded = DATASET_REGISTRY.get(dataset), [], False
    for path in sorted((checkout() / "configs" / "datasets").glob("*.yaml")):
        content = _content(path, path.stat().st_mtime_ns)
        name = content.get("DATASET", {}).get("NAME", "")
        if name in DATASET_REGISTRY.registered_names() and DATASET_REGISTRY.get(name) is registered:
            stems.append(path.stem)
            embedded |= content.get("MODEL", {}).get("BACKBONE", {}).get("NAME") in EMBEDDED
    return [*stems, "mini"] if embedded else stems


@functools.cache
def _content(path: Path, changed: int) -> dict:
    """A YAML's content, read once for as long as it is not changed: protocols ask for it again for every job."""
    return read_yaml(path) or {}


def trainer_stage_cfg(cfg: CN, trainer: str, config: str, changes: list) -> CN:
    """Configuration of another trainer's run on the data of `cfg`: same dataset, seed and CLIP, its own YAML.

    Args:
        cfg: the configuration of the run that needs the stage.
        trainer: registered name of the stage's trainer.
        config: see `trainer_file`.
        changes: KEY VALUE pairs, the last word on any key.

    Raises:
        UserError: an unknown trainer, file, key or value.
    """
    cls = TRAINER_REGISTRY.get(trainer)
    stage, sources = get_cfg_default(), {}
    extend_cfg(stage, cfg.EXTEND_CFG, cls.BLOCK)
    path = trainer_file(cls.__name__, cfg.DATASET.NAME, config)
    merge_file(stage, str(path), aliases=cls.KEY_ALIASES, sources=sources)
    stage.DATASET, stage.SEED, stage.USE_CUDA = cfg.DATASET.clone(), cfg.SEED, cfg.USE_CUDA
    stage.DETERMINISTIC, stage.DATALOADER.NUM_WORKERS = cfg.DETERMINISTIC, cfg.DATALOADER.NUM_WORKERS
    stage.MODEL.BACKBONE, stage.MODEL.TEXT_CHUNK = cfg.MODEL.BACKBONE.clone(), cfg.MODEL.TEXT_CHUNK
    stage.TEST.FEATURE_CACHE = cfg.TEST.FEATURE_CACHE
    stage.defrost()  # what was copied may be frozen
    merge_opts(
        stage,
        ["TRAINER.NAME", cls.__name__, "RESUME", "", "PROTOCOL", "stage", *changes],
        source=f"stage {trainer}",
        aliases=cls.KEY_ALIASES,
        sources=sources,
    )
    complete(stage, cls, sources)
    stage.STAGE = stage_hash(stage)
    return stage


def trainer_stage(stage: CN, items: list, what: str) -> Path:
    """Runs a configuration of `trainer_stage_cfg`, unless that has been done.

    Args:
        stage: the configuration.
        items: images of the dataset, which name the data the result was made from.
        what: what the run makes, for the log.

    Returns:
        The folder of the finished run.
    """
    stage.DATASET.FINGERPRINT = data_fingerprint(items, stage.DATASET.ROOT)
    classes, shots = stage.DATASET.SUBSAMPLE_CLASSES, stage.DATASET.NUM_SHOTS
    return _made(stage, "stages", f"{classes}-shots_{max(shots, 0)}", what)


def _made(stage: CN, kind: str, label: str, what: str) -> Path:
    backbone = stage.MODEL.BACKBONE.NAME.replace("/", "").replace(":", "_")
    folder = (
        output_root()
        / kind
        / stage.DATASET.NAME
        / backbone
        / stage.TRAINER.NAME
        / f"seed_{stage.SEED}"
        / f"{label}-{config_hash(stage)[:8]}"
    )
    stage.OUTPUT_DIR = str(folder)
    stage.freeze()
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):  # two runs side by side may need the same stage: one makes it
        _run_once(stage, what)
    return folder


def _run_once(stage: CN, what: str) -> None:
    from promptshift.runs.run import finished, run  # a run may need stages, which are runs

    if finished(stage):
        log.info(f"{what}: found in {stage.OUTPUT_DIR}")
        return
    log.info(f"{what}: training in {stage.OUTPUT_DIR}")
    with own_random_state():
        run(stage)
