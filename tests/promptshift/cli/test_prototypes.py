"""`promptshift prototypes`: makes a file from a finished run and says how, refuses what does not fit."""

import json

import pytest
import torch

from helpers.mini_runs import arguments, small_mini_world
from promptshift.cli.prototypes import main
from promptshift.modeling.prototypes import load_prototypes
from promptshift.runs.run import main as train


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A mini world of 3 images per class and domain."""
    return small_mini_world(tmp_path_factory.mktemp("data"), per_class=3)


@pytest.fixture(scope="module")
def maple(root, tmp_path_factory):
    """A run of MaPLe of one epoch on it."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("maple")
        patch.setenv("OUTPUT", str(folder / "output"))
        assert (
            train(arguments(root, folder / "run", "MaPLe", "OPTIM.MAX_EPOCH", 1, "DATALOADER.TRAIN_X.FEATURE_VIEWS", 0))
            == 0
        )
    return folder / "run"


@pytest.fixture
def command(root, maple, tmp_path, monkeypatch, capsys):
    """command(*words) -> exit status, printed lines, error lines; beside the run's own options."""
    monkeypatch.setenv("OUTPUT", str(tmp_path / "output"))
    monkeypatch.setenv("DATA", str(root))

    def call(*words):
        status = main(list(map(str, words)))
        out, err = capsys.readouterr()
        return status, out, err

    return call


def test_a_file_says_what_made_it_and_a_second_call_finds_it(command, maple, tmp_path):
    path = tmp_path / "p.safetensors"
    words = ("--run", maple, "--views", 2, "--shots", 1, "--out", path)
    assert "making them" in command(*words)[1] and "found at" in command(*words)[1]
    status, shown, _ = command("--show", path)
    assert status == 0 and "cls: (3, 20, 128)" in shown and "means: (4, 19, 128)" in shown
    about = load_prototypes(path).about
    assert about["images"] == 20 and about["views"] == 2 and about["shots"] == 1 and about["dataset"] == "MiniDG"
    assert about["domains"] == ["art_painting", "cartoon", "photo"] and len(about["classes"]) == 20
    assert about["run"] == json.loads((maple / "result.json").read_text())["config_hash"]
    assert about["prompts"]["prompt_learner.ctx"] == [2, 128]


def test_other_source_images(command, maple, tmp_path):
    one, other = tmp_path / "one.safetensors", tmp_path / "other.safetensors"
    command("--run", maple, "--views", 0, "--out", one)
    assert command("--run", maple, "--views", 0, "--out", other, "DATASET.SOURCE_DOMAINS", "['photo']")[0] == 0
    one, other = load_prototypes(one), load_prototypes(other)
    assert other.about["domains"] == ["photo"] and other.about["images"] * 3 == one.about["images"]
    torch.testing.assert_close(one.text, other.text)
    assert (one.means - other.means).abs().max() > 1e-3


def test_a_run_with_other_prompts_refuses_the_file(command, maple, root, tmp_path, capsys):
    path = tmp_path / "p.safetensors"
    command("--run", maple, "--views", 0, "--shots", 1, "--out", path)
    argv = arguments(
        root,
        tmp_path / "run",
        "PromptAlign",
        "TRAINER.PROMPTALIGN.PROTOTYPES",
        path,
        "TRAINER.PROMPTALIGN.START.MAX_EPOCH",
        1,
        "TRAINER.PROMPTALIGN.PROMPT_DEPTH",
        2,
    )
    assert train(argv) == 2
    assert "made under prompts of another shape" in capsys.readouterr().err
    argv = arguments(
        root,
        tmp_path / "run",
        "PromptAlign",
        "TRAINER.PROMPTALIGN.PROTOTYPES",
        path,
        "TRAINER.PROMPTALIGN.START.MAX_EPOCH",
        1,
        "MODEL.BACKBONE.NAME",
        "mini_large",
    )
    assert train(argv) == 2
    assert "made with backbone mini (weights" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words, named",
    [
        ((), "--run FOLDER or --show FILE"),
        (("--run", "/nowhere"), "/nowhere"),
        (("--show", "/none"), "no prototypes"),
        (("--run", "RUN", "--views", -1), "--views: -1"),
        (("--run", "RUN", "DATASET.NAME", "Nothing"), "Nothing"),
        (("--run", "RUN", "DATASET.NME", "x"), "DATASET.NME"),
    ],
)
def test_bad_input_is_one_line(command, maple, words, named):
    status, _, error = command(*(maple if word == "RUN" else word for word in words))
    assert status == 2 and error.startswith("error: ") and error.count("\n") == 1 and named in error
