"""ProGrad against prograd.json: released ProGrad on the same weights; its projection, its words and their zeros."""

import pytest
import torch

import helpers.goldens_recipe as recipe
from helpers.golden_trainers import (
    assert_case,
    assert_logits,
    batch,
    saved_as_released,
    trainer_of_case,
    trainer_on_golden_clip,
)
from promptshift.modeling.tokens import encode
from trainers.prograd import ProGrad

FILE = recipe.golden("prograd")
CASES = FILE["cases"]


def golden_prograd(case, classnames=FILE["classnames"], file=FILE, seed=0):
    golden = file["cases"][case]
    config = golden["config"]
    options = dict(N_CTX=config["n_ctx"], CTX_INIT=config["init_words"], T=config["T"], LAMBDA=config["lambda"])
    words = [word for key, value in options.items() for word in (f"TRAINER.PROGRAD.{key}", value)]
    kind = "rn" if config.get("bb") == "RN50" else "vit"
    return trainer_of_case(ProGrad, golden, classnames, *words, kind=kind, seed=seed), golden


@pytest.mark.parametrize("case", CASES)
def test_three_steps_equal_the_released_code(case):
    trainer, golden = golden_prograd(case)
    for row, ids in zip(trainer.prompt_learner.template.tokens.tolist(), golden["token_ids"]):
        assert row[: len(ids)] == ids
    images = recipe.images(res=trainer.clip.image_size)
    with torch.no_grad():
        teacher = trainer.clip.logit_scale * trainer.encode_images(images) @ trainer.hand_features.T
    assert_logits(teacher, golden["teacher_logits"])
    data, _ = assert_case(trainer, golden, loss="xe_loss")
    if "new_classes_after_step" in golden:
        new = golden["new_classes_after_step"]
        other = golden_prograd(case, new["classnames"])[0]
        other.prompt_learner.load_state_dict(saved_as_released(trainer, golden))
        with torch.no_grad():
            assert_logits(other.predict(data["img"]), new["logits"], atol=3e-4)


@pytest.mark.parametrize("case", CASES)
def test_both_gradients_and_what_is_used_of_them(case):
    trainer, golden = golden_prograd(case)
    data = {"img": recipe.images(res=trainer.clip.image_size), "label": torch.tensor(golden["batch"]["labels"])}
    ctx, expected = trainer.prompt_learner.ctx, golden["gradients"]
    parts = trainer.loss(data)
    assert parts["kl_loss"].item() == pytest.approx(golden["loss_summary"]["kl_loss"], rel=5e-5)
    assert parts["acc"].item() == golden["loss_summary"]["acc"]
    parts["loss"].backward()
    assert float(trainer.guide.norm()) == pytest.approx(expected["kl"]["l2"], rel=3e-4)
    assert float(ctx.grad.norm()) == pytest.approx(expected["cross_entropy"]["l2"], rel=3e-4)
    before = ctx.grad.clone()
    cosine = torch.cosine_similarity(before.flatten(), trainer.guide.flatten(), dim=0)
    assert float(cosine) == pytest.approx(expected["cosine"], abs=1e-3)
    trainer.after_backward(["prompt_learner"])
    assert float(ctx.grad.norm()) == pytest.approx(expected["used"]["l2"], rel=3e-4)
    assert torch.equal(ctx.grad, before) is not expected["projected"]
    cosine = torch.cosine_similarity(ctx.grad.flatten(), trainer.guide.flatten(), dim=0)
    assert float(cosine) == pytest.approx(expected["cosine_of_used_with_kl"], abs=1e-3)


def test_a_guide_of_zero_takes_nothing_out():
    trainer = trainer_on_golden_clip(ProGrad, N_CTX=4)
    trainer.loss(batch())["loss"].backward()
    ctx = trainer.prompt_learner.ctx
    trainer.guide = torch.zeros_like(ctx)
    before = ctx.grad.clone()
    trainer.after_backward(["prompt_learner"])
    assert torch.equal(ctx.grad, before)


