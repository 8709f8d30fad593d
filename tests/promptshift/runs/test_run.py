"""Whole runs on the mini world: what they write, that they repeat, resume and stand alone per image."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from dassl.engine import build_trainer
from helpers.mini_runs import arguments
from promptshift.results.papers import PaperRow
from promptshift.runs.config import build_cfg, config_hash
from promptshift.runs.published import expected_accuracy
from promptshift.runs.run import main


def scores(record):
    """What must be equal between two runs of one configuration."""
    return record["metrics"], record["history"], record["config_hash"]


def test_a_run_leaves_its_record_log_and_configuration(train, tmp_path, mini_root):
    record = train("CoOp")
    folder = tmp_path / "run"
    assert record["status"] == "complete" and record["trainer"] == "CoOp" and record["dataset"] == "MiniDG"
    assert record["target_domains"] == ["sketch"] and record["selection"] == "best_val" and record["seed"] == 1
    assert record["metrics"]["accuracy"] == pytest.approx(
        100 * record["metrics"]["correct"] / record["metrics"]["total"]
    )
    assert [epoch["epoch"] for epoch in record["history"]] == [1, 2]
    assert record["seconds"] > 0 and record["peak_memory_mb"] > 0
    assert torch.__version__.startswith(record["versions"]["torch"])
    log = (folder / "log.txt").read_text()
    for line in (
        "Finish training",
        "Finished training",
        "Deploy the model with the best val performance",
        "Evaluate on the *test* set",
        "=> result",
    ):
        assert line in log
    cfg, _ = build_cfg(arguments(mini_root, folder, "CoOp"))
    assert record["config_hash"] == config_hash(cfg) and (folder / "config.yaml").is_file()
    saved = torch.load(folder / "prompt_learner" / "model-best.pth.tar", weights_only=True)
    assert list(saved["state_dict"]) == ["ctx"]


def test_same_seed_same_numbers_whatever_workers_batch_and_cache(train):
    first = train("DPSPG", folder="a")
    again = train(
        "DPSPG", "DATALOADER.NUM_WORKERS", 2, "DATALOADER.TEST.BATCH_SIZE", 7, "TEST.FEATURE_CACHE", False, folder="b"
    )
    for key in ("accuracy", "correct", "total", "macro_f1"):
        assert again["metrics"][key] == first["metrics"][key]
    assert [e["loss"] for e in again["history"]] == [e["loss"] for e in first["history"]]
    other = train("DPSPG", folder="c", seed=0)
    assert [e["loss"] for e in other["history"]] != [e["loss"] for e in first["history"]]


def test_fresh_augmentation_does_not_depend_on_workers(train):
    runs = [
        train("CoOp", "DATALOADER.TRAIN_X.FEATURE_VIEWS", 0, "DATALOADER.NUM_WORKERS", n, folder=f"w{n}")
        for n in (0, 2)
    ]
    assert runs[0]["history"] == runs[1]["history"]


def test_stage_one_is_made_once_and_never_of_the_target(train, tmp_path, capsys):
    first = train("DPSPG", folder="a")
    labels = tmp_path / "output" / "prompt_labels" / "MiniDG" / "mini" / "DPSPGLabels" / "seed_1"
    assert sorted(p.name.split("-")[0] for p in labels.iterdir()) == ["art_painting", "cartoon", "photo"]
    assert (next(labels.glob("photo-*")) / "config.yaml").is_file()
    made = {p: p.stat().st_mtime_ns for p in labels.rglob("model-best.pth.tar")}
    again = train("DPSPG", "TRAINER.DPSPG.ALPHA", 0.2, folder="b")  # found labels lead to the same numbers
    assert scores(again) == scores(first)
    train("DPSPG", "TRAINER.DPSPG.ALPHA", 0.5, folder="c")  # stage one does not depend on ALPHA
    assert {p: p.stat().st_mtime_ns for p in labels.rglob("model-best.pth.tar")} == made
    train("DPSPG", "TRAINER.DPSPG.LABELS.MAX_EPOCH", 2, folder="d")  # but on its own epochs
    assert len(list(labels.iterdir())) == 6


def test_early_and_late_epochs(train):
    record = train("DPSPG", "OPTIM.MAX_EPOCH", 4, "TRAINER.DPSPG.EARLY", 3, "TRAINER.DPSPG.LATE", 1)
    assert [("val_accuracy" in epoch) for epoch in record["history"]] == [False, True, True]


@torch.no_grad()
@pytest.mark.parametrize("trainer", ["ZeroshotCLIP", "CoOp", "DPSPG"])
def test_an_image_s_logits_do_not_depend_on_its_batch(trainer, mini_root, tmp_path):
    cfg, _ = build_cfg(arguments(mini_root, tmp_path / "run", trainer))
    built = build_trainer(cfg)
    built.set_model_mode("eval")
    images = next(iter(built.test_loader))["img"][:6]
    together = built.model_inference(images)
    for i in range(6):
        torch.testing.assert_close(built.model_inference(images[i : i + 1])[0], together[i], atol=1e-4, rtol=0)
    others = torch.cat([images[:1], torch.randn_like(images[1:])])
    torch.testing.assert_close(built.model_inference(others)[0], together[0], atol=1e-4, rtol=0)


def test_evaluation_alone_gives_the_trained_run_s_numbers(train, tmp_path, mini_root):
    trained = train("CoOp")
    argv = arguments(mini_root, tmp_path / "eval", "CoOp")
    flags = argv.index("OPTIM.MAX_EPOCH")
    argv[flags:flags] = ["--eval-only", "--model-dir", str(tmp_path / "run")]
    assert main(argv) == 0
    assert json.loads((tmp_path / "eval" / "result.json").read_text())["metrics"] == trained["metrics"]


def test_three_epochs_and_three_more_are_six(train, tmp_path):
    whole = train("DPSPG", "OPTIM.MAX_EPOCH", 6, folder="whole")
    train("DPSPG", "OPTIM.MAX_EPOCH", 6, "TRAINER.DPSPG.EARLY", 3, folder="first")  # the six-epoch schedule, cut off
    rest = train("DPSPG", "OPTIM.MAX_EPOCH", 6, "RESUME", tmp_path / "first", folder="rest")
    assert scores(rest) == scores(whole)
    for name in ("posencoder", "negencoder"):
        a, b = (
            torch.load(tmp_path / folder / name / "model.pth.tar-6", weights_only=True)["state_dict"]
            for folder in ("whole", "rest")
        )
        assert all(torch.equal(a[key], b[key]) for key in a)


def test_kill_9_in_the_middle_then_the_same_command_gives_the_same_result(train, tmp_path, mini_root):
    options = ("OPTIM.MAX_EPOCH", 15)
    whole = train("DPSPG", *options, folder="whole")
    command = [sys.executable, "train.py", *arguments(mini_root, tmp_path / "killed", "DPSPG", *options)]
    last = tmp_path / "killed" / "last.pth.tar"
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
    while not last.is_file():
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.01)
    time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed" / "result.json").exists()
    assert 0 < torch.load(last, weights_only=True)["epoch"] < 15
    assert scores(train("DPSPG", *options, folder="killed")) == scores(whole)


def test_a_finished_folder_is_not_trained_again_and_another_configuration_s_run_is_kept(train, tmp_path, capsys):
    first = train("CoOp")
    weights = (tmp_path / "run" / "prompt_learner" / "model-best.pth.tar").read_bytes()
    capsys.readouterr()
    assert scores(train("CoOp"))[0] == first["metrics"]
    assert "epoch [" not in capsys.readouterr().out
    train("CoOp", "OPTIM.LR", 0.02)
    (kept,) = (tmp_path / "run").glob("previous-*")
    assert (kept / "prompt_learner" / "model-best.pth.tar").read_bytes() == weights
    assert json.loads((kept / "result.json").read_text())["metrics"] == first["metrics"]


def test_a_released_checkpoint_with_token_buffers_loads(train, tmp_path, mini_root):
    trained = train("CoOp")
    ctx = torch.load(tmp_path / "run/prompt_learner/model-best.pth.tar", weights_only=True)["state_dict"]["ctx"]
    released = tmp_path / "released" / "prompt_learner"
    released.mkdir(parents=True)
    state = {"ctx": ctx, "token_prefix": torch.zeros(20, 1, 128), "token_suffix": torch.zeros(20, 72, 128)}
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(torch.optim.SGD([ctx], lr=0.1), 5)
    torch.save(
        {"state_dict": state, "epoch": 50, "scheduler": {"successor": scheduler}, "val_result": None},
        released / "model.pth.tar-50",
    )
    argv = arguments(mini_root, tmp_path / "eval", "CoOp")
    at = argv.index("OPTIM.MAX_EPOCH")
    argv[at:at] = ["--eval-only", "--model-dir", str(tmp_path / "released"), "--load-epoch", "50"]
    assert main(argv) == 0
    assert json.loads((tmp_path / "eval" / "result.json").read_text())["metrics"] == trained["metrics"]


def test_a_run_ends_with_every_number_that_a_paper_prints_for_it(train, tmp_path, monkeypatch):
    def find(**filters):
        assert filters == dict(trainer="ZeroshotCLIP", protocol="multi_source", dataset="MiniDG", backbone="mini")
        rest = (("ZeroshotCLIP",), "multi_source", "MiniDG", "mini", "", "")
        return [
            PaperRow("CLIP", {"sketch": 50.0, "photo": 90.0}, {"sketch": 0.5}, "A (arXiv 1), Table 1", *rest),
            PaperRow("CLIP*", {"sketch": 51.25}, {}, "B (arXiv 2), Table 2", *rest),
            PaperRow("CLIP", {"sketch": None}, {}, "C (arXiv 3), Table 3", *rest),
        ]

    monkeypatch.setattr("promptshift.results.papers.find", find)
    record = train("ZeroshotCLIP", "PROTOCOL", "multi_source")
    reached = record["metrics"]["accuracy"]
    assert (tmp_path / "run" / "log.txt").read_text().splitlines()[-2:] == [
        f"* published for CLIP, sketch: 50 ± 0.5 % (A (arXiv 1), Table 1); this run less that: {reached - 50:+.2f}",
        f"* published for CLIP*, sketch: 51.25 % (B (arXiv 2), Table 2); this run less that: {reached - 51.25:+.2f}",
    ]
    assert record["expected"] is None  # the papers disagree


def test_the_published_number_of_a_cell_is_recorded():
    argv = [
        "--trainer",
        "ZeroshotCLIP",
        "--dataset-config-file",
        "configs/datasets/pacs.yaml",
        "--backbone",
        "ViT-B/16",
    ]
    cfg, _ = build_cfg([*argv, "--target-domains", "sketch", "PROTOCOL", "multi_source"])
    assert expected_accuracy(cfg) == 88.2
    cfg, _ = build_cfg([*argv, "--target-domains", "sketch"])
    assert expected_accuracy(cfg) is None
