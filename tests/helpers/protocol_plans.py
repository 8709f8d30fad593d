"""Plans and made-up results for the tests of protocols."""

from helpers.result_records import make_record
from promptshift.protocols.registry import get_protocol
from promptshift.protocols.request import resolve
from promptshift.runs.config import build_cfg


def plan_of(protocol, trainer, *words, seeds=(1,), **more):
    """The plan of a protocol for the words of a command line."""
    return get_protocol(protocol)(resolve(protocol, trainer, words, seeds, **more))


def configuration(job):
    """The configuration and the flags that a job's command line stands for."""
    return build_cfg(list(job.argv))


def records_of(plan, accuracies, **metrics):
    """Records of a plan whose accuracies depend on the column; a column without one did not finish."""
    return {
        job.name: make_record(metrics={"accuracy": accuracies[job.cell[1]], **metrics.get(job.cell[1], {})})
        for job in plan.jobs
        if job.cell[1] in accuracies
    }
