"""Folders of finished runs for tests: results and configurations as runs write them, without running anything."""

from pathlib import Path

from dassl.config import get_cfg_default, merge_opts
from helpers.result_records import make_record
from promptshift.paths import load_plugins
from promptshift.results.record import write_result
from promptshift.runs.config import config_hash, extend_cfg

ART_AND_FRIENDS = ("art_painting", "cartoon", "photo", "sketch")


def write_run(folder, accuracy, trainer="CoOp", target="sketch", seed=1, options=(), **fields):
    """Writes config.yaml, log.txt and result.json of one leave-one-domain-out run; returns the folder."""
    load_plugins()
    cfg = get_cfg_default()
    extend_cfg(cfg)
    sources = [name for name in ART_AND_FRIENDS if name != target]
    merge_opts(
        cfg,
        [
            "TRAINER.NAME",
            trainer,
            "DATASET.NAME",
            fields.get("dataset", "PACS"),
            "SEED",
            seed,
            "DATASET.SOURCE_DOMAINS",
            sources,
            "DATASET.TARGET_DOMAINS",
            [target],
            *options,
        ],
        source="test",
    )
    folder = Path(folder)
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(cfg.dump())
    (folder / "log.txt").write_text("=> result\n")
    record = make_record(
        trainer=trainer,
        seed=seed,
        source_domains=sources,
        target_domains=[target],
        metrics={"accuracy": accuracy},
        config_hash=config_hash(cfg),
        selection=cfg.TEST.FINAL_MODEL,
    )
    write_result(folder, {**record, **fields})
    return folder


def write_grid(root, accuracy, trainer="CoOp", seeds=(1, 2), **fields):
    """Writes a run for every held-out domain and seed; `accuracy(target, seed)` says which number."""
    for target in ART_AND_FRIENDS:
        for seed in seeds:
            folder = Path(root, trainer, target, f"seed{seed}")
            write_run(folder, accuracy(target, seed), trainer, target, seed, **fields)
