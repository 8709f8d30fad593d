"""VPT against vpt.json: released VPT on the same weights, one SGD step, shallow and deep."""

import pytest

import helpers.goldens_recipe as recipe
from dassl.utils.errors import UserError
from helpers.golden_trainers import (
    assert_sgd_step,
    batch,
    trainer_on_golden_clip,
)
from trainers.vpt import VPT

CASES = recipe.golden("vpt")["cases"]


def golden_vpt(case):
    golden = CASES[case]
    trainer = trainer_on_golden_clip(
        VPT, N_CTX_VISION=golden["config"]["n"], PROMPT_DEPTH_VISION=golden["config"]["vd"]
    )
    released = {name: recipe.train_value(**t) for name, t in golden["trainable"].items()}
    clip = {f"image_encoder.{k.removeprefix('visual.')}": v for k, v in recipe.state_dict().items()}
    trainer.prompt_learner.load_state_dict({**clip, **released})  # released files hold all of CLIP
    return trainer, golden


@pytest.mark.stored
@pytest.mark.parametrize("case", CASES)
def test_a_step_equals_the_released_code(case):
    trainer, golden = golden_vpt(case)
    learner = trainer.prompt_learner
    assert set(learner.state_dict()) == set(golden["trainable"])
    assert_sgd_step(trainer, learner, golden, batch())


def test_images_stand_alone(assert_images_stand_alone):
    assert_images_stand_alone(golden_vpt("depth3_n2")[0])


def test_a_checkpoint_of_other_prompts_is_refused():
    trainer, _ = golden_vpt("depth1_n4")
    with pytest.raises(RuntimeError, match="resblocks.1.VPT_shallow"):
        golden_vpt("depth3_n2")[0].prompt_learner.load_state_dict(trainer.prompt_learner.state_dict())


def test_a_resnet_is_refused_by_name():
    with pytest.raises(UserError, match="MODEL.BACKBONE.NAME.*VPT.*golden-rn"):
        trainer_on_golden_clip(VPT, "rn")


def test_a_run_learns_and_evaluates_alone(run):
    record = run("VPT", "TRAINER.VPT.PROMPT_DEPTH_VISION", 2)
    losses = [epoch["loss"] for epoch in record["history"]]
    assert losses[-1] < losses[0]
    assert (
        run("VPT", "TRAINER.VPT.PROMPT_DEPTH_VISION", 2, folder="eval", model_dir="run")["metrics"] == record["metrics"]
    )


def test_stored_views_are_refused(refused):
    line = refused("VPT", "DATALOADER.TRAIN_X.FEATURE_VIEWS", 1)
    assert "FEATURE_VIEWS" in line and "VPT" in line
