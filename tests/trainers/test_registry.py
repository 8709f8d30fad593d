"""Every registered trainer, whatever it is: documented, configured, and able to run one epoch on the mini world."""

import inspect
import json
import re
from pathlib import Path

import pytest
import torch

from dassl.engine import TRAINER_REGISTRY, build_trainer
from promptshift.bases.prompt_trainer import PromptTrainer
from promptshift.paths import load_plugins
from promptshift.runs.config import build_cfg, flatten
from promptshift.runs.finished_run import load_tested
from promptshift.runs.run import main

load_plugins()
CHECKOUT = Path(__file__).resolve().parents[2]
OURS = sorted(
    {
        cls
        for name in TRAINER_REGISTRY.registered_names()
        if (cls := TRAINER_REGISTRY.get(name)).__module__.startswith("trainers.")
    },
    key=lambda c: c.__name__,
)
MINI = sorted(path.parent.name for path in (CHECKOUT / "configs" / "trainers").glob("*/mini.yaml"))


@pytest.mark.parametrize("cls", OURS, ids=lambda c: c.__name__)
def test_docstring_names_the_paper_and_the_differences(cls):
    text = inspect.getdoc(cls)
    assert re.search(r"arXiv \d{4}\.\d{4,5}", text + (inspect.getdoc(cls.__mro__[1]) or "")), text
    if issubclass(cls, PromptTrainer):
        assert "iffers from" in text or "iffers from" in inspect.getdoc(cls.__mro__[1])


@pytest.mark.parametrize("trainer", MINI)
def test_configurations_and_script(trainer):
    folder = CHECKOUT / "configs" / "trainers" / trainer
    assert (folder / "default.yaml").is_file()
    mentions = [path for path in (CHECKOUT / "scripts").rglob("*.sh") if trainer in path.read_text()]
    assert mentions or trainer == "CoOp", f"no script runs {trainer}"  # coop_main names it in Python


@pytest.fixture
def tiny(mini_root, tmp_path, monkeypatch):
    """tiny(trainer) -> command line of a one-epoch run on one source domain."""
    monkeypatch.chdir(CHECKOUT)
    monkeypatch.setenv("OUTPUT", str(tmp_path / "output"))

    def command(trainer):
        argv = [
            "--root",
            str(mini_root),
            "--seed",
            "3",
            "--trainer",
            trainer,
            "--dataset-config-file",
            "configs/datasets/mini.yaml",
            "--config-file",
            f"configs/trainers/{trainer}/mini.yaml",
            "--source-domains",
            "photo",
            "--target-domains",
            "sketch",
            "--output-dir",
            str(tmp_path / "run"),
        ]
        cfg, _ = build_cfg(argv)
        options = ["OPTIM.MAX_EPOCH", 1]
        if cfg.DATALOADER.TRAIN_X.FEATURE_VIEWS:
            options += ["DATALOADER.TRAIN_X.FEATURE_VIEWS", 1]
        block = (
            f"TRAINER.{TRAINER_REGISTRY.get(trainer).BLOCK}.LABELS."
            if hasattr(TRAINER_REGISTRY.get(trainer), "BLOCK")
            else "-"
        )
        for key in flatten(cfg):
            if key.startswith(block) and key.rsplit(".", 1)[1] in ("MAX_EPOCH", "FEATURE_VIEWS"):
                options += [key, 1]
        return [*argv, *map(str, options)]

    return command


@pytest.mark.parametrize("trainer", MINI)
def test_one_epoch_then_the_same_logits_alone_and_in_a_batch(trainer, tiny, tmp_path):
    argv = tiny(trainer)
    assert main(argv) == 0
    record = json.loads((tmp_path / "run" / "result.json").read_text())
    assert record["status"] == "complete" and 0 <= record["metrics"]["accuracy"] <= 100
    built = build_trainer(build_cfg(argv)[0])
    folder = str(tmp_path / "run")
    load_tested(built, folder)
    built.set_model_mode("eval")
    images = next(iter(built.test_loader))["img"][:4]
    with torch.no_grad():
        together = built.model_inference(images)
        for i in range(4):
            torch.testing.assert_close(built.model_inference(images[i : i + 1])[0], together[i], atol=1e-3, rtol=1e-4)
