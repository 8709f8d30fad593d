"""Small runs of a trainer on the mini world, and the check that every trainer's prediction stands alone."""

import json

import pytest
import torch

import helpers.goldens_recipe as recipe
from dassl.engine import build_trainer
from helpers.mini_runs import arguments
from promptshift.runs.config import build_cfg
from promptshift.runs.run import main


@pytest.fixture
def command(mini_root, tmp_path, monkeypatch, request):
    """command(trainer, *options, folder, model_dir, config) -> arguments of train.py; no stored views by default."""
    monkeypatch.chdir(request.config.rootpath)
    monkeypatch.setenv("OUTPUT", str(tmp_path / "output"))

    def make(trainer, *options, folder="run", model_dir="", config=""):
        argv = arguments(
            mini_root, tmp_path / folder, config or trainer, "DATALOADER.TRAIN_X.FEATURE_VIEWS", 0, *options
        )
        argv[argv.index("--trainer") + 1] = trainer
        evaluation = ["--eval-only", "--model-dir", str(tmp_path / model_dir)] if model_dir else []
        return [*evaluation, *argv]

    return make


@pytest.fixture
def run(command, tmp_path):
    """run(trainer, *options, folder="run", ...) -> result.json of a run that must succeed."""

    def train(trainer, *options, folder="run", **kwargs):
        assert main(command(trainer, *options, folder=folder, **kwargs)) == 0
        return json.loads((tmp_path / folder / "result.json").read_text())

    return train


@pytest.fixture
def refused(command, capsys):
    """refused(trainer, *options) -> the one line that a refused run prints."""

    def train(trainer, *options):
        assert main(command(trainer, *options)) == 2
        line = capsys.readouterr().err.strip()
        assert line.startswith("error: ") and "\n" not in line, line
        return line

    return train


@pytest.fixture
def build(command):
    """build(trainer, *options) -> the trainer as train.py builds it."""
    return lambda trainer, *options: build_trainer(build_cfg(command(trainer, *options))[0])


@pytest.fixture
def assert_images_stand_alone():
    """Asserts that an image's logits depend neither on its batch nor on how many there are in it."""

    @torch.no_grad()
    def check(trainer, res=32):
        for module in getattr(trainer, "modules", {}).values():
            module.eval()
        images = recipe.images(tag=7, batch=5, res=res)
        together = trainer.model_inference(images)
        assert (together[0] - together[1]).abs().max() > 1e-3  # of one mind about all images it would prove nothing
        for i in range(5):
            torch.testing.assert_close(trainer.model_inference(images[i : i + 1])[0], together[i], atol=1e-4, rtol=0)
        changed = torch.cat([images[:1], recipe.images(tag=8, batch=3, res=res)])
        torch.testing.assert_close(trainer.model_inference(changed)[0], together[0], atol=1e-4, rtol=0)

    return check
