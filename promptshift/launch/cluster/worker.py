"""What runs where a cluster gives the place: the jobs of one allocation, side by side, ended and begun again on notice.

The locks of the jobs' folders are taken here, so that they are those of the machine that trains.
"""

from __future__ import annotations

import dataclasses
import os
import platform
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from dassl.utils.errors import UserError
from promptshift.launch.children import ELSEWHERE, FAILED, Child, Outcome, start
from promptshift.launch.cluster.queue import is_running
from promptshift.launch.cluster.tickets import write_ended
from promptshift.launch.driver import SHARED, Order

_POLL_SECONDS = 0.2
_WAIT_SECONDS = 60.0  # for a file that another machine wrote, and for a lock that a killed run still holds
_NOTICES = tuple(-number for number in (signal.SIGTERM, signal.SIGUSR2))  # they reach this process and its children


@dataclasses.dataclass
class Pack:
    """The jobs of one allocation; a callable that submitit can checkpoint.

    Attributes:
        orders: the jobs.
        launcher: "slurm" or "ray".
        batch: name of what was submitted together.
        command: program that runs one job.
        environment: what is set for the jobs.
        sharing: how many jobs use one GPU.
        witness: a file that the driver wrote; a machine that does not see it shares no file system with the driver's.
    """

    orders: Sequence[Order]
    launcher: str
    batch: str
    command: Sequence[str]
    environment: Mapping[str, str]
    sharing: int
    witness: Path
    _children: list[Child] = dataclasses.field(default_factory=list, init=False, repr=False)

    def __call__(self) -> list[Outcome]:
        """Run the jobs to their ends; return what became of them."""
        if self.launcher == "slurm":
            signal.signal(signal.SIGTERM, self._terminated)  # submitit lets it pass
        if not self._sees_witness():
            blind = f"{platform.node()} does not see {self.witness} after {_WAIT_SECONDS:.0f} s; "
            return [
                Outcome(order.job.name, FAILED, blind + SHARED.format(self.witness.parent)) for order in self.orders
            ]
        waiting, ended = {order.job.name: order for order in self.orders}, []
        until = time.monotonic() + _WAIT_SECONDS
        try:
            while waiting or self._children:
                for order in list(waiting.values()):
                    if (outcome := self._begin(order, last=time.monotonic() > until)) is not None:
                        ended.append(self._said(order, outcome))
                    if outcome is not None or any(child.job.name == order.job.name for child in self._children):
                        del waiting[order.job.name]
                ended += self._ended()
                time.sleep(_POLL_SECONDS)
        except BaseException:
            self.stop()
            raise
        return ended

    def checkpoint(self) -> object:
        """End the jobs, which keep last.pth.tar; return the submission that goes on from there."""
        from submitit.helpers import DelayedSubmission

        self.stop()
        return DelayedSubmission(dataclasses.replace(self))

    def stop(self) -> None:
        """End the jobs' processes."""
        for child in self._children:
            child.stop()
        self._children.clear()

    def _sees_witness(self) -> bool:
        until = time.monotonic() + _WAIT_SECONDS
        while not self.witness.exists():
            if time.monotonic() > until:
                return False
            time.sleep(1.0)
        return True

    def _begin(self, order: Order, last: bool) -> Outcome | None:
        """Start a job; None where it runs now, or where its lock is taken and may be given back before the `last` try.

        A lock may be taken by a run that was killed a moment ago, on this machine or on another.
        """
        place = [f"{self.launcher} {_job_id()}".strip()]
        environment = dict(self.environment)
        if gpus := [gpu for gpu in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if gpu]:
            environment["CUDA_VISIBLE_DEVICES"] = gpus[self.orders.index(order) // self.sharing % len(gpus)]
            place.append(f"GPU {environment['CUDA_VISIBLE_DEVICES']}")
        try:
            child = start(
                order.job,
                self.command,
                environment,
                since=order.since,
                where=", ".join(place),
                dies_with_parent=True,
            )
        except UserError as error:
            return Outcome(order.job.name, FAILED, f"on {platform.node()}: {error}")
        if isinstance(child, Child):
            self._children.append(child)
            return None
        return None if child.kind == ELSEWHERE and not last else child

    def _ended(self) -> list[Outcome]:
        """Return what became of the jobs that have ended since the last look."""
        ended = []
        for child in list(self._children):
            if (outcome := child.poll()) is None:
                continue
            if outcome.returncode in _NOTICES and self.launcher == "slurm":
                time.sleep(_WAIT_SECONDS / 2)  # the notice that ended it is for this process too, and ends it here
            self._children.remove(child)
            order = next(order for order in self.orders if order.job is child.job)
            ended.append(self._said(order, outcome))
        return ended

    def _said(self, order: Order, outcome: Outcome) -> Outcome:
        """Leave word in the job's folder: the driver may be another one by now, or none."""
        write_ended(order.job.output_dir, self.batch, outcome)
        return outcome

    def _terminated(self, number: int, frame: object) -> None:
        """On SIGTERM: requeue where that is still to be done, as in the time that some clusters give before a cancel.

        A job that is being requeued by Slurm, or was cancelled, is not running for Slurm any longer.
        """
        requeue = signal.getsignal(signal.SIGUSR2)
        if callable(requeue) and is_running():
            requeue(number, frame)
        self.stop()
        sys.exit(128 + number)


def _job_id() -> str:
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    return f"{array}_{os.environ.get('SLURM_ARRAY_TASK_ID')}" if array else os.environ.get("SLURM_JOB_ID", "")
