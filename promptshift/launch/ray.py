"""The launcher `ray`: a task of a Ray cluster for each job, with a share of a GPU, begun again on another node."""

from __future__ import annotations

import contextlib
import os
import pickle
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dassl.utils.errors import UserError, shorten
from promptshift.launch.children import FAILED, LOST, Outcome, train_command
from promptshift.launch.cluster.tickets import Ticket, remove_ticket
from promptshift.launch.cluster.worker import Pack
from promptshift.launch.driver import SHARED, Order
from promptshift.launch.jobs import Job
from promptshift.launch.presence import launch_folder
from promptshift.paths import checkout, data_root, is_installed, output_root

_STORE_BYTES = 100_000_000  # of a cluster of our own: nothing large goes through Ray
_MOST = 10_000


class Ray:
    """Runs jobs as tasks of the cluster that RAY_ADDRESS names, or of one of its own on this machine.

    Args:
        resources: the keys of configs/launch/ray.yaml.
        command: program that runs one job; that of the checkout when None.

    Raises:
        UserError: Ray is not there, the cluster does not answer, or none of its nodes has what a job asks for.
    """

    name = "ray"
    outlives_driver = False
    poll_seconds = 0.5
    retries = 0  # Ray's own

    def __init__(self, resources: Mapping[str, Any], command: Sequence[str] | None = None) -> None:
        self.resources, self.command = resources, list(command or train_command())
        self._ray = _ray()
        self._connect()
        self._check_size()
        self._running: dict[Any, Job] = {}
        options = {
            "num_cpus": resources["CPUS"],
            "num_gpus": resources["GPUS"],
            "max_retries": resources["RETRIES"],
            "memory": int(resources["MEMORY"] * 1024**3) or None,
        }
        self._task = self._ray.remote(_runner()).options(**{k: v for k, v in options.items() if v is not None})

    def _connect(self) -> None:
        address = os.environ.get("RAY_ADDRESS")
        own = {} if address else {"object_store_memory": _STORE_BYTES, "include_dashboard": False}
        try:
            self._ray.init(address=address or "local", log_to_driver=False, logging_level="ERROR", **own)
        except Exception as error:  # its kinds differ from version to version
            raise UserError(f"--launcher ray: RAY_ADDRESS {address or 'is not set'}: {shorten(error)}") from None

    def _check_size(self) -> None:
        """Refuse what would wait for ever."""
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        wanted = {"CPU": self.resources["CPUS"], "GPU": self.resources["GPUS"]}
        if any(all(node.get(kind, 0) >= number for kind, number in wanted.items()) for node in nodes):
            return
        largest = {kind: max((node.get(kind, 0) for node in nodes), default=0) for kind in wanted}
        self.close()
        raise UserError(
            f"LAUNCH.CPUS {wanted['CPU']:g}, LAUNCH.GPUS {wanted['GPU']:g}: no node of the Ray cluster has them, "
            f"allowed: at most {largest['CPU']:g} CPUs and {largest['GPU']:g} GPUs"
        )

    def room(self) -> int:
        """Return how many more Ray's own queue is given."""
        return _MOST - len(self._running)

    def find(self, jobs: Sequence[Job]) -> list[Job]:
        """Return none: tasks end with the driver that asked for them."""
        return []

    def submit(self, orders: Sequence[Order]) -> list[str]:
        """Ask for one task per job."""
        batch = f"promptshift-{uuid.uuid4().hex[:12]}"
        witness = launch_folder() / "ray" / batch
        witness.parent.mkdir(parents=True, exist_ok=True)
        witness.touch()
        path = [] if is_installed() else [str(checkout())]
        lines = []
        for order in orders:
            Ticket(self.name, batch, 0).write(order.job.output_dir)
            packed = pickle.dumps(self._pack(order, batch, witness))
            self._running[self._task.remote(packed, path)] = order.job
            lines.append(f"queue  {order.job.name} (ray, log: {order.job.log})")
        return lines

    def _pack(self, order: Order, batch: str, witness: Path) -> Pack:
        _ = order.job.config_hash  # worked out here, so that a node need not load PyTorch for it
        threads = os.environ.get("OMP_NUM_THREADS", str(max(1, int(self.resources["CPUS"]))))
        environment = {"OUTPUT": str(output_root()), "DATA": str(data_root()), "OMP_NUM_THREADS": threads}
        return Pack([order], self.name, batch, self.command, environment, 1, witness)

    def poll(self) -> list[Outcome]:
        """Return what became of jobs since the last call."""
        if not self._running:
            return []
        ready, _ = self._ray.wait(list(self._running), num_returns=len(self._running), timeout=0)
        ended = []
        for task in ready:
            job = self._running.pop(task)
            remove_ticket(job.output_dir)
            ended.append(self._outcome(task, job))
        return ended

    def _outcome(self, task: Any, job: Job) -> Outcome:
        try:
            said = self._ray.get(task)
        except Exception as error:  # Ray's own kinds, and whatever a worker raised
            lines = [line for line in str(error).splitlines() if line.strip()]
            return Outcome(job.name, LOST, f"Ray lost it: {shorten(lines[-1] if lines else error, 500)}")
        return Outcome(job.name, FAILED, f"{said}; {SHARED.format(checkout())}") if isinstance(said, str) else said[0]

    def cancel(self) -> None:
        """End all tasks."""
        for task, job in self._running.items():
            with contextlib.suppress(Exception):
                self._ray.cancel(task, force=True)
            remove_ticket(job.output_dir)
        if self._running:
            self._ray.wait(list(self._running), num_returns=len(self._running), timeout=30)
        self._running.clear()

    def close(self) -> None:
        """Leave the cluster; one of our own ends."""
        self._ray.shutdown()


def _ray() -> Any:
    try:
        import ray
    except ImportError:
        raise UserError("--launcher ray needs Ray: pip install 'promptshift[ray]'") from None
    return ray


def _runner() -> Callable:
    """Return what a node runs. It is sent as it is written here, since a node may not see this package at first."""

    def run(packed: bytes, path: list) -> object:
        import os
        import pickle
        import platform
        import sys

        for folder in path:
            if not os.path.isdir(folder):
                return f"{platform.node()} does not see {folder}"
            if folder not in sys.path:
                sys.path.insert(0, folder)
        return pickle.loads(packed)()

    return run
