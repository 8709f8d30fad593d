"""Finished runs of data that changed are stale everywhere: sweep, status, report, parser, stages, reopened runs."""

import shutil

import pytest

from dassl.utils.errors import UserError
from helpers.protocol_plans import plan_of
from promptshift.cli.run import main as sweep
from promptshift.cli.status import main as status
from promptshift.launch.jobs import State
from promptshift.report.runs import gather
from promptshift.results import data_state
from promptshift.results.parse_logs import parse_folder
from promptshift.runs.reopen import reopen
from promptshift.runs.run import finished, main

WORDS = ("my_folder", "mini", "OPTIM.MAX_EPOCH", "1", "INPUT.SIZE", "(48, 48)", "DATALOADER.NUM_WORKERS", "0")


@pytest.fixture
def own(mini_root, tmp_path, monkeypatch):
    """A folder of one's own: two domains, three classes, twelve images each."""
    monkeypatch.setenv("DATA", str(tmp_path / "data"))
    for domain in ("photo", "sketch"):
        for name in sorted((mini_root / "mini_dg" / "images" / domain).iterdir())[:3]:
            shutil.copytree(name, tmp_path / "data" / "my_folder" / domain / name.name)
    return tmp_path / "data" / "my_folder"


@pytest.fixture
def job(own):
    """One finished job of a plan of that folder."""
    job = planned()
    assert main(list(job.argv)) == 0 and job.state() is State.DONE
    return job


def planned():
    plan = plan_of("multi_source", "CoOp", *WORDS, "TRAINER.COOP.PREC", "fp32", config="mini")
    return next(job for job in plan.jobs if job.name.startswith("sketch"))


def add_a_class(own):
    for domain in ("photo", "sketch"):
        first = next(path for path in sorted((own / domain).iterdir()) if path.is_dir())
        shutil.copytree(first, own / domain / "zebra")
    data_state._recent.clear()  # as in a later process


def test_a_class_that_is_added_makes_runs_stale_everywhere(job, own, tmp_path, capsys):
    words = f"multi_source CoOp {' '.join(WORDS[:4])} --seeds 1 --config mini".split()
    reopen(job.output_dir, images=True)
    assert len(gather([tmp_path / "output"]).runs) == 1
    add_a_class(own)
    assert job.state() is State.STALE and job.record() is None and not finished(job.cfg)
    assert "my_folder/photo/zebra is new (12 images)" in job.found().problem
    assert (
        sweep(
            [*words, "INPUT.SIZE", "(48, 48)", "DATALOADER.NUM_WORKERS", "0", "TRAINER.COOP.PREC", "fp32"]
            + ["--dry-run"]
        )
        == 0
    )
    assert "stale" in capsys.readouterr().out
    assert status([str(tmp_path / "output")]) == 0
    assert "1 run (1 stale)" in capsys.readouterr().out
    gathered = gather([tmp_path / "output"])
    assert not gathered.runs and [problem.kind for problem in gathered.problems] == ["stale"]
    with pytest.raises(UserError, match="nothing found"):
        parse_folder(job.output_dir, "accuracy", ("Finish training",), False)
    with pytest.raises(UserError, match="made from other data .*zebra is new"):
        reopen(job.output_dir, images=True)
    assert reopen(job.output_dir).num_classes == 3, "its weights are what they were"
    assert "zebra is new" in capsys.readouterr().out


def test_the_job_runs_anew_and_the_old_run_is_moved_aside(job, own, capsys):
    add_a_class(own)
    assert main(list(job.argv)) == 0
    out = capsys.readouterr().out
    assert "made from other data" in out and "zebra is new" in out and "was moved to" in out
    assert "12 images are not in" in out and "delete it to split anew" in out
    assert job.state() is State.DONE and len(list(job.output_dir.glob("previous-*/result.json"))) == 1
    shutil.rmtree(own / "promptshift_splits")
    data_state._recent.clear()
    assert job.state() is State.STALE
    assert main(list(job.argv)) == 0 and job.state() is State.DONE
    assert reopen(job.output_dir).num_classes == 4


def test_an_unfinished_run_of_other_data_is_not_resumed(job, own, capsys):
    (job.output_dir / "result.json").unlink()
    add_a_class(own)
    assert main(list(job.argv)) == 0
    assert "was moved to" in capsys.readouterr().out


def test_prompt_labels_are_made_anew_for_changed_images(train, mini_root, tmp_path, own, capsys):
    words = (
        "DATASET.NAME",
        "FolderDG",
        "DATASET.FOLDER",
        "my_folder",
        "DATASET.ROOT",
        str(own.parent),
        "OPTIM.MAX_EPOCH",
        1,
    )
    train("DPSPG", *words)
    train("DPSPG", *words, folder="again")
    assert "Prompt labels of photo: found in" in capsys.readouterr().out
    image = next(path for path in sorted(own.glob("photo/*/*.png")))
    image.write_bytes(image.read_bytes()[:-12] + b"\0" * 4 + image.read_bytes()[-12:])
    data_state._recent.clear()
    train("DPSPG", *words, folder="later")
    assert "Prompt labels of photo: training in" in capsys.readouterr().out


def test_a_rendered_world_has_a_fixed_fingerprint(train, mini_root, tmp_path, monkeypatch):
    monkeypatch.setattr(data_state, "_list", lambda *words: pytest.fail("no image is looked at"))
    train("CoOp", "OPTIM.MAX_EPOCH", 1)
    assert data_state.data_problem(tmp_path / "run") == ""
    state = data_state.read_json(tmp_path / "run" / "data.json")
    assert state["files"]["mini_dg/world.json"] and not state["folders"]
