"""Weights that are no numbers, and other foreign contents of a run's folder, never become a result."""

import json
import shutil

import pytest
import torch

from helpers.mini_runs import arguments
from promptshift.cli.predict import main as predict
from promptshift.runs.run import main


@pytest.fixture(scope="module")
def trained(mini_root, tmp_path_factory, request):
    """The folder of a finished run of CoOp."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(request.config.rootpath)
        patch.setenv("OUTPUT", str(folder.parent / "output"))
        assert main(arguments(mini_root, folder, "CoOp")) == 0
    return folder


@pytest.fixture
def run(trained, tmp_path, monkeypatch):
    """A copy of that folder, with its feature cache."""
    monkeypatch.setenv("OUTPUT", str(trained.parent / "output"))
    return shutil.copytree(trained, tmp_path / "run")


def spoil(path, change):
    saved = torch.load(path, weights_only=True)
    change(saved)
    torch.save(saved, path)


def nan(saved):
    saved["state_dict"]["ctx"][0, 0] = float("nan")


def infinite(saved):
    saved["state_dict"]["ctx"][1, 2] = float("-inf")


def integers(saved):
    saved["state_dict"]["ctx"] = (100 * saved["state_dict"]["ctx"]).long()


def integer_key(saved):
    saved["state_dict"][7] = torch.ones(1)


def missing(saved):
    saved["state_dict"].clear()


CHANGES = [nan, infinite, integers, integer_key, missing]


def error_line(capsys):
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("error: ")
    return line


@pytest.mark.parametrize("change", CHANGES)
def test_a_spoilt_checkpoint_is_refused_wherever_it_is_read(run, tmp_path, mini_root, capsys, change):
    best = run / "prompt_learner" / "model-best.pth.tar"
    spoil(best, change)
    images = sorted(map(str, mini_root.rglob("*_0000.png")))[:1]
    start = ["TRAINER.TPT.PROMPT", "CoOp", "TRAINER.TPT.START.RUN", str(run), "TRAINER.TPT.VIEWS", 8]
    calls = {
        "evaluation": lambda: main(
            ["--eval-only", "--model-dir", str(run), *arguments(mini_root, tmp_path / "e", "CoOp")]
        ),
        "prediction": lambda: predict(["--run", str(run), *images]),
        "start": lambda: main(arguments(mini_root, tmp_path / "t", "TPT", *start)),
    }
    for name, call in calls.items():
        assert call() == 2, name
        line = error_line(capsys)
        assert str(best) in line and ("7" if change is integer_key else "ctx") in line, name
    assert not list(tmp_path.glob("[et]/result.json"))


@pytest.mark.parametrize("change", [nan, integers])
def test_a_spoilt_training_state_is_not_resumed(run, mini_root, capsys, change):
    spoil(run / "last.pth.tar", lambda saved: change(saved["models"]["prompt_learner"]))
    (run / "result.json").unlink()
    assert main(arguments(mini_root, run, "CoOp", "OPTIM.MAX_EPOCH", 3)) == 2
    line = error_line(capsys)
    assert str(run / "last.pth.tar") in line and "ctx" in line and not (run / "result.json").exists()


@pytest.mark.parametrize("content", ["3", "[1, 2]", "[]", "null", '"house"', "[" * 100_000, '{"0": "house"}'])
def test_class_names_that_are_none_are_refused(run, mini_root, capsys, content):
    (run / "classes.json").write_text(content)
    assert predict(["--run", str(run), str(next(mini_root.rglob("*.png")))]) == 2
    assert str(run / "classes.json") in error_line(capsys)


def test_a_full_disk_names_the_file_and_the_same_command_goes_on(trained, run, tmp_path, mini_root, capsys):
    from helpers.full_disk import files_end_at

    largest = max(path.stat().st_size for path in run.glob("*/model.pth.tar*"))
    with files_end_at(largest - 1000):
        assert main(arguments(mini_root, tmp_path / "new", "CoOp")) == 2
    line = error_line(capsys)
    assert "the disk is full" in line and str(tmp_path / "new") in line
    assert not list((tmp_path / "new").rglob(".tmp-*")) and not (tmp_path / "new" / "result.json").exists()
    assert main(arguments(mini_root, tmp_path / "new", "CoOp")) == 0
    metrics = [json.loads((folder / "result.json").read_text())["metrics"] for folder in (trained, tmp_path / "new")]
    assert metrics[0] == metrics[1]
    last = torch.load(tmp_path / "new" / "last.pth.tar", weights_only=True)
    numbered = torch.load(tmp_path / "new" / "prompt_learner" / "model.pth.tar-2", weights_only=True)
    assert last["epoch"] == numbered["epoch"] == 2
    assert (tmp_path / "new" / "prompt_learner" / "checkpoint").read_text() == "model.pth.tar-2\n"


def test_leftovers_are_swept_by_the_next_run(run, mini_root):
    stale = [run / ".tmp-1-result.json", run / "prompt_learner" / ".tmp-1-model.pth.tar-2"]
    for path in stale:
        path.write_text("half")
    (run / "result.json").unlink()
    assert main(arguments(mini_root, run, "CoOp")) == 0
    assert not any(path.exists() for path in stale)
