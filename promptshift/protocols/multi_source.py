"""Multi-source domain generalization: leave one domain out, train on all the others (arXiv 2404.19286, section 4)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from dassl.utils.errors import UserError
from promptshift.protocols.registry import Plan, register
from promptshift.protocols.request import TAKEN_DOMAINS, Request, refuse_keys
from promptshift.protocols.seed_table import seed_table
from promptshift.results.layout import Layout, by_target

LAYOUT = Layout(
    "Leave one domain out",
    "Trained on all domains but one; a column is the domain held out and tested on.",
    by_target,
    domains=True,
    average=True,
    figure="epochs",
    main_for="domains",
    recognises=lambda run: bool(run.targets) and len(run.sources) != 1,
    rank=1,
)


@register("multi_source", layout=LAYOUT)
def multi_source(request: Request) -> Plan:
    """Returns one job per held-out domain and seed; the table has a column per held-out domain and their mean.

    Raises:
        UserError: the dataset has no domains.
    """
    return plan_by_domain(request, _leave_out)


def _leave_out(domain: str, others: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    return others, [domain]


@register(
    "multi_source_test",
    layout=dataclasses.replace(LAYOUT, tables_of="multi_source", main_for="", recognises=lambda run: False),
    takes=("weights",),
)
def multi_source_test(request: Request) -> Plan:
    """Returns one job per domain that tests weights which never saw it: --weights has a folder for each domain.

    Raises:
        UserError: the dataset has no domains, there are no weights, or not those of a domain.
    """
    if not request.weights:
        raise UserError("multi_source_test needs --weights DIR: a folder for each domain, named after it or its code")
    return plan_by_domain(request, _leave_out)


# (the domain of a column, all the others) -> (source domains, target domains)
Roles = Callable[[str, Sequence[str]], tuple[Sequence[str], Sequence[str]]]


def plan_by_domain(request: Request, roles: Roles, options: Sequence[str] = ()) -> Plan:
    """Returns one job per domain and seed; the table has a column per domain and their mean.

    Args:
        request: what is to run.
        roles: what is trained on and what is tested on, for each column.
        options: KEY VALUE words of every job.

    Raises:
        UserError: the dataset has no domains, or the request sets them; there are no weights of a domain.
    """
    refuse_keys(request.options, TAKEN_DOMAINS)
    jobs = []
    for domain in request.domains:
        sources, targets = roles(domain, [other for other in request.domains if other != domain])
        for seed in request.seeds:
            folder, cell = request.folder / domain / f"seed{seed}", (request.trainer, domain)
            tested = _weights(request, domain, seed) if request.weights else {}
            jobs.append(
                request.job(
                    f"{domain} seed {seed}", folder, cell, seed, options, sources=sources, targets=targets, **tested
                )
            )
    return Plan(tuple(jobs), request.folder, lambda records: seed_table(request, jobs, records))


def _weights(request: Request, domain: str, seed: int) -> dict[str, object]:
    """Returns what a job is told that tests weights from elsewhere: <weights>/<domain or its code>[/seed<K>].

    Raises:
        UserError: there is no such folder.
    """
    place = Path(request.weights).expanduser().resolve()
    names = [domain, request.facts.code_of(domain)] if request.facts else [domain]
    folders = [place / name / seeds for seeds in (f"seed{seed}", f"seed_{seed}", "") for name in names]
    found = next((folder for folder in folders if folder.is_dir()), None)
    if found is None:
        raise UserError(f"--weights {request.weights}: there is no folder {place / names[-1]} (nor {names[0]})")
    return dict(eval_only=True, model_dir=found, always=True)
