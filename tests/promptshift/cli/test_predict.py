"""Predictions of a trained run from its folder alone, and evaluation of a run on other datasets."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from helpers.mini_runs import arguments
from promptshift.api import Run
from promptshift.cli.predict import main
from promptshift.runs.run import main as train_main

pytestmark = pytest.mark.usefixtures("checkout_and_output")


@pytest.fixture
def train(worlds_root, tmp_path):
    """train(trainer, *options) -> folder of a finished run."""

    def run(trainer, *options):
        assert train_main(arguments(worlds_root, tmp_path / "run", trainer, *options)) == 0
        return tmp_path / "run"

    return run


def hits_and_record(run, root):
    """How many images of the held-out domain `reopen` gets right, and how many the run itself did."""
    paths = sorted((root / "mini_dg" / "images" / "sketch").rglob("*.png"))
    built = Run(run)
    guessed = [built.trainer.lab2cname[int(row.argmax())] for row in built.each_probabilities(list(map(str, paths)))]
    hits = sum(name == path.parent.name for name, path in zip(guessed, paths))
    return hits, json.loads((run / "result.json").read_text())["metrics"]["correct"]


def evaluate(root, folder, run, trainer, dataset, domains, *options):
    """Tests a run on every image of another dataset; -> its record."""
    argv = arguments(root, folder, trainer, "DATASET.TEST_ALL", True, "DATALOADER.TRAIN_X.FEATURE_VIEWS", 0, *options)
    argv[argv.index("configs/datasets/mini.yaml")] = f"configs/datasets/{dataset}.yaml"
    at = argv.index("--target-domains")
    argv[at : at + 2] = [
        "--source-domains",
        *domains,
        "--target-domains",
        *domains,
        "--eval-only",
        "--model-dir",
        str(run),
    ]
    assert train_main(argv) == 0
    return json.loads((folder / "result.json").read_text())


def test_the_top_classes_are_those_of_the_run_s_own_logits(train, worlds_root, tmp_path, capsys):
    run = train("CoOp")
    images = sorted(map(str, (worlds_root / "mini_dg" / "images" / "sketch").rglob("*_0000.png")))[:5]
    shutil.move(worlds_root / "mini_dg", tmp_path / "aside")  # the data set is not needed, only the images asked about
    try:
        images = [image.replace(str(worlds_root / "mini_dg"), str(tmp_path / "aside")) for image in images]
        opened = Run(run)
        rows = list(opened.each_probabilities(images))
        capsys.readouterr()
        assert main(["--run", str(run), "--topk", "2", *images]) == 0
        out, err = capsys.readouterr()
    finally:
        shutil.move(tmp_path / "aside", worlds_root / "mini_dg")
    lines = out.splitlines()
    assert err == "" and [line.split("\t")[0] for line in lines] == images
    for line, row in zip(lines, rows):
        assert float(row.sum()) == pytest.approx(1, abs=1e-5)
        (first, p), (_, q) = (word.split() for word in line.split("\t")[1].split(", "))
        assert first == opened.classnames[int(row.argmax())] and float(p) == pytest.approx(float(row.max()), abs=1e-4)
        assert 1 >= float(p) >= float(q) > 0


@pytest.mark.parametrize(
    "trainer, options", [("CoOp", ("TEST.FINAL_MODEL", "last_step")), ("DPSPG", ()), ("ZeroshotCLIP", ())]
)
def test_predictions_reproduce_the_run_s_accuracy(train, worlds_root, trainer, options):
    run = train(trainer, *options)
    hits, recorded = hits_and_record(run, worlds_root)
    assert hits == recorded


def test_cosine_scores_are_scaled_before_they_become_probabilities(train, worlds_root):
    built = Run(train("DPSPG"))
    image = str(next((worlds_root / "mini_dg" / "images" / "photo").rglob("*.png")))
    row = next(built.each_probabilities([image]))
    assert built.trainer.COSINE_SCORES and float(row.max() / row.min()) > 1.5  # cosines alone differ by less than one


def test_one_image_s_probabilities_do_not_depend_on_the_others(train, worlds_root):
    built = Run(train("CoOp"))
    images = sorted(map(str, (worlds_root / "mini_dg" / "images" / "photo").rglob("*_0001.png")))[:4]
    together = list(built.each_probabilities(images))
    for image, row in zip(images, together):
        torch.testing.assert_close(next(built.each_probabilities([image])), row, atol=1e-5, rtol=0)


def refused(capsys, *argv):
    assert main(list(map(str, argv))) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1
    return err


def test_what_cannot_be_answered_is_one_line(train, worlds_root, tmp_path, capsys):
    image = next((worlds_root / "mini_dg" / "images" / "photo").rglob("*.png"))
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no image")
    assert "no such folder" in refused(capsys, "--run", tmp_path / "nowhere", image)
    run = train("CoOp")
    capsys.readouterr()
    assert "bad.jpg" in refused(capsys, "--run", run, image, bad)
    assert "no such image" in refused(capsys, "--run", run, tmp_path / "gone.png")
    assert "--topk" in refused(capsys, "--run", run, "--topk", 0, image)
    assert "--run" in refused(capsys, image)
    (run / "config.yaml").rename(run / "config.aside")
    assert "config.yaml" in refused(capsys, "--run", run, image)
    (run / "result.json").unlink()
    assert "did not finish" in refused(capsys, "--run", run, image)


@pytest.mark.parametrize("trainer", ["CoOp", "DPSPG", "ZeroshotCLIP"])
def test_a_run_is_tested_on_every_image_of_other_classes(train, worlds_root, tmp_path, monkeypatch, trainer):
    run = train(trainer)
    monkeypatch.setenv("OUTPUT", str(tmp_path / "fresh"))  # no prompt label is there, and none is to be made
    domains = ("clipart", "silhouette", "watercolor")
    record = evaluate(worlds_root, tmp_path / "eval", run, trainer, "mini2", domains)
    metrics = record["metrics"]
    assert record["dataset"] == "MiniDG2" and metrics["total"] == 3 * 6 * 4
    parts = [metrics[f"accuracy_{domain}"] for domain in domains]
    assert sum(parts) / 3 == pytest.approx(metrics["accuracy"])  # the domains are of one size
    assert metrics["accuracy"] > 100 / 6 and not (tmp_path / "fresh" / "prompt_labels").exists()
    assert "accuracy_sketch" not in json.loads((run / "result.json").read_text())["metrics"]


@pytest.mark.slow
@pytest.mark.parametrize("trainer", sorted(path.parent.name for path in Path("configs/trainers").glob("*/mini.yaml")))
def test_every_trainer_predicts_from_its_folder(train, worlds_root, trainer):
    options = ("OPTIM.MAX_EPOCH", 1, "DATALOADER.TRAIN_X.FEATURE_VIEWS", 0, "MODEL.BACKBONE.PRETRAINED", False)
    run = train(trainer, *options)
    hits, recorded = hits_and_record(run, worlds_root)
    assert hits == recorded
