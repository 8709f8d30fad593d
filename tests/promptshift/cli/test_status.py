"""`promptshift status`: what the folders of runs say about them."""

import os

import pytest

from helpers.result_records import make_record
from promptshift.cli.status import main
from promptshift.launch.jobs import lock
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
