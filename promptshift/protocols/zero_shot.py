"""Evaluation without training on one dataset, as CoOp's `zeroshot.sh` does."""

from __future__ import annotations

from promptshift.paths import output_root
from promptshift.protocols.registry import Plan, register
from promptshift.protocols.request import Request
from promptshift.protocols.seed_table import seed_table
from promptshift.results.layout import OTHER


@register("zero_shot", layout=OTHER)
def zero_shot(request: Request) -> Plan:
    """Returns a single job without a seed in `<OUTPUT>/<TRAINER>/<CFG>/<DATASET>`."""
    folder = output_root() / request.trainer / request.stem() / request.dataset_file.stem
    jobs = (request.job("zero-shot", folder, (request.trainer, request.dataset), None, eval_only=True),)
    return Plan(jobs, folder, lambda records: seed_table(request, jobs, records))
