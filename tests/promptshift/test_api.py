"""The Python interface on small runs: what it returns is what the commands print and write."""

import subprocess
import sys

import pytest
import torch
from PIL import Image

import promptshift as ps
from helpers.mini_runs import small_mini_world
from promptshift.cli import predict

SMALL = {"OPTIM.MAX_EPOCH": 1, "TEST__EVAL_FREQ": 1, "DATALOADER.TRAIN_X.FEATURE_VIEWS": 1}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATA", str(small_mini_world(root / "data", per_class=3)))
        patch.setenv("OUTPUT", str(root / "output"))
        yield root


@pytest.fixture(scope="module")
def run(world):
    return ps.train("CoOp", "mini", target="sketch", seed=1, **SMALL)


def images(world):
    return sorted((world / "data" / "mini_dg").rglob("*.png"))[:5] or sorted((world / "data").rglob("*.jpg"))[:5]


def test_a_run_is_opened_and_not_trained_again(run, capfd):
    finished = run.record["finished"]
    again = ps.train("CoOp", "mini", target="sketch", seed=1, **SMALL)
    assert again.record["finished"] == finished and again.folder == run.folder
    assert capfd.readouterr() == ("", "")
    assert run.cfg.OPTIM.MAX_EPOCH == 1 and run.record["target_domains"] == ["sketch"]


def test_paths_and_images_are_predicted_as_the_command_does(run, world, capsys):
    paths = images(world)
    of_paths = run.predict(paths, top=3)
    assert run.predict([Image.open(path) for path in paths], top=3) == of_paths
    assert predict.main(["--run", str(run.folder), *map(str, paths)]) == 0
    for line, found in zip(capsys.readouterr().out.splitlines(), of_paths, strict=True):
        assert line.endswith("\t" + ", ".join(f"{name} {p:.4f}" for name, p in found.items()))
    assert len(run.predict(paths[0])[0]) == len(run.classnames)


def test_logits_are_scaled_cosines_of_the_features(run, world):
    paths = images(world)
    features, classes = run.features(paths), run.class_features()
    logits = run.logits(paths)
    scale = run.trainer.clip.logit_scale
    torch.testing.assert_close(scale * features @ classes.T, logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(run.probabilities(paths), logits.softmax(dim=-1), atol=1e-5, rtol=1e-4)


def test_results_have_a_row_a_run(run, world):
    rows = ps.results(world / "output")
    rows = rows if isinstance(rows, list) else rows.to_dict("records")
    assert [row["accuracy"] for row in rows] == [run.record["metrics"]["accuracy"]]
    assert rows[0]["folder"] == str(run.folder) and rows[0]["trainer"] == "CoOp"


def test_names():
    assert {"CoOp", "DPSPG", "MaPLe"} <= set(ps.methods())
    assert {"mini", "pacs"} <= set(ps.datasets())
    assert ps.losses is sys.modules["promptshift.losses"]
    assert {"load", "train", "PromptLearner", "load_clip"} <= set(dir(ps))
    with pytest.raises(AttributeError, match="lod"):
        _ = ps.lod


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: ps.load("nowhere"), "nowhere"),
        (lambda: ps.train("CoOp", "mini", target="sketchy"), "sketchy.*allowed: art_painting"),
        (lambda: ps.train("CoOpp", "mini"), "CoOpp"),
        (lambda: ps.train("CoOp", "mini", **{"OPTIM.MAX_EPOCH": -1}), "OPTIM.MAX_EPOCH"),
    ],
)
def test_what_is_wrong_is_an_exception_of_one_line(call, words):
    with pytest.raises(ps.UserError, match=words) as error:
        call()
    assert "\n" not in str(error.value)


def test_importing_takes_nothing_with_it():
    code = "import promptshift, sys; print([m for m in ('torch', 'torchvision', 'open_clip') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
