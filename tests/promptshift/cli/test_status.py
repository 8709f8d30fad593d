"""`promptshift status`: what the folders of runs say about them."""

import json
import os
import time
from datetime import datetime, timedelta

import pytest

from helpers.result_records import make_record
from promptshift.cli.status import main
from promptshift.launch.children import FAILED, Outcome
from promptshift.launch.cluster.tickets import Ticket, write_ended
from promptshift.launch.jobs import lock
from promptshift.launch.presence import present
from promptshift.launch.status import statuses
from promptshift.results.record import write_result


@pytest.fixture
def runs(tmp_path):
    """One run in every state, by the name of its folder."""
    write_result(tmp_path / "a" / "done", make_record())
    texts = {
        "failed/log.txt": "epoch [2/5] batch [1/3]\nerror: no such file x\n",
        "crashed/job.log": "Traceback (most recent call last):\n  File\nValueError: odd\n",
        "ended/log.txt": "epoch [1/5] batch [1/3]\nepoch [3/5] batch [1/3]\n",
        "ended/tensorboard/events": "",
        "running/job.log": "epoch [4/5] batch [1/3]\n",
        "corrupt/result.json": '{"schema_version": 1}',
        "foreign/result.json": "{}",
        "done/previous-2025/log.txt": "of another configuration",
    }
    for name, text in texts.items():
        path = tmp_path / ("a" if name.startswith("done") else "") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    with lock(tmp_path / "running"):
        yield tmp_path


def test_every_state_is_told_from_the_folder(runs):
    found = {status.folder.name: status for status in statuses(runs)}
    assert {name: status.state for name, status in found.items()} == {
        "done": "done",
        "failed": "failed",
        "crashed": "failed",
        "ended": "not finished",
        "running": "running",
        "corrupt": "unreadable",
    }
    assert found["failed"].note == "no such file x" and found["crashed"].note == "ValueError: odd"
    assert found["done"].note == "accuracy 66.67 %" and found["done"].when.isoformat() == "2025-01-01T10:00:02"
    assert (found["failed"].epoch, found["ended"].epoch, found["running"].epoch) == ("2/5", "3/5", "4/5")
    assert all(status.when for status in found.values()) and "'trainer' is missing" in found["corrupt"].note


@pytest.mark.skipif(not os.path.exists("/proc/locks"), reason="the holder of a lock is read from Linux's /proc")
def test_a_running_one_names_the_process_that_started_it(runs):
    (running,) = (status for status in statuses(runs) if status.state == "running")
    assert running.where.startswith(f"pid {os.getpid()} on ")


def test_the_newest_log_counts(runs):
    """A run that is resumed begins another log; what went wrong before is over."""
    later = runs / "failed" / "log.txt-2025-01-01-10-00-00"
    later.write_text("epoch [4/5]\n")
    os.utime(runs / "failed" / "log.txt", (1, 1))
    (status,) = (status for status in statuses(runs) if status.folder.name == "failed")
    assert (status.state, status.epoch) == ("not finished", "4/5")


def test_the_table_has_a_line_per_run_and_the_counts(runs, capsys):
    assert main([str(runs)]) == 0
    head, _, *rows, counts = capsys.readouterr().out.splitlines()
    assert head.split() == ["run", "state", "when", "epoch"] and len(rows) == 6
    assert any(row.startswith("a/done") and row.endswith("accuracy 66.67 %") for row in rows)
    assert counts == f"6 runs (1 done, 1 running, 2 failed, 1 not finished, 1 unreadable) below {runs}"


def test_the_output_folder_is_the_default(runs, capsys, monkeypatch):
    monkeypatch.setenv("OUTPUT", str(runs / "a"))
    assert main([]) == 0
    assert capsys.readouterr().out.endswith(f"1 run (1 done) below {runs / 'a'}\n")


