"""PromptSRC against promptsrc.json: released PromptSRC on the same weights; the mean of prompts over epochs."""

import shutil

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import helpers.goldens_recipe as recipe
from helpers.golden_trainers import (
    assert_logits,
    assert_parameters,
    assert_sgd_step,
    assert_token_ids,
    batch,
    sgd,
    trainer_on_golden_clip,
)
from promptshift.modeling.templates import IMAGENET_60
from trainers.promptsrc import PromptSRC, gaussian

GOLDEN = recipe.golden("promptsrc")
CASES = GOLDEN["cases"]
SMALL = (
    "DATASET.SOURCE_DOMAINS",
    ["photo"],
    "DATASET.NUM_SHOTS",
    4,
    "TRAINER.PROMPTSRC.GPA_MEAN",
    2,
    "TEST.FINAL_MODEL",
    "last_step",
)


def golden_promptsrc(case, **options):
    golden, config = CASES[case], CASES[case]["config"]
    trainer = trainer_on_golden_clip(
        PromptSRC,
        N_CTX_TEXT=config["nt"],
        N_CTX_VISION=config["nv"],
        CTX_INIT=config["init"],
        PROMPT_DEPTH_VISION=config["vd"],
        PROMPT_DEPTH_TEXT=config["td"],
        **options,
    )
    trainer.prompt_learner.load_state_dict({name: recipe.train_value(**t) for name, t in golden["trainable"].items()})
    return trainer, golden


@pytest.mark.stored
@pytest.mark.parametrize("case", CASES)
def test_a_step_equals_the_released_code(case):
    trainer, golden = golden_promptsrc(case)
    assert sorted(IMAGENET_60) == sorted(GOLDEN["templates"]) and len(IMAGENET_60) == GOLDEN["n_templates"]
    assert_token_ids(trainer.prompt_learner.template, golden["token_ids"])
    hand = F.normalize(torch.tensor(golden["fixed_embeddings_unnormalised_mean_over_templates"]), dim=-1)
    torch.testing.assert_close(trainer.frozen_classes, hand, atol=1e-4, rtol=0)
    frozen = trainer.batch_features(batch())
    released = F.normalize(torch.tensor(golden["zs_image_features_unnormalised"]), dim=-1)
    torch.testing.assert_close(frozen, released, atol=1e-4, rtol=0)
    assert_logits(trainer.clip.logit_scale * frozen @ trainer.frozen_classes.T, golden["zero_shot_logits"])
    assert_sgd_step(trainer, trainer.prompt_learner, golden, batch())


@pytest.mark.stored
@pytest.mark.parametrize("case", CASES)
def test_each_term_equals_the_released_code_s(case):
    trainer, golden = golden_promptsrc(case)
    parts, expected = trainer.loss(batch()), golden["components"]
    rest = parts["loss"] - parts["text_l1"] - parts["image_l1"] - parts["kl"]
    assert rest.item() == pytest.approx(expected["loss_ce"], rel=5e-5)
    assert parts["loss"].item() == pytest.approx(expected["total"], rel=5e-5)
    assert parts["text_l1"].item() == pytest.approx(25 * expected["l1_text_mean_unweighted"], rel=5e-5)
    assert parts["image_l1"].item() == pytest.approx(10 * expected["l1_image_mean_unweighted"], rel=5e-5)
    assert parts["kl"].item() == pytest.approx(
        expected["kl_sum_before_dividing_by_numel"] / expected["numel"], rel=5e-5
    )


@pytest.mark.parametrize("case", GOLDEN["gpa_weights_epoch_1_to_N"])
def test_weights_of_epochs_are_the_released_ones(case):
    mean, std, epochs = (float(word.strip("meanstdN")) for word in case.split("_"))
    weights = np.array([gaussian(e + 1, mean, std) for e in range(int(epochs))])
    np.testing.assert_allclose(weights / weights.sum(), GOLDEN["gpa_weights_epoch_1_to_N"][case], rtol=1e-5)


