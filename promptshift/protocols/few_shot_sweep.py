"""Few-shot classification with 1, 2, 4, 8 and 16 images per class, the curve of arXiv 2109.01134, figure 3."""

from __future__ import annotations

import dataclasses

from promptshift.protocols.few_shot import LAYOUT, few_shot_jobs
from promptshift.protocols.registry import Plan, register
from promptshift.protocols.request import Request, refuse_keys
from promptshift.protocols.seed_table import seed_table
from promptshift.protocols.trained import check_trainable, training_request

SHOTS = ("1", "2", "4", "8", "16")
_TAKEN = {"DATASET.NUM_SHOTS": "the protocol few_shot"}


@register("few_shot_sweep", layout=dataclasses.replace(LAYOUT, tables_of="few_shot"))
def few_shot_sweep(request: Request) -> Plan:
    """Returns the jobs of every number of shots; the table's columns are the shots. Zero-shot methods have one: 0.

    Raises:
        UserError: the dataset has domains or nothing to train on.
    """
    refuse_keys(request.options, _TAKEN)
    check_trainable(request)
    request = dataclasses.replace(request.with_options("PROTOCOL", "few_shot"), protocol="few_shot")  # the same jobs
    shots = SHOTS if training_request(request) else ("0",)
    jobs = [
        job for k in shots for job in few_shot_jobs(request.with_options("DATASET.NUM_SHOTS", k), k, f" of {k} shots")
    ]
    shown = [job for job in jobs if job.cell[1] in shots]
    place = request.root / "tables" / "few_shot_sweep" / request.dataset_file.stem
    folder = place / request.method / request.stem("DATASET.NUM_SHOTS", request.method_key)
    return Plan(tuple(jobs), folder, lambda records: seed_table(request, shown, records))
