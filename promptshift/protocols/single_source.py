"""Single-source domain generalization: train on one domain, test on all the others (arXiv 2404.19286, Table 2)."""

from __future__ import annotations

from promptshift.protocols.multi_source import plan_by_domain
from promptshift.protocols.registry import Plan, register
from promptshift.protocols.request import Request
from promptshift.results.layout import Layout, by_source, by_target

LAYOUT = Layout(
    "Single source",
    "Trained on one domain, the column; tested on all images of the others together.",
    by_source,
    domains=True,
    average=True,
    recognises=lambda run: bool(run.targets) and len(run.sources) == 1,
    rank=2,
)


@register("single_source", layout=LAYOUT)
def single_source(request: Request) -> Plan:
    """Returns one job per source domain and seed; the table has a column per source domain and their mean.

    The source's val split selects; the test set is every image of all the other domains together, as in the paper
    (`result.json` has the accuracy on each of them beside the pooled one).

    Raises:
        UserError: the dataset has no domains.
    """
    return plan_by_domain(request, lambda domain, others: ([domain], others))


@register(
    "own_domain",
    layout=Layout("One domain by itself", "Trained and validated on one domain, the column.", by_target, domains=True),
)
def own_domain(request: Request) -> Plan:
    """Returns one job per domain and seed that trains on it and tests its val split: stage one of SPG and DPSPG.

    Raises:
        UserError: the dataset has no domains.
    """
    return plan_by_domain(request, lambda domain, others: ([domain], [domain]), ["TEST.SPLIT", "val"])
