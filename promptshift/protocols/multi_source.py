"""Multi-source domain generalization: leave one domain out, train on all the others (arXiv 2404.19286, section 4)."""

from __future__ import annotations

from dassl.utils.errors import UserError
from promptshift.paths import output_root
from promptshift.protocols.registry import Plan, register
from promptshift.protocols.request import Request, domain_facts, refuse_keys
from promptshift.protocols.seed_table import seed_table

_TAKEN = dict.fromkeys(
    ("DATASET.SOURCE_DOMAINS", "DATASET.TARGET_DOMAINS"), "train.py (every domain is left out in turn here)"
)


@register("multi_source")
def multi_source(request: Request) -> Plan:
    """Returns one job per held-out domain and seed; the table has a column per held-out domain and their mean.

    Raises:
        UserError: the dataset has no domains.
    """
    refuse_keys(request.options, _TAKEN)
    domains = domains_of(request.dataset)
    folder = (
        output_root() / "multi_source" / request.trainer / request.dataset
        / request.config_file.stem / request.backbone.replace("/", "")
    )  # fmt: skip
    jobs = []
    for target in domains:
        sources = [domain for domain in domains if domain != target]
        flags = ["--source-domains", *sources, "--target-domains", target]
        for seed in request.seeds:
            cell = (request.trainer, target)
            jobs.append(request.job(f"{target} seed {seed}", folder / target / f"seed{seed}", cell, seed, flags))
    return Plan(tuple(jobs), folder, lambda records: seed_table(request, jobs, records, average=True))


def domains_of(dataset: str) -> tuple[str, ...]:
    """Returns the sorted full domain names of a dataset.

    Raises:
        UserError: the dataset is not one of several domains.
    """
    facts = domain_facts(dataset)
    if facts is None:
        raise UserError(f"multi_source needs a dataset with several domains; DATASET.NAME {dataset!r} has none")
    return facts.domains
