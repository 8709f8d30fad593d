"""Multi-source domain generalization: leave one domain out, train on all the others (arXiv 2404.19286, section 4)."""

from __future__ import annotations

from promptshift.protocols.by_domain import plan_by_domain
from promptshift.protocols.registry import Plan, register
from promptshift.protocols.request import Request
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
    return plan_by_domain(request, lambda domain, others: (others, [domain]))
