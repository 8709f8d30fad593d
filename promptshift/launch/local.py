"""The launcher `local`: jobs as processes of this machine, some at a time."""

from __future__ import annotations

import os
from collections.abc import Sequence

from promptshift.launch.children import Child, Outcome, available_cores, start, train_command
from promptshift.launch.driver import Driver, Order
from promptshift.launch.jobs import Job

__all__ = ["Local", "Runner", "available_cores"]


class Local:
    """Runs jobs as children of this process.

    Args:
        slots: how many run at the same time, at least 1.
        gpus: devices to hand out in turn through CUDA_VISIBLE_DEVICES; empty leaves that variable alone.
        command: program that takes a job's arguments; `train.py` of the checkout, or `promptshift train`, when None.
    """

    name = "local"
    outlives_driver = False
    retries = 0
    poll_seconds = 0.05

    def __init__(self, slots: int = 1, gpus: Sequence[str] = (), command: Sequence[str] | None = None) -> None:
        self.slots, self.gpus = slots, gpus
        self.command = [*(command or train_command())]
        self._running: dict[int, Child] = {}
        self._ended: list[Outcome] = []

    def room(self) -> int:
        """Return the number of free slots."""
        return self.slots - len(self._running)

    def find(self, jobs: Sequence[Job]) -> list[Job]:
        """Return none: another process's children are its own."""
        return []

    def submit(self, orders: Sequence[Order]) -> list[str]:
        """Start jobs in free slots."""
        lines = []
        for order in orders:
            slot = next(slot for slot in range(self.slots) if slot not in self._running)
            gpu = f"GPU {self.gpus[slot % len(self.gpus)]}" if self.gpus else ""
            child = start(order.job, self.command, self._environment(slot), since=order.since, where=gpu)
            if isinstance(child, Outcome):
                self._ended.append(child)
                continue
            self._running[slot] = child
            lines.append(f"start  {order.job.name} (log: {order.job.log})")
        return lines

    def poll(self) -> list[Outcome]:
        """Return what became of jobs since the last call."""
        ended, self._ended = self._ended, []
        for slot, child in list(self._running.items()):
            if (outcome := child.poll()) is not None:
                del self._running[slot]
                ended.append(outcome)
        return ended

    def cancel(self) -> None:
        """End all children."""
        for child in self._running.values():
            child.stop()
        self._running.clear()

    def close(self) -> None:
        """Nothing is held beside the children."""

    def _environment(self, slot: int) -> dict[str, str]:
        """Return what is set for a child: a share of the cores, one of the GPUs."""
        share = str(max(1, available_cores() // self.slots))
        environment = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", share)}
        if self.gpus:
            environment["CUDA_VISIBLE_DEVICES"] = self.gpus[slot % len(self.gpus)]
        return environment


class Runner(Driver):
    """Runs the jobs of one plan on this machine; the arguments are those of `Driver` and of `Local`."""

    def __init__(
        self, jobs: Sequence[Job], slots: int = 1, gpus: Sequence[str] = (), command: Sequence[str] | None = None
    ) -> None:
        super().__init__(jobs, Local(slots, gpus, command))
