"""TCP against tcp.json: released TCP on the same weights; class-aware prompts at any block of the text tower."""

import numpy as np
import pytest
import torch

import helpers.goldens_recipe as recipe
from helpers.golden_trainers import assert_case, assert_logits, saved_as_released, trainer_of_case
from promptshift.modeling.tokens import encode
from trainers.tcp import TCP

FILE = recipe.golden("tcp")
CASES = FILE["cases"]


def golden_tcp(case, classnames=FILE["classnames"], *opts, file=FILE, seed=0):
    golden = file["cases"][case]
    config = golden["config"]
    options = dict(N_CTX=config["n_ctx"], CTX_INIT=config["init_words"], LAYER=config["inject_at"])
    options |= dict(W=config["weight_in_loss"], ADAM_EPS=golden["optim"].get("eps", 1e-3))
    words = [word for key, value in options.items() for word in (f"TRAINER.TCP.{key}", value)]
    kind = "vit12" if config["text_layers"] == 12 else "vit"
    return trainer_of_case(TCP, golden, classnames, *words, *opts, kind=kind, seed=seed), golden


@pytest.mark.parametrize("case", CASES)
def test_three_steps_equal_the_released_code(case):
    trainer, golden = golden_tcp(case)
    learner = trainer.prompt_learner
    for row, ids in zip(learner.template.tokens.tolist(), golden["token_ids"]):
        assert row[5 : len(ids)] == ids[5:] and row[0] == ids[0]  # the context takes the place of 1..4
    fixed = golden["fixed_text_features"]
    np.testing.assert_allclose(trainer.hand_features[0, :4], fixed["row_0_first_4"], atol=1e-4)
    assert recipe.probe("fixed_text_features", trainer.hand_features) == pytest.approx(fixed["probe"], abs=3e-3)
    with torch.no_grad():
        prompts = learner.class_prompts()
    assert float(prompts.norm()) == pytest.approx(golden["class_prompts_init"]["l2"], rel=3e-4)
    sign_like = golden["optim"].get("eps") == 1e-8  # each first step is about lr * sign(g)
    data, _ = assert_case(trainer, golden, rel=1e-3 if sign_like else 5e-4, atol=1e-3 if sign_like else 3e-4)
    if "new_classes_after_step" in golden:
        new = golden["new_classes_after_step"]
        other = golden_tcp(case, new["classnames"])[0]
        other.prompt_learner.load_state_dict(saved_as_released(trainer, golden))
        with torch.no_grad():
            assert_logits(other.predict(data["img"]), new["logits"], atol=3e-4)


def test_the_parts_of_the_loss():
    trainer, golden = golden_tcp("inject2_caltech")
    parts = trainer.loss({"img": recipe.images(), "label": torch.tensor(golden["batch"]["labels"])})
    distance = golden["components"]["weight"] * golden["components"]["one_minus_mean_cosine"]
    assert parts["knowledge"].item() == pytest.approx(distance, rel=5e-5)
    assert (parts["loss"] - parts["knowledge"]).item() == pytest.approx(golden["components"]["loss_ce"], rel=5e-5)


