"""Programs of the public repositories beside train.py: TPT's command line, CoOp's prompts, curves and linear probe."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from promptshift.cli.upstream.programs import draw_curves, interpret_prompt, linear_probe
from promptshift.cli.upstream.tpt_words import main as tpt
from promptshift.mini.weights import load_mini_state_dict
from promptshift.runs.config import build_cfg

CHECKOUT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def places(monkeypatch, tmp_path):
    for name in ("DATA", "OUTPUT", "GPUS"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()) if name != "GPUS" else "")
    for name in ("SEEDS", "CFG", "SOURCE", "DRY_RUN"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def planned(out):
    """Configuration and flags of every job of a dry run."""
    return [build_cfg(shlex.split(line)[2:]) for line in out.splitlines()[1::2]]


def test_tpt_s_own_words_set_its_keys(places, capsys):
    words = "--test_sets A/DTD -a ViT-B/16 -b 32 -j 2 -p 50 --lr 0.01 --selection_p 0.2 --tta_steps 2 --tpt --gpu 0"
    assert tpt([str(places), *words.split(), "--ctx_init", "a_photo_of_a", "--seed", "4", "--dry-run"]) == 0
    jobs = planned(capsys.readouterr().out)
    assert [cfg.DATASET.NAME for cfg, _ in jobs] == ["ImageNetA", "DescribableTextures"]
    for cfg, args in jobs:
        o = cfg.TRAINER.TPT
        assert (o.VIEWS, o.LR, o.TPT_THRESHOLD, o.TTA_STEPS, o.CTX_INIT) == (32, 0.01, 0.2, 2, "a photo of a")
        assert (cfg.MODEL.BACKBONE.NAME, cfg.SEED, cfg.DATASET.ROOT) == ("ViT-B/16", 4, str(places))
        assert (cfg.DATALOADER.NUM_WORKERS, cfg.TRAIN.PRINT_FREQ, args.eval_only) == (2, 50, True)


@pytest.mark.parametrize("flags, prompt", [([], "CoOp"), (["--cocoop"], "CoCoOp")])
def test_tpt_loads_what_a_run_learnt_and_trains_nothing(places, capsys, flags, prompt):
    file = places / "run" / "prompt_learner" / "model.pth.tar-50"
    file.parent.mkdir(parents=True)
    file.touch()
    assert tpt([str(places), "--test_sets", "A", "--tpt", "--load", str(file), *flags, "--dry-run"]) == 0
    ((cfg, args),) = planned(capsys.readouterr().out)
    assert (cfg.TRAINER.TPT.PROMPT, args.model_dir) == (prompt, str(places / "run"))


def test_tpt_without_its_flag_tests_the_prompts_as_they_are(places, capsys):
    assert tpt([str(places), "--test_sets", "V", "--dry-run"]) == 0
    ((cfg, _),) = planned(capsys.readouterr().out)
    assert cfg.TRAINER.TPT.LR == 0 and (cfg.MODEL.BACKBONE.NAME, cfg.SEED) == ("RN50", 0)


@pytest.mark.parametrize(
    "words, named",
    [
        ("--dataset_mode train", "--dataset_mode train"),
        ("--load nothing.pth", "--load nothing.pth"),
        ("--test_sets Z", "Z"),
        ("--no_such_flag", "no_such_flag"),
        ("--seed one", "one"),
    ],
)
def test_wrong_words_of_tpt_are_one_line(places, capsys, words, named):
    assert tpt([str(places), *words.split(), "--dry-run"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and named in error


def test_interpret_prompt_finds_the_words_that_a_context_is_made_of(places, capsys):
    """Context vectors that are embeddings of words have distance 0 to those."""
    table = load_mini_state_dict()["token_embedding.weight"].float()
    file = places / "run" / "prompt_learner" / "model.pth.tar-1"
    file.parent.mkdir(parents=True)
    torch.save({"state_dict": {"ctx": table[[320, 1125]]}, "epoch": 1}, file)
    assert interpret_prompt([str(file), "3", "--backbone", "mini"]) == 0
    first, second = capsys.readouterr().out.splitlines()[-2:]
    assert first.startswith("1: ['a', ") and second.startswith("2: ['photo', ") and "'0.0000'" in first
    assert interpret_prompt([str(file), "0"]) == 2 and capsys.readouterr().err.count("\n") == 1
    assert interpret_prompt([str(places / "absent"), "3"]) == 2 and capsys.readouterr().err.count("\n") == 1


def test_the_linear_probe_runs_coops_sweep(capsys):
    assert linear_probe("--dataset OxfordPets --feature_dir clip_feat --num_step 8 --num_run 3 --dry-run".split()) == 0
    jobs = planned(capsys.readouterr().out)
    assert {cfg.DATASET.NUM_SHOTS for cfg, _ in jobs} == {1, 2, 4, 8, 16} and {cfg.SEED for cfg, _ in jobs} == {1, 2, 3}
    assert {(cfg.DATASET.NAME, cfg.MODEL.BACKBONE.NAME) for cfg, _ in jobs} == {("OxfordPets", "RN50")}


def test_curves_are_planned_for_a_dataset(capsys):
    assert draw_curves(["mini_b2n", "--dry-run"]) == 0
    assert {cfg.TRAINER.NAME for cfg, _ in planned(capsys.readouterr().out)} >= {"CoOp", "LinearProbe"}


@pytest.mark.parametrize(
    "program",
    ["tpt_classification.py", "interpret_prompt.py", "interpret_prompts/interpret_prompt.py", "lpclip/linear_probe.py"],
)
def test_the_programs_start_from_any_folder(places, program):
    command = [sys.executable, str(CHECKOUT / program), "--help"]
    done = subprocess.run(command, cwd=places, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and Path(program).stem in done.stdout


@pytest.mark.parametrize("name", ["linear_probe.sh", "feat_extractor.sh"])
def test_lpclip_s_scripts_run(places, name):
    import os

    environment = {**os.environ, "DRY_RUN": "1", "SEEDS": "1", "PYTHON": sys.executable}
    done = subprocess.run(
        ["sh", str(CHECKOUT / "lpclip" / name)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and ("LinearProbe" in done.stdout or "linear_probe.sh" in done.stdout)
