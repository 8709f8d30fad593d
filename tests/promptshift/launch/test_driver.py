"""The driver against a launcher that the test holds in its hands, and at a thousand jobs."""

import dataclasses
import json
import os
import subprocess
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from yacs.config import CfgNode

from helpers import result_records
from promptshift.launch import driver as driving
from promptshift.launch.children import DONE, FAILED, LOST, Outcome
from promptshift.launch.driver import Driver, Terminated
from promptshift.launch.jobs import Call, Job
from promptshift.launch.presence import present, seen_through
from promptshift.results.record import write_result
from promptshift.runs.config import config_hash

CHECKOUT = Path(__file__).parents[3]
CFG = CfgNode({"SEED": 1})
RECORD = result_records.make_record(config_hash=config_hash(CFG))


def make_jobs(folder, *names):
    files = (Path("data"), "CoOp", Path("dataset.yaml"), Path("trainer.yaml"))
    return [Job(name, Call(*files, folder / name, 1), ("row", name), CFG) for name in names]


class Scripted:
    """A launcher whose jobs end as `ends` says: name -> kinds in the order of the submissions."""

    name, poll_seconds, retries = "scripted", 0.001, 2

    def __init__(self, ends=None, outlives_driver=False, found=()):
        self.ends, self.outlives_driver, self.found = ends or {}, outlives_driver, set(found)
        self.submitted, self.waves, self.cancelled, self.closed, self._queue = [], [], False, False, []

    def room(self):
        return 100

    def find(self, jobs):
        there = [job for job in jobs if job.name in self.found]
        self._queue += there
        return there

    def submit(self, orders):
        self.waves.append([order.job.name for order in orders])
        self.submitted += self.waves[-1]
        self._queue += [order.job for order in orders]
        return [f"queue  {order.job.name}" for order in orders]

    def poll(self):
        queue, self._queue = self._queue, []
        return [self._end(job) for job in queue]

    def _end(self, job):
        kinds = self.ends.get(job.name, [DONE])
        kind = kinds.pop(0) if len(kinds) > 1 else kinds[0]
        if isinstance(kind, BaseException):
            raise kind
        if kind == DONE:
            write_result(job.output_dir, dict(RECORD))
        return Outcome(job.name, kind if kind != "blind" else DONE, "a note")

    def cancel(self):
        self.cancelled = True

    def close(self):
        self.closed = True


def test_jobs_are_handed_over_in_waves(tmp_path):
    first, second, after, last = make_jobs(tmp_path, "first", "second", "after", "last")
    after = dataclasses.replace(after, after=("first", "second"))
    last = dataclasses.replace(last, after=("after",))
    launcher = Scripted()
    assert Driver([first, second, after, last], launcher).run() == []
    assert launcher.waves == [["first", "second"], ["after"], ["last"]] and launcher.closed
    again = Scripted()
    assert Driver([first, second, after, last], again).run() == [] and again.submitted == []


def test_what_was_lost_is_handed_over_again_and_not_for_ever(tmp_path, capsys):
    launcher = Scripted({"a": [LOST, LOST, DONE], "b": [LOST], "c": [FAILED]})
    jobs = make_jobs(tmp_path, "a", "b", "c")
    assert sorted(job.name for job in Driver(jobs, launcher).run()) == ["b", "c"]
    assert [launcher.submitted.count(name) for name in "abc"] == [3, 3, 1]
    assert "again  a: a note" in capsys.readouterr().out


def test_what_an_earlier_driver_handed_over_is_found_and_not_submitted_again(tmp_path, capsys):
    launcher = Scripted(found="a")
    assert Driver(make_jobs(tmp_path, "a", "b"), launcher).run() == []
    assert launcher.submitted == ["b"] and "found  1 jobs handed to scripted before" in capsys.readouterr().out


def test_a_result_that_is_not_seen_here_is_named(tmp_path, capsys, monkeypatch):
    """As on a machine that shares no file system with this one."""
    monkeypatch.setattr(driving, "_LATE_SECONDS", 0.2)
    (job,) = make_jobs(tmp_path, "a")
    assert Driver([job], Scripted({"a": ["blind"]})).run() == [job]
    assert f"is {job.output_dir} on a file system that all machines share?" in capsys.readouterr().out


def test_a_result_that_is_seen_late_counts(tmp_path, capsys):
    (job,) = make_jobs(tmp_path, "a")
    launcher = Scripted({"a": ["blind"]})
    launcher.poll_seconds = 0.05
    late = (
        "import sys, time; from promptshift.results.record import write_result; import json; time.sleep(1); "
        "write_result(sys.argv[1], json.loads(sys.argv[2]))"
    )
    words = [sys.executable, "-c", late, str(job.output_dir), json.dumps(dict(RECORD))]
    writer = subprocess.Popen(words, env={**os.environ, "PYTHONPATH": str(CHECKOUT)})
    assert Driver([job], launcher).run() == [] and "done   a" in capsys.readouterr().out
    writer.wait()


@pytest.mark.parametrize(
    ("error", "outlives", "cancelled"),
    [(KeyboardInterrupt(), True, True), (Terminated(), True, False), (Terminated(), False, True)],
)
def test_only_ctrl_c_ends_what_waits_in_a_queue(tmp_path, error, outlives, cancelled):
    launcher = Scripted({"a": [error]}, outlives_driver=outlives)
    with pytest.raises(KeyboardInterrupt) as raised:
        Driver(make_jobs(tmp_path, "a"), launcher).run()
    assert launcher.cancelled is cancelled and launcher.closed
    assert getattr(raised.value, "left", "") == ("" if cancelled else "scripted")


def test_a_living_driver_tells_which_jobs_it_sees_through(tmp_path, monkeypatch):
    monkeypatch.setenv("OUTPUT", str(tmp_path))
    jobs = make_jobs(tmp_path / "multi", "a", "b")
    with present(jobs, "local"):
        found = seen_through(tmp_path / "multi")
        assert set(found) == {job.output_dir for job in jobs}
        assert datetime.now() - found[jobs[0].output_dir] < timedelta(minutes=1)
        assert set(seen_through(tmp_path / "multi" / "a")) == {jobs[0].output_dir}
    assert seen_through(tmp_path) == {} and not list((tmp_path / "launch" / "drivers").iterdir())


def test_a_driver_that_cannot_say_so_runs_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv("OUTPUT", str(tmp_path))
    (tmp_path / "launch").write_text("a file")
    assert Driver(make_jobs(tmp_path, "a"), Scripted()).run() == []


def test_a_thousand_jobs_cost_the_driver_little(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OUTPUT", str(tmp_path))
    jobs = make_jobs(tmp_path, *(f"job {number}" for number in range(1000)))
    launcher = Scripted()
    monkeypatch.setattr("os.fsync", lambda descriptor: None)  # of the jobs' results
    began = time.process_time()
    assert Driver(jobs, launcher).run() == [] and time.process_time() - began < 50
    began = time.perf_counter()
    assert Driver(jobs, launcher).run() == [] and time.perf_counter() - began < 10
    assert len(launcher.submitted) == 1000
