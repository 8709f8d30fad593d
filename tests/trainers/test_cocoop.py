"""CoCoOp against cocoop.json: released CoCoOp on the same weights, one SGD step."""

import pytest
import torch

import helpers.goldens_recipe as recipe
from helpers.golden_trainers import (
    assert_sgd_step,
    batch,
    trainer_on_golden_clip,
)
from trainers.cocoop import CoCoOp

CASES = recipe.golden("cocoop")["cases"]


def golden_cocoop(case, **options):
    golden = CASES[case]
    words = "a photo of a" if case.startswith("words") else ""
    trainer = trainer_on_golden_clip(CoCoOp, N_CTX=4, CTX_INIT=words, **options)
    learner = trainer.prompt_learner
    state = {name: recipe.train_value(**t) for name, t in golden["trainable"].items() if not isinstance(t, str)}
    learner.load_state_dict({"ctx": learner.ctx.detach(), **state})  # one case keeps the words' context
    return trainer, learner, golden


@pytest.mark.stored
@pytest.mark.parametrize("case", CASES)
def test_a_step_equals_the_released_code(case):
    trainer, learner, golden = golden_cocoop(case)
    for row, ids in zip(learner.template.tokens.tolist(), golden["token_ids"]):
        assert row[: len(ids)] == ids
    assert {name: list(p.shape) for name, p in learner.meta_net.named_parameters()} == golden["meta_net"]
    assert_sgd_step(trainer, learner, golden, batch())


def test_chunks_change_neither_loss_nor_gradient():
    results = []
    for chunk in (16384, 20):  # 20 tokens: one image, two classes at a time
        trainer, learner, _ = golden_cocoop("nctx4")
        learner.template.tower.max_tokens = chunk
        loss = trainer.loss(batch())["loss"]
        loss.backward()
        results.append([loss.detach(), *(p.grad for p in learner.parameters())])
    for whole, chunked in zip(*results):
        torch.testing.assert_close(chunked, whole, atol=1e-5, rtol=1e-4)


def test_released_checkpoints_load_without_their_token_buffers():
    trainer, learner, _ = golden_cocoop("nctx4")
    released = {**learner.state_dict(), "token_prefix": torch.ones(6, 1, 128), "token_suffix": torch.ones(6, 72, 128)}
    learner.load_state_dict(released)
    assert list(learner.state_dict()) == [
        "ctx",
        *(f"meta_net.linear{i}.{kind}" for i in (1, 2) for kind in ("weight", "bias")),
    ]


def test_images_stand_alone(assert_images_stand_alone):
    assert_images_stand_alone(golden_cocoop("words_ctx_kept")[0])


def test_a_run_learns_and_evaluates_alone(run):
    record = run("CoCoOp", "DATALOADER.TRAIN_X.FEATURE_VIEWS", 2, "OPTIM.LR", 0.01)
    losses = [epoch["loss"] for epoch in record["history"]]
    assert losses[-1] < losses[0]
    assert run("CoCoOp", folder="eval", model_dir="run")["metrics"] == record["metrics"]