def test_hand_written_prompts_are_the_released_ones():
    for dataset, template in FILE["templates_teacher"].items():
        golden = {"config": {"dataset": dataset}, "trainable": {"prompt_learner.ctx": {"key": None}}}
        golden["optim"] = CASES["agree"]["optim"]
        trainer = trainer_of_case(ProGrad, golden, ["dog"], "TRAINER.PROGRAD.N_CTX", 8)
        words = template.removesuffix(" {}.")
        assert (
            trainer.prompt_learner.template.tokens[0, 1:9].tolist()[8 - len(words.split()) :]
            == (encode(trainer.clip.tokenizer, words)[: len(words.split())])
        )
        blank = trainer.prompt_learner.ctx[: 8 - len(words.split())]
        assert not blank.any() and trainer.prompt_learner.ctx[len(blank) :].any(dim=1).all()


@pytest.mark.parametrize("position", ["front", "middle"])
def test_words_that_stay_fixed_stand_behind_the_name(position):
    """ "a type of pet, a photo of a": eight words, nine tokens; the last one is not learnt."""
    trainer = golden_prograd("init_words_n16_pets")[0]
    end, ids = trainer.prompt_learner.template, trainer.clip.embed_tokens
    words = " ".join(["X"] * 8 + ["a type of pet, a photo of a"])
    template = type(end)(trainer.clip, ["electric guitar"], 16, words, position)
    ctx, row = template.words, template.embeds(template.words)[0]
    name, last, stop = (
        ids(torch.tensor(encode(trainer.clip.tokenizer, text))) for text in ("electric guitar", "a", ".")
    )
    half = 8 if position == "middle" else 0
    expected = torch.cat([row[:1], ctx[:half], name, ctx[half:], last, stop])
    torch.testing.assert_close(row[: len(expected)], expected)


def test_images_stand_alone(assert_images_stand_alone):
    assert_images_stand_alone(golden_prograd("conflict")[0])


def test_a_run_learns_and_evaluates_alone(run):
    few = ["DATASET.SOURCE_DOMAINS", ["photo"], "DATASET.NUM_SHOTS", 8, "OPTIM.WARMUP_EPOCH", 0, "OPTIM.MAX_EPOCH", 6]
    record = run("ProGrad", *few)
    losses = [epoch["loss"] for epoch in record["history"]]
    assert losses[-1] < losses[0] and record["history"][0]["kl_loss"] > 0
    assert run("ProGrad", *few, folder="eval", model_dir="run")["metrics"] == record["metrics"]


def test_the_released_keys_are_understood(build):
    options = build(
        "ProGrad", "LOSS.NAME", "prograd", "LOSS.T", 2.0, "LOSS.LAMBDA", 0.8, "LOSS.GM", False, "LOSS.ALPHA", 0.0,
        "TRAINER.COOP.CTX_INIT", False, "TRAINER.COOP.N_CTX", 6, "TRAINER.COOP.ALPHA", 1.0,
    ).options  # fmt: skip
    assert (options.T, options.LAMBDA, options.CTX_INIT, options.N_CTX) == (2.0, 0.8, False, 6)


@pytest.mark.parametrize(
    ("opts", "words"),
    [
        (["TRAINER.PROGRAD.CTX_INIT", True, "TRAINER.PROGRAD.N_CTX", 3], ["N_CTX", "3", "4 and more"]),
        (["TRAINER.PROGRAD.T", 0.0], ["TRAINER.PROGRAD.T", "0.0", "above 0"]),
        (["TRAINER.PROGRAD.LAMBDA", -1.0], ["TRAINER.PROGRAD.LAMBDA", "-1.0", "0 and more"]),
        (["LOSS.NAME", "kl"], ["TRAINER.PROGRAD.RELEASED.LOSS", "kl", "prograd"]),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(opts, words, refused):
    line = refused("ProGrad", *opts)
    assert all(word in line for word in words), line