def test_a_folder_without_runs_is_no_mistake_and_a_missing_one_is(tmp_path, capsys):
    assert main([str(tmp_path)]) == 0 and capsys.readouterr().out == f"0 runs below {tmp_path}\n"
    assert main([str(tmp_path / "none")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and str(tmp_path / "none") in error


def states(root):
    return {status.folder.name: status for status in statuses(root)}


def left_behind(folder, host, age, pid=1):
    """A lock's file whose holder ended without giving it back, its last sign of life some seconds ago."""
    folder.mkdir()
    said = {"host": host, "pid": pid, "since": "2025-01-01T10:00:00", "where": "slurm 7_1, GPU 0"}
    (folder / ".lock").write_text(json.dumps(said))
    os.utime(folder / ".lock", (time.time() - age,) * 2)


def test_what_was_killed_is_stale_and_what_another_machine_runs_is_running(tmp_path):
    """Locks are not seen from every machine; the signs of life in their files are."""
    left_behind(tmp_path / "lives", "n7", age=20)
    left_behind(tmp_path / "silent", "n7", age=600)
    left_behind(tmp_path / "here", os.uname().nodename, age=20)
    found = states(tmp_path)
    assert {name: status.state for name, status in found.items()} == {
        "lives": "running",
        "silent": "stale",
        "here": "stale",
    }
    assert found["lives"].where == "pid 1 on n7 (slurm 7_1, GPU 0)"
    assert found["lives"].when == datetime(2025, 1, 1, 10) and "n7" in found["silent"].note


def test_a_lock_that_is_held_in_silence_is_stale(tmp_path):
    with lock(tmp_path / "hung"):
        assert states(tmp_path)["hung"].state == "running"
        os.utime(tmp_path / "hung" / ".lock", (time.time() - 3600,) * 2)
        assert states(tmp_path)["hung"].state == "stale"
        (tmp_path / "hung" / "job.log").write_text("epoch [1/2]")
        assert states(tmp_path)["hung"].state == "running"


def test_what_waits_in_a_queue_is_waiting_until_it_ended_there(tmp_path):
    folder = tmp_path / "queued"
    Ticket("slurm", "promptshift-1", 0).write(folder)
    waiting = states(tmp_path)["queued"]
    assert waiting.state == "waiting" and waiting.where == "slurm promptshift-1"
    assert datetime.now() - waiting.when < timedelta(minutes=1)
    write_ended(folder, "promptshift-1", Outcome("a job", FAILED, "a note"))
    assert states(tmp_path)["queued"].state != "waiting"


def test_what_a_living_driver_has_still_to_start_is_waiting(tmp_path, monkeypatch):
    monkeypatch.setenv("OUTPUT", str(tmp_path))
    jobs = [
        type("Job", (), {"output_dir": tmp_path / "runs" / name}) for name in ("fresh", "failed_now", "failed_before")
    ]
    for name in ("failed_now", "failed_before"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "job.log").write_text("error: wrong\n")
    os.utime(tmp_path / "runs" / "failed_before" / "job.log", (1, 1))
    with present(jobs, "local"):
        os.utime(tmp_path / "runs" / "failed_now" / "job.log", (time.time() + 5,) * 2)
        found = states(tmp_path / "runs")
        assert {name: status.state for name, status in found.items()} == {
            "fresh": "waiting",
            "failed_now": "failed",
            "failed_before": "waiting",
        }
    assert set(states(tmp_path)) == {"failed_now", "failed_before"}


def test_only_the_last_start_of_a_log_counts(tmp_path):
    (tmp_path / "run").mkdir()
    first = (
        "==== started 2025-01-01 10:00:00 on n1 ====\nepoch [3/5] batch [1/3] loss 0.5 (0.4) eta 0:00:10\nerror: disk\n"
    )
    (tmp_path / "run" / "job.log").write_text(first)
    assert states(tmp_path)["run"].state == "failed"
    line = "epoch [4/5] batch [1/3] time 1 (1) loss 0.5000 (0.4000) acc 50.0000 (62.5000) lr 1e-3 eta 1 day, 0:00:10\n"
    (tmp_path / "run" / "job.log").write_text(f"{first}\n==== started 2025-01-01 11:00:00 on n2 ====\n{line}")
    run = states(tmp_path)["run"]
    assert run.state == "not finished" and run.note == ""
    told = run.progress
    assert (told.epoch, told.loss, told.accuracy, told.eta) == ("4/5", "0.4000", "62.5000", "1 day, 0:00:10")


def test_watching_prints_changes_and_ends_with_the_last_run(tmp_path, capsys, monkeypatch):
    holding = lock(tmp_path / "run")
    holding.__enter__()
    (tmp_path / "run" / "job.log").write_text("epoch [1/2]\n")
    steps = [
        lambda: None,  # nothing changes, nothing is said
        lambda: (tmp_path / "run" / "job.log").write_text("epoch [2/2]\n"),
        lambda: (holding.__exit__(None, None, None), write_result(tmp_path / "run", make_record())),
    ]
    monkeypatch.setattr(time, "sleep", lambda seconds: steps.pop(0)())
    assert main([str(tmp_path), "--watch"]) == 0
    *lines, counts = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["running", "running", "done"]
    assert "epoch 1/2" in lines[0] and "epoch 2/2" in lines[1] and counts == f"1 run (1 done) below {tmp_path}"


def test_watching_refuses_a_pace_that_is_none(tmp_path, capsys):
    assert main([str(tmp_path), "--watch", "--every", "0"]) == 2
    assert "--every" in capsys.readouterr().err
