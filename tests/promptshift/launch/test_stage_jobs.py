"""Stages as jobs of a plan: before what needs them, once, side by side, and only for what is not finished."""

import dataclasses
import shutil
import sys
import threading
import time

import pytest

from helpers.mini_runs import SMALL
from helpers.protocol_plans import plan_of
from promptshift.launch.jobs import State, lock
from promptshift.launch.local import Runner
from promptshift.launch.stage_jobs import with_stages
from promptshift.runs.stage_runs import make

pytestmark = pytest.mark.usefixtures("checkout_and_output")


def names(jobs):
    return [job.name for job in jobs]


def test_every_domain_is_learnt_once_before_the_first_run_that_needs_it():
    plan = plan_of("multi_source", "DPSPG", "mini", seeds=(1, 2))
    jobs = with_stages(plan.jobs)
    stages = [job for job in jobs if job.call.stage]
    assert len(stages) == 8 == len({job.output_dir for job in stages}) and len(jobs) == 16
    assert [job.name for job in jobs if not job.call.stage] == names(plan.jobs)
    seen = set()
    for job in jobs:
        assert seen.issuperset(job.after) and job.name not in seen
        assert len(job.after) == (0 if job.call.stage else 3)
        seen.add(job.name)
    held_out = next(job for job in jobs if job.name == "art_painting seed 1")
    assert not any("art_painting" in name or "seed 2" in name for name in held_out.after)


def test_stages_of_stages_are_jobs_and_evaluations_have_none():
    plan = plan_of("base_to_new", "DPC", "mini_b2n", "TRAINER.DPC.BACKBONE", "PromptKD")
    teacher, backbone, train, test = with_stages(plan.jobs)
    assert (teacher.call.stage, backbone.call.stage, train.call.stage) == ("backbone/teacher", "backbone", "")
    assert backbone.after == (teacher.name,) and train.after == (teacher.name, backbone.name)
    assert test.after == (train.name,)


def test_stages_that_differ_in_a_setting_alone_have_names_of_their_own():
    one, two = (plan_of("multi_source", "SPG", "mini", "TRAINER.SPG.LABELS.LR", rate).jobs[0] for rate in ("1", "2"))
    jobs = with_stages([one, dataclasses.replace(two, name="two")])
    assert len(set(names(jobs))) == len(jobs) == 8


@pytest.mark.parametrize("trainer, what", [("TPT", ""), ("PromptAlign", "MaPLe"), ("CoOp", "")])
def test_what_starts_from_nothing_or_from_one_run(trainer, what):
    jobs = with_stages(plan_of("multi_source", trainer, "mini").jobs)
    assert {job.cfg.TRAINER.NAME for job in jobs if job.call.stage} == {what} - {""}


def test_a_plan_makes_its_stages_side_by_side_and_what_is_finished_needs_none(small_world, monkeypatch, capfd):
    monkeypatch.setenv("DATA", str(small_world))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    plan = plan_of("multi_source", "DPSPG", "mini", *SMALL, "OPTIM.MAX_EPOCH", "1")
    job = next(job for job in plan.jobs if job.name == "sketch seed 1")
    jobs = with_stages([job])
    make(job.cfg, jobs[0].call.stage)  # as a run by itself would
    capfd.readouterr()
    assert jobs[0].state() is State.DONE
    assert not Runner(jobs, slots=2).run()
    out = capfd.readouterr().out
    assert out.count("start ") == 3 and out.count("done ") == 3 and f"skip   {jobs[0].name}: finished before" in out
    assert out.index(f"start  {jobs[2].name}") < out.index(f"done   {jobs[1].name}")
    assert all(made.state() is State.DONE for made in jobs) and job.state() is State.DONE
    log = (job.output_dir / "job.log").read_text()
    assert log.count("found in") == 3 and "training in" not in log
    shutil.rmtree(jobs[0].output_dir)
    assert names(with_stages([job], unfinished=True)) == [job.name]
    assert jobs[0].state() is State.NOT_STARTED


def test_a_stage_that_another_sweep_makes_is_waited_for(small_world, monkeypatch, capfd, tmp_path):
    monkeypatch.setenv("DATA", str(small_world))
    job = plan_of("multi_source", "DPSPG", "mini", *SMALL).jobs[-1]
    (stage, *_) = with_stages([job])
    elsewhere = threading.Event()

    def hold():
        with lock(stage.output_dir, name=stage.lock_name):
            elsewhere.set()
            time.sleep(1)

    other = threading.Thread(target=hold)
    other.start()
    elsewhere.wait(10)
    assert stage.state() is State.RUNNING
    started = time.monotonic()
    assert Runner([stage], command=(sys.executable, "-c", "raise SystemExit(1)")).run() == [stage]
    assert time.monotonic() - started > 0.5
    other.join()
    assert "skip " not in capfd.readouterr().out
