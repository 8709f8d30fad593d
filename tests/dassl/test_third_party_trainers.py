"""Trainer files of the public repositories' kind run on `dassl` and `clip` alone, with the numbers of ours."""

import importlib
import json
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F
from yacs.config import CfgNode as CN

import helpers.goldens_recipe as recipe
from clip import clip
from dassl.utils.errors import UserError
from helpers.golden_trainers import assert_gradients, assert_logits, assert_parameters, batch, sgd
from helpers.third_party import drop_in
from promptshift.cli.predict import main as predict
from promptshift.paths import load_plugins
from promptshift.runs.config import build_cfg
from promptshift.runs.run import main

CHECKOUT = Path(__file__).resolve().parents[2]
GOLDEN = {
    "coop": dict(
        end={"N_CTX": 4},
        end_words={"N_CTX": 4, "CTX_INIT": "a photo of a"},
        end_nctx16={"N_CTX": 16},
        end_rn={"N_CTX": 4},
    ),
    "maple": dict(
        depth3_nctx2_words={"N_CTX": 2, "CTX_INIT": "a photo of a", "PROMPT_DEPTH": 3},
        depth1_nctx2_words={"N_CTX": 2, "CTX_INIT": "a photo of a", "PROMPT_DEPTH": 1},
        depth3_nctx4_words={"N_CTX": 4, "CTX_INIT": "a photo of a", "PROMPT_DEPTH": 3},
    ),
    "ivlp": dict(
        v3_t3_n2={"PROMPT_DEPTH_VISION": 3, "PROMPT_DEPTH_TEXT": 3},
        v0_t3_n2={"PROMPT_DEPTH_VISION": 0, "PROMPT_DEPTH_TEXT": 3},
        v3_t3_v3ctx_t2ctx={"PROMPT_DEPTH_VISION": 3, "PROMPT_DEPTH_TEXT": 3, "N_CTX_VISION": 3, "CTX_INIT": ""},
    ),
}
DEFAULTS = {"coop": dict(CTX_INIT=""), "maple": {}, "ivlp": dict(N_CTX_VISION=2, N_CTX_TEXT=2, CTX_INIT="a photo of a")}


@pytest.mark.stored
@pytest.mark.parametrize("file, case", [(file, case) for file, cases in GOLDEN.items() for case in cases])
def test_a_step_equals_the_released_code_on_its_own_clip(file, case, monkeypatch):
    module, golden = drop_in(file, monkeypatch), recipe.golden(file)["cases"][case]
    trainer_class = getattr(module, {"coop": "CoOp", "maple": "MaPLe", "ivlp": "IVLP"}[file])
    cfg = CN({"TRAINER": {trainer_class.block: DEFAULTS[file] | GOLDEN[file][case]}})
    kind = "rn" if case.endswith("rn") else "vit"
    clip_model = clip.build_model(recipe.state_dict(kind), trainer_class.design(cfg)).float()
    model = module.CustomCLIP(cfg, recipe.CLASSNAMES, clip_model)
    learnt = {name: param.requires_grad_(trainer_class.learns(name)) for name, param in model.named_parameters()}
    learnt = {
        name.removeprefix("prompt_learner.") if file == "coop" else name: param
        for name, param in learnt.items()
        if param.requires_grad
    }
    if not isinstance(golden["trainable"].get("ctx"), str):
        assert set(learnt) == set(golden["trainable"])
        with torch.no_grad():
            for name, value in golden["trainable"].items():
                learnt[name].copy_(recipe.train_value(**value))
    data = batch(64 if kind == "rn" else 32)
    logits = model(data["img"])
    assert_logits(logits, golden["logits_init"])
    loss = F.cross_entropy(logits, data["label"])
    assert loss.item() == pytest.approx(golden["loss_summary"]["loss"], rel=5e-5)
    loss.backward()
    assert_gradients(learnt, golden["grad"])
    sgd(learnt.values()).step()
    assert_parameters(learnt, golden["param_after_step"])
    assert_logits(model(data["img"]), golden["logits_after_step"], atol=3e-4)


@pytest.fixture
def command(mini_root, tmp_path, monkeypatch):
    """command(trainer, folder, *options) -> command line of two short epochs from photo to sketch."""
    monkeypatch.chdir(CHECKOUT)
    monkeypatch.setenv("OUTPUT", str(tmp_path / "output"))

    def arguments(trainer, folder, *options):
        return [
            "--root",
            str(mini_root),
            "--seed",
            "3",
            "--trainer",
            trainer,
            "--dataset-config-file",
            "configs/datasets/mini.yaml",
            "--config-file",
            "configs/trainers/CoOp/mini.yaml",
            "--source-domains",
            "photo",
            "--target-domains",
            "sketch",
            "--output-dir",
            str(tmp_path / folder),
            "OPTIM.MAX_EPOCH",
            "2",
            "DATASET.NUM_SHOTS",
            "4",
            "DATALOADER.TRAIN_X.FEATURE_VIEWS",
            "0",
            "TEST.FINAL_MODEL",
            "last_step",
            *options,
        ]

    return arguments


