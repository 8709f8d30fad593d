"""The jobs of one allocation, under submitit's local executor: notices, locks, packing, blindness."""

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from yacs.config import CfgNode

from helpers.result_records import make_record
from promptshift.launch.children import DONE, ELSEWHERE, FAILED, SKIPPED
from promptshift.launch.cluster import worker
from promptshift.launch.cluster.tickets import read_ended
from promptshift.launch.cluster.worker import Pack
from promptshift.launch.driver import Order
from promptshift.launch.jobs import Call, Job, is_locked, lock
from promptshift.runs.config import config_hash

FAKE_TRAIN = (sys.executable, str(Path(__file__).parents[3] / "helpers" / "fake_train.py"))
CFG = CfgNode({"SEED": 1})
CHECKOUT = Path(__file__).parents[4]


@pytest.fixture
def pack(tmp_path, monkeypatch):
    """pack(plan of fake_train, *names, **fields) -> the pack of these jobs."""

    def make(plan, *names, **fields):
        fake = tmp_path / "fake.json"
        behave(fake, plan)
        files = (Path("data"), "CoOp", Path("dataset.yaml"), Path("trainer.yaml"))
        jobs = [Job(name, Call(*files, tmp_path / name, 1), ("row", name), CFG) for name in names]
        assert [job.config_hash for job in jobs]
        usual = {"launcher": "ray", "batch": "batch", "command": FAKE_TRAIN, "environment": {"FAKE": str(fake)}}
        return Pack([Order(job) for job in jobs], **{**usual, "sharing": 1, "witness": fake, **fields})

    return make


def behave(path, plan):
    record = {"schema_version": 1, **make_record(config_hash=config_hash(CFG))}
    path.write_text(json.dumps({"record": record, "plan": plan}))


def test_every_job_of_a_pack_leaves_word_in_its_folder(pack, tmp_path):
    one = pack({"/b": {"crash": "error: LR is wrong"}}, "a", "b")
    ended = {outcome.job: outcome for outcome in one()}
    assert {name: outcome.kind for name, outcome in ended.items()} == {"a": DONE, "b": FAILED}
    assert read_ended(tmp_path / "b", "batch") == ended["b"] and ended["b"].note == "error: LR is wrong"
    assert read_ended(tmp_path / "a", "another batch") is None
    behave(tmp_path / "fake.json", {})
    assert {outcome.job: outcome.kind for outcome in one()} == {"a": SKIPPED, "b": DONE}
    text = (tmp_path / "b" / "job.log").read_text()
    assert text.count("==== started ") == 2 and "error: LR is wrong" in text


def test_gpus_of_an_allocation_are_shared_out(pack, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    pack({}, *"abcd", sharing=2)()
    seen = [json.loads((tmp_path / name / "starts").read_text())["CUDA_VISIBLE_DEVICES"] for name in "abcd"]
    assert seen == ["4", "4", "6", "6"]


def test_a_lock_that_a_killed_run_still_holds_is_waited_for(pack, tmp_path, monkeypatch):
    one = pack({}, "a")
    held = lock(tmp_path / "a")
    held.__enter__()
    giver = threading.Timer(1.0, held.__exit__, (None, None, None))
    giver.start()
    assert [outcome.kind for outcome in one()] == [DONE]
    giver.join()
    monkeypatch.setattr(worker, "_WAIT_SECONDS", 0.5)
    with lock(tmp_path / "b"):
        assert [outcome.kind for outcome in pack({}, "b")()] == [ELSEWHERE]


def test_a_machine_that_shares_no_file_system_is_named(pack, tmp_path, monkeypatch):
    monkeypatch.setattr(worker, "_WAIT_SECONDS", 0.2)
    (outcome,) = pack({}, "a", witness=tmp_path / "elsewhere" / "jobs.json")()
    assert outcome.kind == FAILED and f"is {tmp_path / 'elsewhere'} on a file system that all" in outcome.note


KILLED = """
import pickle, sys
pack = pickle.load(open(sys.argv[1], "rb"))
pack()
"""


def test_a_killed_worker_takes_its_jobs_with_it(pack, tmp_path):
    import pickle

    (tmp_path / "pack").write_bytes(pickle.dumps(pack({"/a": {"sleep": 60}}, "a")))
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path / "pack")], cwd=CHECKOUT)
    wait_for(lambda: (tmp_path / "a" / "starts").exists())
    process.kill()
    process.wait()
    wait_for(lambda: not is_locked(tmp_path / "a"))


@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGTERM])
def test_on_notice_a_job_is_ended_and_requeued(pack, tmp_path, number, monkeypatch, request):
    """submitit's local executor starts again what asks to be requeued, as Slurm does."""
    submitit = pytest.importorskip("submitit", reason="pip install 'promptshift[slurm]'")
    monkeypatch.setenv("PYTHONPATH", str(CHECKOUT))
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    one = pack({"/a": {"sleep": 300}}, "a", launcher="slurm")
    executor = submitit.LocalExecutor(folder=tmp_path / "submitit")
    executor.update_parameters(timeout_min=30)
    task = executor.submit(one)
    request.addfinalizer(task.cancel)
    wait_for(lambda: (tmp_path / "a" / "starts").exists())
    behave(tmp_path / "fake.json", {})
    (worker_process,) = children_of(task._process.pid)
    worker_process.send_signal(number)
    wait_for(task.paths.result_pickle.exists)
    (outcome,) = task.result()
    assert outcome.kind == DONE and len((tmp_path / "a" / "starts").read_text().splitlines()) == 2
    assert read_ended(tmp_path / "a", "batch") == outcome


def children_of(parent):
    """The processes that a process started, those of submitit's controller."""
    psutil = pytest.importorskip("psutil")
    wait_for(lambda: psutil.Process(parent).children())
    return psutil.Process(parent).children()


def wait_for(true, seconds=400):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)
