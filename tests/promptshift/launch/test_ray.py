"""The launcher `ray` on a cluster of two nodes in this machine: a node that is lost costs time alone."""

import importlib.util
import os
import signal
import subprocess
import sys

import pytest

from helpers.clusters import CHECKOUT, JOBS, log_of, runs, start, table, times_finished, wait_until
from helpers.mini_runs import small_mini_world

HOW = "needs Ray: pip install 'promptshift[ray]'"
pytestmark = [pytest.mark.ray, pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason=HOW)]
SMALL = "--launcher ray LAUNCH.GPUS 0 LAUNCH.CPUS 1".split()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return small_mini_world(tmp_path_factory.mktemp("data"), per_class=2)


@pytest.fixture
def nodes(monkeypatch):
    """nodes(*CPUs) -> a cluster of one node each, which RAY_ADDRESS names; the first one cannot be lost."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", "")  # as on other machines: nodes are told where the checkout is
    clusters = []

    def make(*cpus):
        cluster = Cluster()
        clusters.append(cluster)
        for number in cpus:
            cluster.add_node(num_cpus=number, num_gpus=0, object_store_memory=100_000_000, include_dashboard=False)
        monkeypatch.setenv("RAY_ADDRESS", cluster.address)
        return cluster

    yield make
    for cluster in clusters:
        cluster.shutdown()


def test_a_lost_node_and_a_killed_driver_leave_the_same_table(data, nodes, tmp_path):
    output, other = tmp_path / "ray", tmp_path / "local"
    cluster = nodes(1, 1)
    driver = start(data, output, *SMALL)
    wait_until(lambda: sum((run / "last.pth.tar").exists() for run in runs(output)) >= 2)
    cluster.remove_node(cluster.worker_nodes.copy().pop(), allow_graceful=False)
    wait_until(lambda: any((run / "result.json").exists() for run in runs(output)))
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    cluster.add_node(num_cpus=1, num_gpus=0, object_store_memory=100_000_000)
    assert start(data, output, *SMALL).wait(1500) == 0, log_of(output)
    assert start(data, other, "--jobs", "2").wait(1500) == 0
    assert table(output) == table(other) and len(runs(output)) == JOBS
    assert [times_finished(run) for run in runs(output)] == [1] * JOBS
    assert any(run.joinpath("job.log").read_text().count("==== started ") > 1 for run in runs(output))


def test_what_no_node_has_and_a_cluster_that_is_not_there_are_one_line(data, nodes, tmp_path):
    nodes(1)
    assert start(data, tmp_path, *SMALL, "LAUNCH.GPUS", "0.5").wait(300) == 2
    assert "LAUNCH.GPUS 0.5: no node" in log_of(tmp_path) and log_of(tmp_path).count("\n") == 1
    assert start(data, tmp_path, *SMALL, RAY_ADDRESS="127.0.0.1:9").wait(600) == 2
    assert "RAY_ADDRESS 127.0.0.1:9" in log_of(tmp_path).splitlines()[-1] and "Traceback" not in log_of(tmp_path)


def test_a_node_that_does_not_see_our_files_says_so(nodes, tmp_path):
    """A checkout that lies elsewhere on a node, as without a shared file system."""
    code = (
        "import sys; from pathlib import Path; import promptshift.launch.ray as launcher\n"
        "from promptshift.launch.resources import resources; from promptshift.launch.driver import Order\n"
        "from helpers.thousand_jobs import make_jobs; import time\n"
        "launcher.checkout = lambda: Path('/nowhere')\n"
        "ray = launcher.Ray(resources('ray', words=['LAUNCH.GPUS', '0', 'LAUNCH.CPUS', '1']), ['false'])\n"
        "ray.submit([Order(job) for job in make_jobs(Path(sys.argv[1]), 1)])\n"
        "ended = []\n"
        "while not (ended := ray.poll()): time.sleep(0.5)\n"
        "print(ended[0].kind, ended[0].note); ray.close()"
    )
    nodes(1)
    path = f"{CHECKOUT}:{CHECKOUT / 'tests'}"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": path, "OUTPUT": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    said = done.stdout.splitlines()[-1]
    assert said.startswith("failed ") and "does not see /nowhere" in said and "all machines share" in said, done.stderr
