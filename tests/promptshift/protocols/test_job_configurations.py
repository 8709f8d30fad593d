"""Every job's configuration is that of its own command line, and no plan reads its files twice."""

import pytest

from helpers.protocol_plans import configuration, plan_of
from helpers.table_recipes import PLANS
from promptshift.runs import config


@pytest.fixture(autouse=True)
def output(monkeypatch, tmp_path):
    monkeypatch.setenv("OUTPUT", str(tmp_path))
    monkeypatch.setenv("DATA", str(tmp_path / "data"))


PROMPTKD = ("base_to_new", "PromptKD", ["eurosat"], dict(seeds=(1, 2)), [])  # it learns from a stage
OPTIONS = ("multi_source", "DPSPG", ["pacs", "RN50", "OPTIM.LR", "0.1", "TRAINER.DPSPG.ALPHA", "0.3"], {}, [])


@pytest.mark.parametrize("plan", [*PLANS.values(), PROMPTKD, OPTIONS], ids=[*PLANS, "a stage", "options"])
def test_a_job_carries_what_its_command_line_stands_for(plan):
    protocol, trainer, words, more, _ = plan
    for job in plan_of(protocol, trainer, *words, **more).jobs:
        cfg, flags = configuration(job)
        assert job.cfg == cfg and job.cfg.is_frozen() and job.config_hash == config.config_hash(cfg)
        assert (job.seed, job.output_dir) == (None if cfg.SEED < 0 else cfg.SEED, type(job.output_dir)(cfg.OUTPUT_DIR))
        assert job.trains is not flags.eval_only and str(job.call.model_dir or "") == flags.model_dir


def test_a_job_in_another_folder_asks_for_the_same(tmp_path):
    job = plan_of("multi_source", "CoOp", "mini").jobs[0]
    moved = job.moved(tmp_path / "elsewhere")
    assert moved.config_hash == job.config_hash and moved.output_dir == tmp_path / "elsewhere" != job.output_dir
    assert configuration(moved)[0] == moved.cfg


def test_the_files_of_a_plan_are_read_once(monkeypatch):
    read = []
    merge_file = config.merge_file
    monkeypatch.setattr(
        config,
        "merge_file",
        lambda cfg, path, *more, **named: (read.append(path), merge_file(cfg, path, *more, **named)),
    )
    assert len(plan_of("multi_source", "CoOp", "pacs", seeds=(1, 2, 3)).jobs) == 12 and len(read) == 2
    read.clear()
    assert len(plan_of("base_to_new", "CoOp", "dtd,eurosat", seeds=(1, 2, 3)).jobs) == 12 and len(read) == 4
    read.clear()
    assert len(plan_of("xd", "CoOp", "imagenet", seeds=(1, 2)).jobs) == 22 and len(read) == 22  # of eleven datasets