@pytest.mark.parametrize("n_ctx", [1, 4, 7])
@pytest.mark.parametrize("chunk", [16384, 40, 12])
def test_any_number_of_vectors_and_any_chunk_give_the_plain_features(n_ctx, chunk):
    """The released code's way: 77 tokens, every class in full, the replacement written out."""
    torch.manual_seed(0)
    golden = {"config": {"dataset": "UCF101"}, "optim": CASES["inject2_caltech"]["optim"]}
    names = CASES["inject2_caltech"]["trainable"]
    golden["trainable"] = {name: {"key": None} for name in names}
    own = ["TRAINER.TCP.N_CTX", n_ctx, "TRAINER.TCP.LAYER", 2, "MODEL.TEXT_CHUNK", chunk]
    learner = trainer_of_case(TCP, golden, FILE["classnames"], *own).prompt_learner
    template, model = learner.template, learner.template.clip.model
    x = template.embeds(learner.ctx)
    pad = template.clip.embed_tokens(torch.zeros(len(x), 77 - x.shape[1], dtype=torch.long))
    x = torch.cat([x, pad], dim=1) + model.positional_embedding
    for i, block in enumerate(model.transformer.resblocks):
        if i == 2:
            x = torch.cat([x[:, :1], learner.class_prompts(), x[:, 1 + n_ctx :]], dim=1)
        x = block(x, attn_mask=model.attn_mask)
    plain = model.ln_final(x[torch.arange(len(x)), template.eot]) @ model.text_projection
    fast = learner(normalize=False)
    torch.testing.assert_close(fast, plain, atol=1e-5, rtol=1e-5)
    weights = torch.linspace(-1, 1, fast.numel()).view_as(fast)
    grads = [torch.autograd.grad((y * weights).sum(), list(learner.parameters())) for y in (fast, plain)]
    for ours, theirs in zip(*grads):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-3)


def test_texts_are_the_released_ones():
    tokenizer = recipe.clip().tokenizer
    for dataset, template in FILE["templates_learned_prompt"].items():
        golden = {"config": {"dataset": dataset}, "optim": CASES["inject2_caltech"]["optim"]}
        golden["trainable"] = {name: {"key": None} for name in CASES["inject2_caltech"]["trainable"]}
        trainer = trainer_of_case(TCP, golden, ["electric_guitar"], "TRAINER.TCP.LAYER", 1)
        ids = encode(tokenizer, template.format("electric guitar"))
        assert trainer.prompt_learner.template.tokens[0, 5:-1].tolist() == ids[4:], dataset
        fixed = FILE["templates_fixed_features"][dataset].format("electric guitar")
        expected = trainer.prompt_learner.template.tower.encode_texts([fixed])
        torch.testing.assert_close(trainer.hand_features, expected)


def test_words_start_the_context():
    ctx = golden_tcp("inject2_caltech", FILE["classnames"], "TRAINER.TCP.CTX_INIT", True)[0].prompt_learner
    assert ctx.template.tokens[0, :5].tolist() == [49406, 320, 1125, 539, 320]


def test_images_stand_alone(assert_images_stand_alone):
    assert_images_stand_alone(golden_tcp("inject2_caltech")[0])


def test_a_run_learns_and_evaluates_alone(run):
    record = run("TCP", "OPTIM.MAX_EPOCH", 3)
    losses = [epoch["loss"] for epoch in record["history"]]
    assert losses[-1] < losses[0] and record["history"][0]["knowledge"] > 0
    assert run("TCP", "OPTIM.MAX_EPOCH", 3, folder="eval", model_dir="run")["metrics"] == record["metrics"]


def test_the_released_keys_are_understood_and_folder_names_weigh_nothing(build):
    options = build(
        "TCP", "TRAINER.COOP.N_CTX", 6, "TRAINER.COOP.CSC", False, "TRAINER.COOP.W", 3.0,
        "TRAINER.COOP.CTX_INIT", False, "TRAINER.COOP.CLASS_TOKEN_POSITION", "end",
    ).options  # fmt: skip
    assert (options.N_CTX, options.RELEASED.W, options.W) == (6, 3.0, 1.0)


@pytest.mark.parametrize(
    ("opts", "words"),
    [
        (["TRAINER.TCP.LAYER", 3], ["TRAINER.TCP.LAYER", "3", "0 to 2", "mini"]),
        (["TRAINER.TCP.CSC", True], ["TRAINER.TCP.CSC", "True", "False"]),
        (["TRAINER.TCP.CLASS_TOKEN_POSITION", "front"], ["CLASS_TOKEN_POSITION", "front", "end"]),
        (["TRAINER.TCP.ADAM_EPS", 0.0], ["TRAINER.TCP.ADAM_EPS", "0.0", "above 0"]),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(opts, words, refused):
    line = refused("TCP", *opts)
    assert all(word in line for word in words), line
