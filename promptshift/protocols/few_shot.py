"""Few-shot classification: k training images per class, test on the whole test set (arXiv 2109.01134, section 4.1)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from promptshift.paths import output_root
from promptshift.protocols.registry import Plan, register
from promptshift.protocols.request import Request
from promptshift.protocols.seed_table import seed_table

CLASS_TOKEN_POSITIONS = ("front", "middle", "end")


@register("few_shot")
def few_shot(request: Request) -> Plan:
    """Returns one job per seed, in the output layout of CoOp's `main.sh`."""
    folder = folder_of(request)
    cell = (request.trainer, request.dataset)
    jobs = tuple(request.job(f"seed {seed}", folder / f"seed{seed}", cell, seed) for seed in request.seeds)
    return Plan(jobs, folder, lambda records: seed_table(request, jobs, records, average=False))


def folder_of(request: Request) -> Path:
    """Returns `<OUTPUT>/<DATASET>/<TRAINER>/<CFG>_<S>shots`, for CoOp with `nctx<N>_csc<C>_ctp<P>` below it."""
    stem = f"{request.config_file.stem}_{request.cfg.DATASET.NUM_SHOTS}shots"
    folder = output_root() / request.dataset_file.stem / request.trainer / stem
    if request.trainer != "CoOp":
        return folder
    coop = request.cfg.TRAINER.COOP
    return folder / f"nctx{coop.N_CTX}_csc{coop.CSC}_ctp{coop.CLASS_TOKEN_POSITION}"


def is_coop_call(words: Sequence[str]) -> bool:
    """Returns whether `words` are the six arguments of CoOp's `main.sh`: DATASET CFG CTP NCTX SHOTS CSC."""
    return len(words) == 6 and words[2] in CLASS_TOKEN_POSITIONS


def from_coop_call(words: Sequence[str]) -> tuple[str, list[str]]:
    """Returns (configuration name, DATASET and KEY VALUE words) for CoOp's six arguments."""
    dataset, config, position, n_ctx, shots, csc = words
    return config, [
        dataset,
        "TRAINER.COOP.N_CTX", n_ctx,
        "TRAINER.COOP.CSC", csc,
        "TRAINER.COOP.CLASS_TOKEN_POSITION", position,
        "DATASET.NUM_SHOTS", shots,
    ]  # fmt: skip
