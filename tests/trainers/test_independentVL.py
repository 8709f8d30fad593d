"""IVLP against ivlp.json: released independent prompting on the same weights, one SGD step, either tower or both."""

import pytest

import helpers.goldens_recipe as recipe
from dassl.utils.errors import UserError
from helpers.golden_trainers import assert_sgd_step, assert_token_ids, batch, trainer_on_golden_clip
from trainers.independentVL import IVLP
from trainers.vpt import VPT

CASES = recipe.golden("ivlp")["cases"]


def golden_ivlp(case):
    golden, config = CASES[case], CASES[case]["config"]
    trainer = trainer_on_golden_clip(
        IVLP,
        N_CTX_TEXT=config["n"],
        N_CTX_VISION=config.get("nv", config["n"]),
        CTX_INIT=config["init"],
        PROMPT_DEPTH_VISION=config["vd"],
        PROMPT_DEPTH_TEXT=config["td"],
    )
    trainer.prompt_learner.load_state_dict({name: recipe.train_value(**t) for name, t in golden["trainable"].items()})
    return trainer, golden


@pytest.mark.stored
@pytest.mark.parametrize("case", CASES)
def test_a_step_equals_the_released_code(case):
    trainer, golden = golden_ivlp(case)
    assert set(trainer.prompt_learner.state_dict()) == set(golden["trainable"])
    assert_token_ids(trainer.prompt_learner.template, golden["token_ids"])
    assert_sgd_step(trainer, trainer.prompt_learner, golden, batch())


def test_without_text_prompts_it_is_deep_vision_prompting():
    ours = trainer_on_golden_clip(IVLP, PROMPT_DEPTH_TEXT=0, PROMPT_DEPTH_VISION=3)
    theirs = trainer_on_golden_clip(VPT, PROMPT_DEPTH_VISION=3)
    ours.prompt_learner.load_state_dict(theirs.prompt_learner.state_dict())
    images = batch()["img"]
    assert (ours.predict(images) == theirs.predict(images)).all()


def test_language_prompts_run_on_any_backbone():
    trainer = trainer_on_golden_clip(IVLP, "rn", PROMPT_DEPTH_VISION=0, PROMPT_DEPTH_TEXT=3)
    assert trainer.loss(batch(64))["loss"].requires_grad


def test_images_stand_alone(assert_images_stand_alone):
    assert_images_stand_alone(golden_ivlp("v3_t3_v3ctx_t2ctx")[0])


@pytest.mark.parametrize(
    "options, words",
    [
        (dict(PROMPT_DEPTH_TEXT=5), "IVLP.PROMPT_DEPTH_TEXT: 5; allowed: 1 to 4"),
        (dict(PROMPT_DEPTH_TEXT=3, PROMPT_DEPTH_VISION=5), "IVLP.PROMPT_DEPTH_VISION: 5; allowed: 1 to 4"),
        (dict(PROMPT_DEPTH_TEXT=0, PROMPT_DEPTH_VISION=0), "IVLP.PROMPT_DEPTH_VISION: 0.*nothing to learn"),
        (dict(PROMPT_DEPTH_TEXT=3, N_CTX_TEXT=0), "IVLP.N_CTX_TEXT: 0"),
        (dict(kind="rn", PROMPT_DEPTH_TEXT=3), "MODEL.BACKBONE.NAME.*IVLP.*golden-rn"),
    ],
)
def test_bad_input_is_named(options, words):
    with pytest.raises(UserError, match=words):
        trainer_on_golden_clip(IVLP, **options)


@pytest.mark.parametrize("towers", [(2, 2), (0, 2), (2, 0)], ids=["both", "language", "vision"])
def test_a_run_learns_and_evaluates_alone(run, towers):
    options = (
        "TRAINER.IVLP.PROMPT_DEPTH_VISION",
        towers[0],
        "TRAINER.IVLP.PROMPT_DEPTH_TEXT",
        towers[1],
        "DATASET.SOURCE_DOMAINS",
        ["photo"],
        "DATASET.NUM_SHOTS",
        4,
        "OPTIM.WARMUP_EPOCH",
        0,
    )
    record = run("IVLP", *options)
    losses = [epoch["loss"] for epoch in record["history"]]
    assert losses[-1] < losses[0]
    assert run("IVLP", *options, folder="eval", model_dir="run")["metrics"] == record["metrics"]
