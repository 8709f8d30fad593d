"""Bad input: one line on stderr that names the culprit, exit status 2, no traceback, nothing lost."""

import json
import shutil

import pytest
import torch

from helpers.mini_runs import arguments
from promptshift.bases.finite import first_bad_output, first_bad_weight
from promptshift.cli.predict import main as predict
from promptshift.mini.weights import load_mini_state_dict
from promptshift.runs.run import main


@pytest.fixture
def world(mini_root, tmp_path):
    """A copy of the rendered world that a test may damage."""
    shutil.copytree(mini_root, tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def refused(tmp_path, capsys):
    """refused(root, trainer, *options) -> the one line that a refused run prints."""

    def run(root, trainer, *options, **kwargs):
        assert main(arguments(root, tmp_path / "run", trainer, *options, **kwargs)) == 2
        error = capsys.readouterr().err.strip()
        assert error.startswith("error: ") and error.count("\n") == 0, error
        return error

    return run


def first_image(world):
    return sorted((world / "mini_dg" / "images" / "sketch").rglob("*.png"))[0]


def test_unknown_domain(refused, mini_root):
    line = refused(mini_root, "CoOp", target="watercolour")
    assert "watercolour" in line and "sketch" in line and "TARGET_DOMAINS" in line


def test_missing_data(refused, tmp_path):
    argv_options = ("DATASET.NAME", "PACS", "DATASET.DOWNLOAD", "False", "DATASET.TARGET_DOMAINS", "['sketch']")
    line = refused(tmp_path / "nowhere", "CoOp", *argv_options)
    assert "PACS" in line and "nowhere" in line and "main.sh mini" in line


@pytest.mark.parametrize("content", [b"", b"these bytes are no image"])
def test_unreadable_image_is_named(refused, world, content):
    image = first_image(world)
    image.write_bytes(content)
    assert image.name in refused(world, "CoOp")


def test_unreadable_image_in_a_worker_is_named(refused, world):
    image = first_image(world)
    image.write_bytes(b"")
    assert image.name in refused(world, "CoOp", "DATALOADER.NUM_WORKERS", 2)


def test_split_file_that_names_a_missing_image(refused, world):
    image = first_image(world)
    assert main(arguments(world, world / "out", "ZeroshotCLIP")) == 0  # writes the split files
    split = next((world / "mini_dg").rglob("s_train_val_split.json"))
    image.unlink()
    line = refused(world, "CoOp")
    assert image.name in line and split.name in line and json.loads(split.read_text())["train"]


@pytest.mark.parametrize("content", ["half", "garbage", "foreign"])
def test_damaged_or_foreign_checkpoint(refused, mini_root, tmp_path, content, capsys):
    assert main(arguments(mini_root, tmp_path / "run", "CoOp")) == 0
    last = tmp_path / "run" / "last.pth.tar"
    if content == "half":
        last.write_bytes(last.read_bytes()[:200])
    elif content == "garbage":
        last.write_bytes(b"garbage")
    else:
        torch.save({"weights": torch.ones(1)}, last)
    capsys.readouterr()
    assert "last.pth.tar" in refused(mini_root, "CoOp")
    assert (tmp_path / "run" / "prompt_learner" / "model-best.pth.tar").is_file()


def test_input_size_that_does_not_fit(refused, mini_root):
    line = refused(mini_root, "CoOp", "INPUT.SIZE", "(224, 224)")
    assert "INPUT.SIZE" in line and "224" in line and "48" in line


def test_nan_loss_names_the_first_tensor(refused, mini_root):
    line = refused(mini_root, "CoOp", "OPTIM.LR", "1e38", "OPTIM.WARMUP_EPOCH", "-1")
    assert "clip.transformer.resblocks.0" in line and "OPTIM.LR" in line and "epoch 1" in line


def test_a_bad_weight_is_named_before_what_follows_from_it():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU(), torch.nn.Linear(2, 2))
    named = [("prompter", model)]
    assert first_bad_weight(named) is None and first_bad_output(named, lambda: model(torch.ones(1, 2))) is None
    assert first_bad_output(named, lambda: model(torch.full((1, 2), torch.inf))) == "prompter.0"
    model[2].bias.data[1] = torch.nan
    assert first_bad_weight(named) == "prompter.2.bias"
    assert first_bad_output(named, lambda: model(torch.ones(1, 2))) == "prompter.2"


def test_weights_that_do_not_exist(refused, mini_root, tmp_path):
    assert "none.pt" in refused(mini_root, "CoOp", "MODEL.BACKBONE.PATH", tmp_path / "none.pt")


@pytest.mark.parametrize("value", [float("nan"), None])
def test_a_backbone_with_odd_weights_is_refused_wherever_it_is_loaded(refused, mini_root, tmp_path, capsys, value):
    """Training, evaluation and prediction alike, with the tensor's name; None: as integers."""
    path, state = tmp_path / "backbone.pt", load_mini_state_dict()
    torch.save(state, path)
    use = ("MODEL.BACKBONE.PATH", path, "OPTIM.MAX_EPOCH", 1)
    assert main(arguments(mini_root, tmp_path / "trained", "CoOp", *use)) == 0
    proj = state["visual.proj"]
    odd = proj.long() if value is None else proj.index_fill(0, torch.tensor(2), value)
    torch.save(state | {"visual.proj": odd}, path)
    capsys.readouterr()
    lines = [refused(mini_root, "CoOp", *use)]
    argv = arguments(mini_root, tmp_path / "eval", "CoOp", *use)
    at = argv.index("OPTIM.MAX_EPOCH")
    argv[at:at] = ["--eval-only", "--model-dir", str(tmp_path / "trained")]
    assert main(argv) == 2
    lines.append(capsys.readouterr().err)
    assert predict(["--run", str(tmp_path / "trained"), str(first_image(mini_root))]) == 2
    lines.append(capsys.readouterr().err)
    assert all("backbone.pt: visual.proj" in line and line.strip().count("\n") == 0 for line in lines), lines


def test_eval_of_a_folder_without_model(mini_root, tmp_path, capsys):
    argv = arguments(mini_root, tmp_path / "run", "CoOp")
    at = argv.index("OPTIM.MAX_EPOCH")
    argv[at:at] = ["--eval-only", "--model-dir", str(tmp_path / "empty")]
    assert main(argv) == 2
    assert "empty" in capsys.readouterr().err
