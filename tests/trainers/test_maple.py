"""MaPLe against maple.json: released MaPLe on the same weights, one SGD step."""

import pytest
import torch

import helpers.goldens_recipe as recipe
from dassl.utils.errors import UserError
from helpers.golden_trainers import assert_sgd_step, batch, trainer_on_golden_clip
from promptshift.bases.released_state import fit_optimizer
from trainers.maple import MaPLe

CASES = recipe.golden("maple")["cases"]


def golden_maple(case):
    golden, config = CASES[case], CASES[case]["config"]
    trainer = trainer_on_golden_clip(MaPLe, N_CTX=config["n"], CTX_INIT=config["init"], PROMPT_DEPTH=config["depth"])
    trainer.prompt_learner.load_state_dict({**released_clip(), **released_prompts(golden)})
    return trainer, golden


def released_prompts(golden):
    return {name: recipe.train_value(**t) for name, t in golden["trainable"].items()}


def released_clip():
    """What a released file holds beside the prompts, under the names it has there."""
    names = {"visual.": "image_encoder.", "transformer.": "text_encoder.transformer."}
    clip = {
        next((new + key.removeprefix(old) for old, new in names.items() if key.startswith(old)), key): value
        for key, value in recipe.state_dict().items()
    }
    tokens = torch.zeros(8, 1, 128)  # of other classes
    return {**clip, "prompt_learner.token_prefix": tokens, "prompt_learner.token_suffix": tokens}


@pytest.mark.stored
@pytest.mark.parametrize("case", CASES)
def test_a_step_equals_the_released_code(case):
    trainer, golden = golden_maple(case)
    learner = trainer.prompt_learner
    for row, ids in zip(learner.template.tokens.tolist(), golden["token_ids"]):
        assert row[: len(ids)] == ids
    assert set(learner.state_dict()) == set(golden["trainable"])  # what is saved: prompts and projections alone
    assert_sgd_step(trainer, learner, golden, batch())


def test_prompts_saved_without_their_prefix_load():
    trainer, golden = golden_maple("depth3_nctx2_words")
    other, _ = golden_maple("depth3_nctx2_X")
    short = {name.removeprefix("prompt_learner."): 2 * value for name, value in released_prompts(golden).items()}
    other.prompt_learner.load_state_dict(short)
    for name, value in trainer.prompt_learner.state_dict().items():
        torch.testing.assert_close(other.prompt_learner.state_dict()[name], 2 * value)


def test_the_momentum_of_a_released_optimizer_over_all_of_clip_is_found():
    trainer, golden = golden_maple("depth3_nctx2_words")
    prompts, tokens = released_prompts(golden), {"prompt_learner.token_prefix", "prompt_learner.token_suffix"}
    weights = {**prompts, **released_clip()}
    names = [name for name in weights if name not in tokens]
    state = {i: {"momentum_buffer": 3 * weights[name]} for i, name in enumerate(names) if name in prompts}
    saved = {"state": state, "param_groups": [{"lr": 0.1, "params": list(range(len(names)))}]}
    trainer.prompt_learner.load_state_dict(weights)
    fitted = fit_optimizer(saved, weights, trainer.prompt_learner)
    assert len(fitted["param_groups"][0]["params"]) == len(prompts) < len(names)
    for i, param in enumerate(trainer.prompt_learner.parameters()):
        torch.testing.assert_close(fitted["state"][i]["momentum_buffer"], 3 * param.detach())


def test_a_checkpoint_of_another_depth_is_refused():
    shallow, _ = golden_maple("depth1_nctx2_words")
    with pytest.raises(RuntimeError, match="compound_prompts_text.0"):
        golden_maple("depth3_nctx2_words")[0].prompt_learner.load_state_dict(shallow.prompt_learner.state_dict())


def test_images_stand_alone(assert_images_stand_alone):
    assert_images_stand_alone(golden_maple("depth3_nctx2_words")[0])


@pytest.mark.parametrize(
    "options, words",
    [
        (dict(N_CTX=0), "MAPLE.N_CTX: 0.*1 and more"),
        (dict(N_CTX=5), "CTX_INIT: 'a photo of a'.*N_CTX 5"),
        (dict(PROMPT_DEPTH=5), "MAPLE.PROMPT_DEPTH: 5; allowed: 1 to 4"),
        (dict(PROMPT_DEPTH=0), "PROMPT_DEPTH: 0"),
        (dict(kind="rn", PROMPT_DEPTH=3), "MODEL.BACKBONE.NAME.*MAPLE.*golden-rn"),
    ],
)
def test_bad_input_is_named(options, words):
    with pytest.raises(UserError, match=words):
        trainer_on_golden_clip(MaPLe, **options)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16", "amp"])
def test_a_run_learns_in_every_precision(run, precision):
    options = ("TRAINER.MAPLE.PREC", precision, "DATASET.SOURCE_DOMAINS", ["photo"], "TEST.FINAL_MODEL", "last_step")
    record = run("MaPLe", *options, "DATASET.NUM_SHOTS", 2, "OPTIM.WARMUP_EPOCH", 0)
    losses = [epoch["loss"] for epoch in record["history"]]
    assert losses[-1] < losses[0]
    if precision == "fp32":
        assert run("MaPLe", *options, folder="eval", model_dir="run")["metrics"] == record["metrics"]
