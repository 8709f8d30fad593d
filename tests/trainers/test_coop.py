"""CoOp against coop.json: released CoOp on the same weights, one and three SGD steps."""

import numpy as np
import pytest
import torch

import helpers.goldens_recipe as recipe
from helpers.golden_trainers import (
    assert_gradients,
    assert_logits,
    assert_parameters,
    batch,
    sgd,
    trainer_on_golden_clip,
)
from trainers.coop import CoOp

CASES = recipe.golden("coop")["cases"]


@pytest.mark.stored
@pytest.mark.parametrize("case", CASES)
def test_three_steps_equal_the_released_code(case):
    golden, config = CASES[case], CASES[case]["config"]
    res = config.get("res", 32)
    trainer = trainer_on_golden_clip(
        CoOp,
        "rn" if config["bb"] == "RN50" else "vit",
        N_CTX=config.get("n", config["n_ctx"]),
        CSC=config["csc"],
        CTX_INIT=config["init"],
        CLASS_TOKEN_POSITION=config["pos"],
    )
    learner = trainer.prompt_learner
    for row, ids in zip(learner.template.tokens.tolist(), golden["token_ids"]):
        assert row[: len(ids)] == ids
    if not isinstance(golden["trainable"]["ctx"], str):  # the other case starts from the words
        learner.load_state_dict({name: recipe.train_value(**t) for name, t in golden["trainable"].items()})
    parameters, data, losses = dict(learner.named_parameters()), batch(res), []
    assert_parameters(parameters, golden["param_init"], rel=1e-6)
    with torch.no_grad():
        assert_logits(trainer.predict(data["img"]), golden["logits_init"])
    optimizer = sgd(learner.parameters())
    for step in range(3):
        parts = trainer.loss(data)
        losses.append(parts["loss"].item())
        optimizer.zero_grad()
        parts["loss"].backward()
        if step == 0:
            assert float(parts["acc"]) == golden["loss_summary"]["acc"]
            assert_gradients(parameters, golden["grad"])
        optimizer.step()
        if step == 0:
            assert_parameters(parameters, golden["param_after_step"])
            with torch.no_grad():
                assert_logits(trainer.predict(data["img"]), golden["logits_after_step"], atol=3e-4)
    np.testing.assert_allclose(losses, [golden["loss_summary"]["loss"], *golden["loss_steps_2_3"]], rtol=5e-5)
    assert_parameters(parameters, golden["param_after_3_steps"])


def test_words_and_class_specific_contexts_combine():
    trainer = trainer_on_golden_clip(CoOp, CTX_INIT="a photo of a", CSC=True)
    ctx = trainer.prompt_learner.ctx
    assert ctx.shape == (6, 4, 128) and bool((ctx == ctx[:1]).all())
