"""The launcher `slurm`: jobs as arrays in a Slurm queue, submitted by submitit."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import shlex
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dassl.utils.errors import UserError, shorten
from promptshift.launch.children import DONE, LOST, Outcome, finished, score, train_command
from promptshift.launch.cluster.queue import cancel, queued
from promptshift.launch.cluster.tickets import Ticket, read_ended, read_ticket, remove_ticket
from promptshift.launch.cluster.worker import Pack
from promptshift.launch.driver import SHARED, Order
from promptshift.launch.jobs import Job, is_locked
from promptshift.launch.presence import launch_folder
from promptshift.paths import checkout, data_root, is_installed, output_root

_ARRAY = 1000  # most tasks of one array: Slurm's own default of MaxArraySize is 1001
_MOST = 10_000  # jobs in the queue at one time: Slurm's own default of MaxJobCount
_QUEUE_SECONDS = 15.0  # between two looks at the queue
_LATE_SECONDS = 45.0  # that the last word of a job may come after it has left the queue
_TIMEOUTS = 1000  # how often a job at its time limit goes on; what makes no progress is the user's to see


class Slurm:
    """Runs jobs through a Slurm queue.

    Args:
        resources: the keys of configs/launch/slurm.yaml.
        command: program that runs one job; that of the checkout when None.

    Raises:
        UserError: submitit or Slurm is not there.
    """

    name = "slurm"
    outlives_driver = True

    def __init__(self, resources: Mapping[str, Any], command: Sequence[str] | None = None) -> None:
        if shutil.which("sbatch") is None:
            raise UserError("--launcher slurm: there is no sbatch on this machine; run this where jobs are submitted")
        self.resources, self.command = resources, list(command or train_command())
        self.retries = resources["RETRIES"]
        self._place = launch_folder() / "slurm"
        self._handed: dict[str, tuple[Job, Ticket, str]] = {}  # by the job's name, with the time it reads results of
        self._gone: dict[str, float] = {}  # when a job was first missed in the queue
        self._looked = time.monotonic()
        self._slurm = _submitit()

    @property
    def poll_seconds(self) -> float:
        """Two seconds between two looks at the folders, more where they are many."""
        return max(2.0, len(self._handed) / 100)

    def room(self) -> int:
        """Return how many more the queue takes."""
        return _MOST - len(self._handed)

    def find(self, jobs: Sequence[Job]) -> list[Job]:
        """Return the jobs that an earlier driver submitted and that are in the queue."""
        tickets = [(job, ticket) for job in jobs if (ticket := read_ticket(job.output_dir)) is not None]
        tickets = [(job, ticket) for job, ticket in tickets if ticket.launcher == self.name]
        if not tickets:
            return []
        if (queue := queued()) is None:
            raise UserError("--launcher slurm: squeue does not answer, so that jobs submitted before cannot be found")
        for job, ticket in tickets:
            waits = read_ended(job.output_dir, ticket.batch) is None
            if waits and (ticket.batch, ticket.index) in queue:
                self._handed[job.name] = (job, ticket, "")
        return [job for job, _ in tickets if job.name in self._handed]

    def submit(self, orders: Sequence[Order]) -> list[str]:
        """Submit jobs as arrays of allocations."""
        size = self.resources["JOBS_PER_GPU"] * max(1, self.resources["GPUS"])
        packs = [orders[start : start + size] for start in range(0, len(orders), size)]
        return [
            line for start in range(0, len(packs), _ARRAY) for line in self._submit_array(packs[start : start + _ARRAY])
        ]

    def _submit_array(self, packs: Sequence[Sequence[Order]]) -> list[str]:
        """Submit one array; what it holds is written down before and its number behind."""
        batch = f"promptshift-{uuid.uuid4().hex[:12]}"
        folder = self._place / batch
        folder.mkdir(parents=True, exist_ok=True)
        witness = folder / "jobs.json"
        content = {"id": None, "jobs": [[str(order.job.output_dir) for order in pack] for pack in packs]}
        witness.write_text(json.dumps(content))
        for index, pack in enumerate(packs):
            for order in pack:
                ticket = Ticket(self.name, batch, index)
                ticket.write(order.job.output_dir)
                self._handed[order.job.name] = (order.job, ticket, order.since)
        callables = [self._pack(pack, batch, witness) for pack in packs]
        number = self._sbatch(folder, batch, callables)
        witness.write_text(json.dumps({**content, "id": number}))
        one = len(packs) == 1
        names = [(order.job, number if one else f"{number}_{i}") for i, pack in enumerate(packs) for order in pack]
        return [f"queue  {job.name} (slurm {place}, log: {job.log})" for job, place in names]

    def _pack(self, orders: Sequence[Order], batch: str, witness: Path) -> Pack:
        for order in orders:
            _ = order.job.config_hash  # worked out here, so that a node need not load PyTorch for it
        threads = os.environ.get("OMP_NUM_THREADS", str(self.resources["CPUS"]))
        environment = {"OUTPUT": str(output_root()), "DATA": str(data_root()), "OMP_NUM_THREADS": threads}
        sharing = self.resources["JOBS_PER_GPU"]
        return Pack(list(orders), self.name, batch, self.command, environment, sharing, witness)

    def _sbatch(self, folder: Path, batch: str, packs: Sequence[Pack]) -> str:
        """Return the number of the array that holds the packs."""
        executor = self._slurm.SlurmExecutor(folder=folder, max_num_timeout=_TIMEOUTS)
        try:
            executor.update_parameters(**_parameters(self.resources, batch, max(len(pack.orders) for pack in packs)))
            with contextlib.redirect_stderr(io.StringIO()), executor.batch():  # it repeats what sbatch says
                jobs = [executor.submit(pack) for pack in packs]
        except Exception as error:  # submitit raises what sbatch printed, as several kinds
            for pack in packs:
                for order in pack.orders:
                    remove_ticket(order.job.output_dir)
            raise UserError(f"--launcher slurm: sbatch refused the jobs: {_last_line(error)}") from None
        return jobs[0].job_id.partition("_")[0]

    def poll(self) -> list[Outcome]:
        """Return what became of jobs: their folders are asked first, the queue for those whose folders say nothing."""
        ended = []
        for job, ticket, since in list(self._handed.values()):
            outcome = read_ended(job.output_dir, ticket.batch)
            if outcome is None and (record := finished(job, since)) is not None and not is_locked(job.output_dir):
                outcome = Outcome(job.name, DONE, score(record), record["seconds"])
            if outcome is not None:
                ended.append(outcome)
        if time.monotonic() - self._looked > _QUEUE_SECONDS:
            self._looked = time.monotonic()
            ended += self._lost({outcome.job for outcome in ended})
        for outcome in ended:
            job, *_ = self._handed.pop(outcome.job)
            self._gone.pop(outcome.job, None)
            remove_ticket(job.output_dir)
        return ended

    def _lost(self, settled: set[str]) -> Iterator[Outcome]:
        """Yield the jobs that have left the queue without a word."""
        queue = queued()
        for name, (job, ticket, _) in list(self._handed.items()):
            if queue is None or name in settled or (ticket.batch, ticket.index) in queue:
                self._gone.pop(name, None)
            elif time.monotonic() - self._gone.setdefault(name, time.monotonic()) > _LATE_SECONDS:
                said = _last_words(self._place / ticket.batch, ticket.index)
                note = f"it left the queue without a word{f', its node said: {said}' if said else ''}; "
                yield Outcome(job.name, LOST, note + SHARED.format(self._place))

    def cancel(self) -> None:
        """Cancel everything handed over, and wait until it has left the queue."""
        names = {ticket.batch for _, ticket, _ in self._handed.values()}
        cancel(names)
        until = time.monotonic() + _LATE_SECONDS
        while names & {name for name, _ in queued() or {}} and time.monotonic() < until:
            time.sleep(1.0)
        for job, *_ in self._handed.values():
            remove_ticket(job.output_dir)
        self._handed.clear()

    def close(self) -> None:
        """Nothing is held: what is in the queue stays there."""


def _submitit() -> Any:
    try:
        from submitit.slurm import slurm
    except ImportError:
        raise UserError("--launcher slurm needs submitit: pip install 'promptshift[slurm]'") from None
    logging.getLogger("submitit").setLevel(logging.ERROR)
    return slurm


def _parameters(resources: Mapping[str, Any], batch: str, jobs: int) -> dict[str, Any]:
    """Return what sbatch is asked for, for allocations of a number of jobs."""
    path = [] if is_installed() else [f"export PYTHONPATH={shlex.quote(str(checkout()))}${{PYTHONPATH:+:$PYTHONPATH}}"]
    wanted = {
        "job_name": batch,
        "time": resources["TIME"],
        "partition": resources["PARTITION"],
        "account": resources["ACCOUNT"],
        "qos": resources["QOS"],
        "constraint": resources["CONSTRAINT"],
        "gpus_per_node": resources["GPUS"],
        "cpus_per_task": resources["CPUS"] * jobs,
        "mem": f"{int(resources['MEMORY'] * 1024 * jobs)}M" if resources["MEMORY"] else "",
        "array_parallelism": resources["PARALLEL"],
        "setup": [*path, *resources["SETUP"]],
        "additional_parameters": {"requeue": True},
    }
    return {key: value for key, value in wanted.items() if value}


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = [line for line in lines if line.startswith("sbatch:")] or lines[-1:]
    return shorten("; ".join(said) or type(error).__name__, 500)


def _last_words(folder: Path, index: int) -> str:
    """Return the last line that a task of an array printed, "" for none."""
    for kind in ("err", "out"):
        for path in [*folder.glob(f"*_{index}_0_log.{kind}"), *folder.glob(f"*_0_log.{kind}")][:1]:
            with contextlib.suppress(OSError):
                if lines := path.read_text(errors="replace").split("\n"):
                    return shorten(next((line for line in reversed(lines) if line.strip()), ""), 300)
    return ""
