"""The runner: skips, resumes, reports failures and ends its children."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from yacs.config import CfgNode

from dassl.utils.errors import UserError
from helpers import result_records
from promptshift.launch.jobs import Call, Job, Locked, State, is_locked, lock
from promptshift.launch.local import Runner, available_cores
from promptshift.results.record import write_result
from promptshift.runs.config import config_hash

FAKE_TRAIN = (sys.executable, str(Path(__file__).parents[2] / "helpers" / "fake_train.py"))
CFG = CfgNode({"SEED": 1})
HASH = config_hash(CFG)


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Sets what the fake train.py does; the value is a function from the plan of `fake_train` to None."""
    path = tmp_path / "fake.json"
    monkeypatch.setenv("FAKE", str(path))

    def behave(plan):
        path.write_text(json.dumps({"record": {"schema_version": 1, **make_record()}, "plan": plan}))

    behave({})
    return behave


def make_record(**changes):
    """A record of the configuration of `make_jobs`."""
    return result_records.make_record(**{"config_hash": HASH, **changes})


def make_jobs(folder, *names):
    files = (Path("data"), "CoOp", Path("dataset.yaml"), Path("trainer.yaml"))
    return [Job(name, Call(*files, folder / name, 1), ("row", name), CFG) for name in names]


def starts(job):
    path = job.output_dir / "starts"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_states_follow_the_folder(tmp_path):
    (job,) = make_jobs(tmp_path, "a")
    assert job.state() is State.NOT_STARTED
    with lock(job.output_dir):
        assert job.state() is State.RUNNING
    assert job.state() is State.NOT_STARTED
    job.log.write_text("epoch 1")
    assert job.state() is State.FAILED
    write_result(job.output_dir, make_record(config_hash="another"))
    assert job.state() is State.FAILED and job.record() is None
    write_result(job.output_dir, make_record())
    assert job.state() is State.DONE
    (job.output_dir / "result.json").write_text("{")
    assert job.state() is State.FAILED


def test_finished_jobs_are_skipped_and_others_run_again(tmp_path, fake, capfd):
    jobs = make_jobs(tmp_path, "a", "b", "c")
    write_result(jobs[0].output_dir, make_record(metrics={"accuracy": 12.345}))
    write_result(jobs[1].output_dir, make_record(config_hash="another"))
    fake({"/c": {"accuracy": 70.0}})
    assert Runner(jobs, command=FAKE_TRAIN).run() == []
    assert [len(starts(job)) for job in jobs] == [0, 1, 1]
    lines = capfd.readouterr().out.splitlines()
    assert lines[0] == "skip   a: finished before, accuracy 12.35 %"
    assert [line.split(":")[0] for line in lines[1:]] == ["start  b (log", "done   b", "start  c (log", "done   c"]
    assert "accuracy 70.00 %" in lines[-1]
    assert Runner(jobs, command=FAKE_TRAIN).run() == []
    assert [len(starts(job)) for job in jobs] == [0, 1, 1]


def test_an_evaluation_is_run_again_after_the_training_that_it_reads(tmp_path, fake, capfd):
    train, test = make_jobs(tmp_path, "train", "test")
    test = dataclasses.replace(test, after=("train",))
    write_result(train.output_dir, make_record(finished="2025-01-01T10:00:02"))
    write_result(test.output_dir, make_record(finished="2025-01-01T10:00:02"))
    assert Runner([train, test], command=FAKE_TRAIN).run() == [] and not starts(test)
    write_result(train.output_dir, make_record(finished="2025-01-02T10:00:02"))
    assert Runner([train, test], command=FAKE_TRAIN).run() == []
    assert (len(starts(train)), len(starts(test))) == (0, 1)


def test_what_reads_weights_from_elsewhere_is_always_run(tmp_path, fake):
    (job,) = make_jobs(tmp_path, "a")
    job = dataclasses.replace(job, always=True)
    for count in (1, 2):
        assert Runner([job], command=FAKE_TRAIN).run() == [] and len(starts(job)) == count