def record(folder):
    return json.loads((folder / "result.json").read_text())


@pytest.mark.parametrize(
    "file, trainer, learner, options",
    [
        ("coop", "CoOp", "prompt_learner", ["CTX_INIT", "", "N_CTX", "4"]),
        ("coop", "CoOp", "prompt_learner", ["CTX_INIT", "a photo of a"]),
        ("maple", "MaPLe", "MultiModalPromptLearner", ["PROMPT_DEPTH", "3", "PREC", "fp32"]),
    ],
)
def test_a_dropped_in_file_learns_what_ours_learns_and_predicts(
    file, trainer, learner, options, command, mini_root, tmp_path, monkeypatch, capsys
):
    load_plugins()
    options = [f"TRAINER.{trainer.upper()}.{word}" if word.isupper() else word for word in options]
    assert main(command(trainer, "ours", *options)) == 0
    drop_in(file, monkeypatch)
    assert main(command(trainer, "theirs", *options)) == 0
    ours, theirs = record(tmp_path / "ours"), record(tmp_path / "theirs")
    assert theirs["status"] == "complete" and theirs["trainer"] == trainer
    assert [e["loss"] for e in theirs["history"]] == pytest.approx([e["loss"] for e in ours["history"]], rel=1e-4)
    assert theirs["metrics"]["accuracy"] == pytest.approx(ours["metrics"]["accuracy"], abs=0.5)  # one image of 240
    contexts = []
    for run in ("ours", "theirs"):
        state = torch.load(tmp_path / run / learner / "model.pth.tar-2", weights_only=True)["state_dict"]
        contexts += [value for name, value in state.items() if name.endswith("ctx")]
    torch.testing.assert_close(*contexts, rtol=5e-4, atol=1e-5)
    image = str(next((mini_root / "mini_dg").rglob("*.png")))
    capsys.readouterr()
    assert predict(["--run", str(tmp_path / "theirs"), "--topk", "1", image]) == 0
    assert capsys.readouterr().out.startswith(image)


@pytest.mark.parametrize(
    "file, trainer, options, learnt",
    [
        (
            "maple",
            "MaPLe",
            {"N_CTX": 2, "CTX_INIT": "a photo of a", "PROMPT_DEPTH": 9},
            "prompt_learner.compound_prompts_text.1",
        ),
        (
            "ivlp",
            "IVLP",
            {
                "N_CTX_VISION": 2,
                "N_CTX_TEXT": 2,
                "CTX_INIT": "a photo of a",
                "PROMPT_DEPTH_VISION": 9,
                "PROMPT_DEPTH_TEXT": 9,
            },
            "image_encoder.transformer.resblocks.3.VPT_shallow",
        ),
    ],
)
def test_a_replaced_file_finds_its_public_block_trains_and_loads(
    file, trainer, options, learnt, command, tmp_path, monkeypatch
):
    drop_in(file, monkeypatch)
    options_given = [f"TRAINER.{trainer.upper()}.PREC", "fp32", "TRAIN.CHECKPOINT_FREQ", "1"]
    argv = command(trainer, "run", *options_given)
    assert dict(build_cfg(argv)[0].TRAINER[trainer.upper()]) == options | {"PREC": "fp32"}
    assert main(argv) == 0
    folder = next((tmp_path / "run").glob("*PromptLearner"))
    first, second = (torch.load(folder / f"model.pth.tar-{epoch}", weights_only=True)["state_dict"] for epoch in (1, 2))
    assert not torch.equal(first[learnt], second[learnt])
    frozen = [key for key in second if torch.equal(first[key], second[key])]
    assert "image_encoder.transformer.resblocks.0.attn.in_proj_weight" in frozen
    load = ["--eval-only", "--model-dir", str(tmp_path / "run"), "--load-epoch", "2"]
    assert main([*load, *command(trainer, "again", *options_given)]) == 0
    assert record(tmp_path / "again")["metrics"] == record(tmp_path / "run")["metrics"]


def test_a_second_file_for_a_name_is_one_clear_line(monkeypatch):
    load_plugins()
    for module in [module for module in sys.modules if module.startswith("helpers.third_party.")]:
        monkeypatch.delitem(sys.modules, module)
    with pytest.raises(
        UserError,
        match="'CoOp' is already registered in 'TRAINER' by trainers.coop; helpers.third_party.coop wants it too",
    ) as error:
        importlib.import_module("helpers.third_party.coop")
    assert isinstance(error.value, KeyError) and "\n" not in str(error.value)  # upstream raises a KeyError
