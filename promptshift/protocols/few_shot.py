"""Few-shot classification: k training images per class, test on the whole test set (arXiv 2109.01134, section 4.1)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from promptshift.launch.jobs import Job
from promptshift.protocols.registry import Plan, register
from promptshift.protocols.request import Request
from promptshift.protocols.seed_table import seed_table
from promptshift.protocols.trained import EVALUATION_OPTIONS, in_order, start, trains_itself
from promptshift.results.layout import SEEDS_AND_DOMAINS, Layout, by_shots

_OTHERS = {"base2new", "evaluation", "imagenet"}  # folders of upstream's other protocols
LAYOUT = Layout(
    "Few-shot classification",
    "A column is the number of training images per class.",
    by_shots,
    free=(*SEEDS_AND_DOMAINS, "DATASET.NUM_SHOTS"),
    untrained="0",
    figure="columns",
    recognises=lambda run: run.classes == "all" and not run.targets and not _OTHERS.intersection(run.folder.parts),
    rank=6,
)
CLASS_TOKEN_POSITIONS = ("front", "middle", "end")
_COOP_FOLDERS = {"CoOp": "COOP", "ProGrad": "PROGRAD"}  # trainers whose released scripts name folders so: their blocks


@register("few_shot", layout=LAYOUT, takes=("weights",))
def few_shot(request: Request) -> Plan:
    """Returns the jobs of one number of shots (DATASET.NUM_SHOTS), in the output layout of CoOp's `main.sh`."""
    column = str(request.cfg.DATASET.NUM_SHOTS) if request.cfg.DATASET.NUM_SHOTS > 0 else "all"
    jobs = few_shot_jobs(request, column)
    shown = [job for job in jobs if job.cell[1] == column]
    return Plan(jobs, table_folder(request), lambda records: seed_table(request, shown, records))


def few_shot_jobs(request: Request, column: str, suffix: str = "") -> tuple[Job, ...]:
    """Returns the jobs of one number of shots: each seed is trained and tested, or started elsewhere and evaluated.

    Args:
        request: what is to run.
        column: the table's column that the tests belong to.
        suffix: ends the jobs' names, so that several numbers of shots can stand in one plan.
    """
    jobs = []
    for seed in request.seeds:

        def train(trained: Request, seed: int = seed) -> Job:
            own = trained.trainer == request.trainer
            name = f"{'' if own else f'{trained.trainer} '}seed {seed}{suffix}"
            cell = (trained.trainer, column if own else trained.trainer)
            return trained.job(name, folder_of(trained) / f"seed{seed}", cell, seed)

        begin = start(request, seed, train)
        jobs += [begin.job] if begin.job else []
        if not trains_itself(request):
            jobs.append(
                request.job(
                    f"test seed {seed}{suffix}",
                    folder_of(request) / f"seed{seed}",
                    (request.trainer, column),
                    seed,
                    EVALUATION_OPTIONS,
                    always=bool(request.weights),
                    **begin.evaluation,
                )
            )
    return in_order(jobs)


def folder_of(request: Request) -> Path:
    """Returns `<OUTPUT>/<DATASET>/<TRAINER>/` and `stem_of`; of weights from elsewhere, `few_shot/` precedes it."""
    place = request.root / "few_shot" if request.weights else request.root
    return place / request.dataset_file.stem / request.method / stem_of(request)


def table_folder(request: Request) -> Path:
    """Returns `<OUTPUT>/tables/...`: nothing but seeds stands beside seeds, as upstream's `parse_test_res.py` asks."""
    return request.root / "tables" / request.protocol / folder_of(request).relative_to(request.root)


def stem_of(request: Request) -> Path:
    """Returns `<CFG>_<S>shots`, for CoOp and ProGrad with `nctx<N>_csc<C>_ctp<P>` below it."""
    block = _COOP_FOLDERS.get(request.trainer)
    context = [f"TRAINER.{block}.{key}" for key in ("N_CTX", "CSC", "CLASS_TOKEN_POSITION")] if block else []
    named = ("DATASET.NUM_SHOTS", request.method_key, *context)
    stem = Path(f"{request.stem(*named)}_{request.cfg.DATASET.NUM_SHOTS}shots")
    if block is None:
        return stem
    coop = request.cfg.TRAINER[block]
    return stem / f"nctx{coop.N_CTX}_csc{coop.CSC}_ctp{coop.CLASS_TOKEN_POSITION}"


def is_coop_call(words: Sequence[str]) -> bool:
    """Returns whether `words` are the six arguments of CoOp's `main.sh`: DATASET CFG CTP NCTX SHOTS CSC."""
    return len(words) == 6 and words[2] in CLASS_TOKEN_POSITIONS


def from_coop_call(words: Sequence[str]) -> tuple[str, list[str]]:
    """Returns (configuration name, DATASET and KEY VALUE words) for CoOp's six arguments."""
    dataset, config, position, n_ctx, shots, csc = words
    return config, [
        dataset,
        "TRAINER.COOP.N_CTX",
        n_ctx,
        "TRAINER.COOP.CSC",
        csc,
        "TRAINER.COOP.CLASS_TOKEN_POSITION",
        position,
        "DATASET.NUM_SHOTS",
        shots,
    ]