def test_a_failed_job_names_its_error_and_log_and_the_others_go_on(tmp_path, fake, capfd):
    jobs = make_jobs(tmp_path, "a", "b", "c", "d")
    fake(
        {
            "/a": {"crash": "error: LR is wrong\n  some trailing line"},
            "/b": {"crash": "ValueError: boom"},
            "/c": {"exit": 0},
        }
    )
    failed = Runner(jobs, slots=2, command=FAKE_TRAIN).run()
    assert sorted(job.name for job in failed) == ["a", "b", "c"]
    assert jobs[3].state() is State.DONE and jobs[0].state() is State.FAILED
    lines = [line for line in capfd.readouterr().out.splitlines() if line.startswith("failed")]
    assert f"failed a: error: LR is wrong (log: {jobs[0].log})" in lines
    assert f"failed b: ValueError: boom (log: {jobs[1].log})" in lines
    assert any("c: ended without an error but" in line and "result.json is missing" in line for line in lines)
    fake({})
    assert Runner(jobs, command=FAKE_TRAIN).run() == []
    assert all(job.state() is State.DONE for job in jobs)


def test_a_job_that_could_not_even_write_its_error_is_not_quoted(tmp_path, fake, capfd):
    (job,) = make_jobs(tmp_path, "a")
    for text in ("epoch 1 of", "error: cannot wri"):
        command = (sys.executable, "-c", f"import sys; sys.stdout.write({text!r}); sys.exit(2)")
        assert Runner([job], command=command).run() == [job]
        line = capfd.readouterr().out.splitlines()[-1]
        assert line.startswith("failed a:") and "is the disk full" in line and str(job.log) in line
        assert text not in line


def test_a_log_that_cannot_be_opened_is_one_line(tmp_path, fake):
    (job,) = make_jobs(tmp_path, "a")
    job.log.mkdir(parents=True)
    with pytest.raises(UserError, match=f"cannot write {job.log}") as error:
        Runner([job], command=FAKE_TRAIN).run()
    assert "\n" not in str(error.value) and not is_locked(job.output_dir)


def test_leftovers_of_a_killed_run_are_swept_even_where_it_is_finished(tmp_path, fake):
    (job,) = make_jobs(tmp_path, "a")
    write_result(job.output_dir, make_record())
    (job.output_dir / "model").mkdir()
    stale = [job.output_dir / ".tmp-1-result.json", job.output_dir / "model" / ".tmp-1-model.pth.tar-1"]
    for path in stale:
        path.write_text("half")
    assert Runner([job], command=FAKE_TRAIN).run() == []
    assert not any(path.exists() for path in stale)


def test_what_a_killed_job_started_does_not_keep_its_lock(tmp_path, fake, capfd):
    (job,) = make_jobs(tmp_path, "a")
    killed = "import os, signal; os.fork() and os.kill(os.getpid(), signal.SIGKILL); signal.pause()"
    assert Runner([job], command=(sys.executable, "-c", killed)).run() == [job]
    assert "ended by signal SIGKILL" in capfd.readouterr().out
    for _ in range(100):  # the system ends the other one in its own time
        if not is_locked(job.output_dir):
            break
        time.sleep(0.05)
    assert Runner([job], command=FAKE_TRAIN).run() == []


def test_a_job_waits_for_the_one_it_needs(tmp_path, fake, capfd):
    first, second, free = make_jobs(tmp_path, "first", "second", "free")
    second = dataclasses.replace(second, after=("first",))
    fake({"/first": {"sleep": 0.5}})
    assert Runner([second, first, free], slots=2, command=FAKE_TRAIN).run() == []
    lines = [line.split(":")[0].split(" (")[0] for line in capfd.readouterr().out.splitlines()]
    assert lines.index("start  free") < lines.index("done   first") < lines.index("start  second")