@pytest.mark.stored
def test_three_epochs_end_in_the_released_mean():
    trainer, _ = golden_promptsrc("v3_t3_n2", GPA_MEAN=2.0, GPA_STD=1.0)
    expected = GOLDEN["gpa_run_3_epochs_1_batch_each_mean2_std1"]
    optimizer, trainer.max_epoch, weights = sgd(trainer.prompt_learner.parameters()), 3, []
    for trainer.epoch, (lr, epoch) in enumerate(zip(expected["lr_per_epoch"], expected["per_epoch_after_step"])):
        optimizer.param_groups[0]["lr"] = lr
        loss = trainer.loss(batch())["loss"]
        assert loss.item() == pytest.approx(epoch["loss"], rel=2e-4)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        ctx = trainer.prompt_learner.prompt_learner.ctx.detach()
        assert ctx.norm() == pytest.approx(epoch["ctx_l2"], rel=5e-4)
        assert recipe.probe("prompt_learner.ctx", ctx) == pytest.approx(epoch["ctx_probe"], abs=1e-3 * epoch["ctx_l2"])
        weights.append(gaussian(trainer.epoch + 1, 2.0, 1.0))
        trainer.aggregate()
    released = [epoch["weight"] for epoch in expected["per_epoch_after_step"]]
    assert [weight / sum(weights) for weight in weights] == pytest.approx(released, rel=1e-6)
    assert_parameters(dict(trainer.prompt_learner.named_parameters()), expected["final_param"])
    with torch.no_grad():
        assert_logits(trainer.predict(batch()["img"]), expected["final_logits"], atol=1e-3)


def saved(folder, epoch):
    path = folder / "VLPromptLearner" / f"model.pth.tar-{epoch}"
    return torch.load(path, weights_only=True)["state_dict"]


def test_two_epochs_and_two_more_are_four_bit_for_bit(run, tmp_path):
    options = (*SMALL, "OPTIM.MAX_EPOCH", 4, "TRAIN.CHECKPOINT_FREQ", 2)
    whole = run("PromptSRC", *options, folder="whole")
    (tmp_path / "first" / "VLPromptLearner").mkdir(parents=True)
    shutil.copy(tmp_path / "whole" / "VLPromptLearner" / "model.pth.tar-2", tmp_path / "first" / "VLPromptLearner")
    rest = run("PromptSRC", *options, "RESUME", tmp_path / "first", folder="rest")
    assert rest["metrics"] == whole["metrics"]
    mean, again = saved(tmp_path / "whole", 4), saved(tmp_path / "rest", 4)
    for name, value in mean.items():
        assert torch.equal(value, again[name]), name
        assert not torch.equal(value, saved(tmp_path / "whole", 2)[name])


def test_a_finished_run_goes_on_from_its_prompts_and_not_from_their_mean(run, tmp_path):
    constant = (*SMALL, "OPTIM.LR_SCHEDULER", "single_step", "OPTIM.STEPSIZE", [100], "OPTIM.WARMUP_EPOCH", 0)
    run("PromptSRC", *constant, "OPTIM.MAX_EPOCH", 4, folder="whole")
    run("PromptSRC", *constant, "OPTIM.MAX_EPOCH", 2, folder="run")
    tested = run("PromptSRC", *constant, "OPTIM.MAX_EPOCH", 2, folder="run")  # nothing left to train
    alone = run("PromptSRC", *constant, "OPTIM.MAX_EPOCH", 2, folder="eval", model_dir="run")
    assert tested["metrics"] == alone["metrics"]
    run("PromptSRC", *constant, "OPTIM.MAX_EPOCH", 4, folder="run")
    whole, longer = saved(tmp_path / "whole", 4), saved(tmp_path / "run", 4)
    assert all(torch.equal(value, longer[name]) for name, value in whole.items())


def test_a_checkpoint_without_the_mean_is_not_resumed(run, refused, tmp_path):
    run("PromptSRC", *SMALL, "TRAIN.CHECKPOINT_FREQ", 1, folder="whole")
    path = tmp_path / "released" / "VLPromptLearner" / "model.pth.tar-1"
    path.parent.mkdir(parents=True)
    state = torch.load(tmp_path / "whole" / "VLPromptLearner" / "model.pth.tar-1", weights_only=True)
    torch.save({key: value for key, value in state.items() if key != "trainer_state"}, path)
    assert "no prompt mean" in refused("PromptSRC", *SMALL, "RESUME", tmp_path / "released")


@pytest.mark.parametrize(
    "options, words",
    [
        (("TRAINER.PROMPTSRC.GPA_STD", 0), ("GPA_STD", "above 0")),
        (("TRAINER.PROMPTSRC.GPA_MEAN", 500), ("GPA_MEAN", "500", "MAX_EPOCH")),
        (("TRAINER.PROMPTSRC.TEMPLATES", ["a photo"]), ("TEMPLATES", "a photo", "{}")),
        (("TRAINER.PROMPTSRC.PROMPT_DEPTH_TEXT", 9), ("PROMPTSRC.PROMPT_DEPTH_TEXT", "9", "1 to 3")),
    ],
)
def test_bad_input_is_named(refused, options, words):
    line = refused("PromptSRC", *options)
    assert all(word in line for word in words), line


def test_images_stand_alone(assert_images_stand_alone):
    assert_images_stand_alone(golden_promptsrc("v3_t3_n4")[0])
