"""The launcher `slurm` on a real cluster of two nodes: accidents cost time alone."""

import functools
import os
import shutil
import signal
import subprocess
import sys

import pytest

from helpers.clusters import (
    CHECKOUT,
    JOBS,
    has_trained_an_epoch,
    log_of,
    runs,
    start,
    table,
    times_finished,
    wait_until,
)
from helpers.mini_runs import small_mini_world

HOW = "needs a Slurm cluster of two nodes: apt-get install slurm-wlm munge, tests/helpers/two_node_slurm.sh start DIR"
pytestmark = [pytest.mark.slurm, pytest.mark.skipif(shutil.which("sbatch") is None, reason=HOW)]
SMALL = "--launcher slurm LAUNCH.GPUS 0 LAUNCH.CPUS 1 LAUNCH.MEMORY 1 LAUNCH.TIME 30".split()


def slurm(*words):
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def queue():
    """(job, state, node) of what is in the queue."""
    return [line.split("|") for line in slurm("squeue", "-h", "-r", "-o", "%i|%T|%N").splitlines()]


def running(node=""):
    return [job for job, state, where in queue() if state == "RUNNING" and where.endswith(node)]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    if subprocess.run(["sinfo"], capture_output=True, check=False).returncode:
        pytest.skip(HOW)
    return small_mini_world(tmp_path_factory.mktemp("data"), per_class=2)


@pytest.fixture(scope="module")
def local(data, tmp_path_factory):
    """The table of the launcher `local`."""
    output = tmp_path_factory.mktemp("local")
    assert start(data, output, "--jobs", "2").wait(1500) == 0
    return table(output)


@pytest.fixture
def cluster(data, tmp_path):
    """cluster(*words) -> a driver; what a failing test leaves is ended."""
    drivers = []

    def drive(*words):
        drivers.append(start(data, tmp_path, *words))
        return drivers[-1]

    yield drive
    for driver in drivers:
        driver.kill()
        driver.wait()
    if batches := {name for name in slurm("squeue", "-h", "-o", "%j").split() if name.startswith("promptshift-")}:
        subprocess.run(["scancel", "--name", ",".join(batches)], check=False)
    bring_back("n2")


def bring_back(node):
    """Let a node work again; one that answers does so by itself, and Slurm then refuses to be told."""
    subprocess.run(["scontrol", "update", f"nodename={node}", "state=resume"], check=False, capture_output=True)


def finished_once(output):
    assert len(runs(output)) == JOBS and [times_finished(run) for run in runs(output)] == [1] * JOBS


def test_the_table_is_that_of_this_machine_and_jobs_are_packed(local, tmp_path, cluster):
    words = [*SMALL, "LAUNCH.JOBS_PER_GPU", "2"]
    assert cluster(*words).wait(1500) == 0
    assert table(tmp_path) == local and log_of(tmp_path).count("queue ") == JOBS
    assert len(list(tmp_path.glob("launch/slurm/*/*_submitted.pkl"))) == JOBS // 2
    assert cluster(*words).wait(100) == 0
    assert log_of(tmp_path).count("queue ") == JOBS and log_of(tmp_path).count("skip ") == JOBS
    finished_once(tmp_path)


def test_requeues_a_short_time_limit_and_a_node_that_goes_down(local, tmp_path, cluster):
    driver = cluster(*SMALL)
    wait_until(lambda: has_trained_an_epoch(tmp_path))
    jobs = running()
    slurm("scontrol", "requeue", jobs[0])
    slurm("scontrol", "update", f"jobid={jobs[1]}", "timelimit=1")
    slurm("scontrol", "update", "nodename=n2", "state=down", "reason=test")
    wait_until(lambda: not running("n2"))
    bring_back("n2")
    assert driver.wait(1500) == 0, log_of(tmp_path)
    assert table(tmp_path) == local and log_of(tmp_path).count("queue ") == JOBS
    assert any(run.joinpath("job.log").read_text().count("==== started ") > 1 for run in runs(tmp_path))
    finished_once(tmp_path)


def test_a_driver_that_is_killed_and_a_job_that_is_cancelled(local, tmp_path, cluster):
    driver = cluster(*SMALL)
    wait_until(lambda: has_trained_an_epoch(tmp_path))
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    submitted = {job.partition("_")[0] for job, *_ in queue()}
    driver = cluster(*SMALL)
    wait_until(lambda: "found " in log_of(tmp_path) or driver.poll() is not None)
    if jobs := running():
        slurm("scancel", jobs[0])  # as a preemption that cancels
    assert driver.wait(1500) == 0, log_of(tmp_path)
    assert table(tmp_path) == local and log_of(tmp_path).count("queue ") == JOBS + bool(jobs), submitted
    assert log_of(tmp_path).count("again ") == bool(jobs)
    finished_once(tmp_path)


def test_ctrl_c_empties_the_queue_and_sigterm_leaves_it(tmp_path, cluster):
    for number, said, left in ((signal.SIGTERM, "queue ", True), (signal.SIGINT, "found ", False)):
        driver = cluster(*SMALL)
        wait_until(functools.partial(lambda word: queue() and word in log_of(tmp_path), said))
        driver.send_signal(number)
        assert driver.wait(120) == 130 and bool(queue()) is left
    assert "the jobs go on in slurm" in log_of(tmp_path) and "all jobs were ended" in log_of(tmp_path)
    wait_until(lambda: not [run for run in runs(tmp_path) if run.joinpath(".ticket").exists()])


def test_what_slurm_refuses_is_one_line(tmp_path, cluster):
    assert cluster(*SMALL, "LAUNCH.PARTITION", "nowhere").wait(100) == 2
    (line,) = log_of(tmp_path).splitlines()
    assert line.startswith("error: --launcher slurm: sbatch refused the jobs: ") and "partition" in line
    assert not list(tmp_path.rglob(".ticket")) and "Traceback" not in log_of(tmp_path)


def test_one_thousand_jobs_that_do_nothing(tmp_path, data):
    """The driver's own time, measured in the process itself: under 0.05 s a job, and a rerun under 10 s in all."""
    done = subprocess.run(
        [sys.executable, "-m", "helpers.thousand_jobs", str(tmp_path)],
        cwd=CHECKOUT / "tests",
        env={**os.environ, "OUTPUT": str(tmp_path), "PYTHONPATH": f"{CHECKOUT}:{CHECKOUT / 'tests'}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=1500,
    )
    assert done.returncode == 0, done.stderr
    own, rerun = map(float, done.stdout.split()[-2:])
    assert own < 0.05 * 1000 and rerun < 10