def test_a_job_whose_need_failed_is_not_started(tmp_path, fake, capfd):
    first, second, third = make_jobs(tmp_path, "first", "second", "third")
    second, third = (dataclasses.replace(job, after=(name,)) for job, name in ((second, "first"), (third, "second")))
    fake({"/first": {"exit": 3}})
    jobs = [first, second, third]
    assert Runner(jobs, command=FAKE_TRAIN).run() == jobs
    assert [len(starts(job)) for job in jobs] == [1, 0, 0]
    assert "failed second: it needs first, which failed" in capfd.readouterr().out
    fake({})
    assert Runner(jobs, command=FAKE_TRAIN).run() == []
    assert [len(starts(job)) for job in jobs] == [2, 1, 1]


def test_a_job_whose_need_runs_elsewhere_is_left_alone(tmp_path, fake, capfd):
    first, second = make_jobs(tmp_path, "first", "second")
    second = dataclasses.replace(second, after=("first",))
    with lock(first.output_dir):
        assert Runner([first, second], command=FAKE_TRAIN).run() == []
    assert not starts(second) and "skip   second: it needs first, which another process" in capfd.readouterr().out


def test_a_result_of_another_configuration_is_not_taken_for_the_jobs_own(tmp_path, fake, capfd):
    (job,) = make_jobs(tmp_path, "a")
    job = dataclasses.replace(job, cfg=CfgNode({"SEED": 2}))
    assert Runner([job], command=FAKE_TRAIN).run() == [job]
    assert "failed a: its result is of another configuration" in capfd.readouterr().out


def test_a_job_that_another_process_runs_is_left_alone(tmp_path, fake, capfd):
    jobs = make_jobs(tmp_path, "a", "b")
    with lock(jobs[0].output_dir):
        with pytest.raises(Locked), lock(jobs[0].output_dir):
            pass
        assert Runner(jobs, command=FAKE_TRAIN).run() == []
    assert [len(starts(job)) for job in jobs] == [0, 1]
    assert "skip   a: another process is running it" in capfd.readouterr().out


def test_cores_and_gpus_are_shared_out(tmp_path, fake, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS")
    jobs = make_jobs(tmp_path, "a", "b", "c", "d")
    fake({"/": {"sleep": 0.2}})
    Runner(jobs, slots=2, gpus=["4", "7"], command=FAKE_TRAIN).run()
    seen = [starts(job)[0] for job in jobs]
    assert {one["OMP_NUM_THREADS"] for one in seen} == {str(max(1, available_cores() // 2))}
    assert [one["CUDA_VISIBLE_DEVICES"] for one in seen[:2]] == ["4", "7"]
    assert {one["CUDA_VISIBLE_DEVICES"] for one in seen} == {"4", "7"}
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    (job,) = make_jobs(tmp_path, "e")
    Runner([job], command=FAKE_TRAIN).run()
    assert starts(job) == [{"OMP_NUM_THREADS": "3", "CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES")}]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_sweep_ends_its_children_and_gives_the_locks_back(tmp_path, fake, number):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are started ignoring it
    fake({"/": {"sleep": 60}})
    jobs = make_jobs(tmp_path, "a", "b", "c")
    runner = Runner(jobs, slots=2, command=FAKE_TRAIN)
    seen = []

    def interrupt_when_both_run():
        deadline = time.monotonic() + 30
        while not (starts(jobs[0]) and starts(jobs[1])) and time.monotonic() < deadline:
            time.sleep(0.02)
        seen.extend(job.state() for job in jobs)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=interrupt_when_both_run)
    thread.start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        runner.run()
    thread.join()
    assert seen == [State.RUNNING, State.RUNNING, State.NOT_STARTED]
    assert [job.state() for job in jobs] == [State.FAILED, State.FAILED, State.NOT_STARTED]
    assert time.monotonic() - began < 50, "the children were waited for, not ended"


def test_a_child_keeps_the_lock_after_its_sweep_is_gone(tmp_path):
    with lock(tmp_path) as descriptor:
        child = subprocess.Popen(["sleep", "60"], pass_fds=(descriptor,))
    assert is_locked(tmp_path)
    child.kill()
    child.wait()
    assert not is_locked(tmp_path)
