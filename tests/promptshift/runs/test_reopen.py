"""A finished run is opened in one way: with its images or without them, with its own weights or another run's."""

import pytest
import torch

from dassl.utils.errors import UserError
from helpers.mini_runs import arguments
from promptshift.runs.reopen import reopen
from promptshift.runs.run import main

SHORT = ("OPTIM.MAX_EPOCH", 1, "DATASET.SUBSAMPLE_CLASSES", "base")


def test_images_bring_the_run_s_own_numbers(train, tmp_path, capsys):
    record = train("DPSPG", "OPTIM.MAX_EPOCH", 1)
    capsys.readouterr()
    with_images, without = reopen(tmp_path / "run", images=True), reopen(tmp_path / "run")
    assert capsys.readouterr().out == ""
    assert with_images.evaluate_loader(with_images.test_loader) == record["metrics"]
    assert without.test_loader is None and without.lab2cname == with_images.lab2cname
    images = next(iter(with_images.test_loader))["img"][:3]
    with torch.no_grad():
        assert torch.equal(without.model_inference(images), with_images.model_inference(images))


def test_a_run_that_tested_another_s_weights(train, tmp_path, mini_root):
    train("CoOp", *SHORT, folder="trained")
    evaluation = arguments(mini_root, tmp_path / "tested", "CoOp", *SHORT[:2], "DATASET.SUBSAMPLE_CLASSES", "new")
    assert main(["--eval-only", "--model-dir", str(tmp_path / "trained"), *evaluation]) == 0
    trainer = reopen(tmp_path / "tested", images=True, trained=tmp_path / "trained")
    saved = torch.load(next((tmp_path / "trained" / "prompt_learner").glob("model*")), weights_only=True)
    assert torch.equal(trainer.prompt_learner.ctx, saved["state_dict"]["ctx"]) and trainer.num_classes == 10
    with pytest.raises(UserError, match="no model at"):
        reopen(tmp_path / "tested")


@pytest.mark.parametrize("images", [True, False])
def test_a_folder_without_a_run_is_named(images, tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(UserError, match=str(folder)):
            reopen(folder, images=images)
