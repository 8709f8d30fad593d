"""DPSPG against dpspg.json: both stages of the released code on the same weights."""

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
from trainers.dpspg import DPSPG, DPSPGLabels

CASES = recipe.golden("dpspg")["cases"]


@pytest.mark.stored
@pytest.mark.parametrize("case", ["stage1_words", "stage1_recipe_ctx"])
def test_stage_one_step(case):
    golden = CASES[case]
    trainer = trainer_on_golden_clip(DPSPGLabels)
    learner = trainer.learner
    for part, name in ((learner.pos, "pos"), (learner.neg, "neg")):
        for row, ids in zip(part.template.tokens.tolist(), golden[f"token_ids_{name}"]):
            assert row[: len(ids)] == ids
    if isinstance(golden["trainable"], dict):  # the other case starts from the words
        learner.load_state_dict({name: recipe.train_value(**t) for name, t in golden["trainable"].items()})
    assert (trainer.options.POS_WEIGHT or trainer.num_classes - 1) == golden["pos_weight"]
    parameters, data = {"pos_ctx": learner.pos_ctx, "neg_ctx": learner.neg_ctx}, batch()
    assert_parameters(parameters, golden["param_init"], rel=1e-6)
    _assert_scores(trainer, data, golden["logits_init"], 1e-4)
    optimizer = sgd(learner.parameters())
    parts = trainer.loss(data)
    assert float(parts["pos_loss"].detach()) == pytest.approx(golden["loss_summary"]["pos_loss"], rel=5e-5)
    assert float(parts["neg_loss"].detach()) == pytest.approx(golden["loss_summary"]["neg_loss"], rel=5e-5)
    parts["loss"].backward()
    assert_gradients(parameters, golden["grad"])
    optimizer.step()
    assert_parameters(parameters, golden["param_after_step"])
    _assert_scores(trainer, data, golden["logits_after_step"], 3e-4)


@torch.no_grad()
def _assert_scores(trainer, data, expected, atol):
    features = trainer.encode_images(data["img"])
    for logits, name in zip(trainer.scores(features), ("pos", "neg")):
        assert_logits(logits, expected[name], atol)
    assert_logits(trainer.predict(data["img"]), expected["test_pos_minus_neg"], 2 * atol)


def stage_two(**options):
    """Stage two with the golden generators and labels."""
    golden = CASES["stage2_dropout0"]
    trainer = trainer_on_golden_clip(DPSPG, DROPOUT=0.0, **options)
    generators = {"P": trainer.generators["pos"], "N": trainer.generators["neg"]}
    for letter, generator in generators.items():
        generator.load_state_dict(
            {
                name: recipe.train_value(t["key"].replace("dpspg_P:", f"dpspg_{letter}:"), t["shape"], t["kind"])
                for name, t in golden["pos_generator"].items()
            }
        )
    trainer.labels = {
        sign: torch.stack([recipe.train_value(f"dpspg:best_{sign}_prompts.{i}", (4, 128), "prompt") for i in range(4)])
        for sign in ("pos", "neg")
    }
    return trainer, generators, golden


@pytest.mark.stored
def test_stage_two_step():
    trainer, generators, golden = stage_two()
    data, cfg = batch(), golden["layer_cfg"]
    assert data["domain"].tolist() == golden["domains_of_batch"]
    for generator in generators.values():
        layers = generator.transformer_encoder.layers
        assert (len(layers), layers[0].self_attn.num_heads) == (cfg["n_layers"], cfg["nhead"])
        assert (layers[0].linear1.out_features, layers[0].norm1.eps) == (cfg["dim_feedforward"], cfg["ln_eps"])
        assert layers[0].norm_first == cfg["norm_first"] and generator.transformer_encoder.norm is None
    with torch.no_grad():
        for generator in generators.values():
            generator.eval()
        assert_logits(trainer.predict(data["img"]), golden["test_logits_init_alpha_0.2"])
        trainer.options.ALPHA = 0.0
        assert_logits(trainer.predict(data["img"]), golden["test_logits_init_alpha_0_pos_only"])
        trainer.options.ALPHA = 0.2
        contexts = trainer.contexts("pos", trainer.encode_images(data["img"]))
        check = golden["pos_gen_eval_init"]
        assert float(contexts.norm()) == pytest.approx(check["l2"], rel=1e-5)
        assert recipe.probe("posgen", contexts) == pytest.approx(check["probe"], abs=1e-3 * check["l2"])
        assert_logits(contexts[0, 0, :8], check["first8_of_image0_token0"])
    optimizers = [torch.optim.AdamW(g.train().parameters(), lr=2e-3, weight_decay=1e-4) for g in generators.values()]
    parts = trainer.loss(data)
    summary = golden["loss_summary"]
    assert float(parts["pos_loss"].detach()) == pytest.approx(summary["loss_pos"], rel=5e-5)
    assert float(parts["neg_loss"].detach()) == pytest.approx(summary["loss_neg"], rel=5e-5)
    parts["loss"].backward()
    for letter, generator in generators.items():
        assert_gradients(dict(generator.named_parameters()), golden[f"grad_{letter}"])
    (split,) = (value for key, value in golden.items() if key.startswith("in_proj_grad_q_k_v_l2"))
    for layer, released in zip(generators["P"].transformer_encoder.layers, split.values(), strict=True):
        q, k, v = (part.norm().item() for part in layer.self_attn.in_proj_weight.grad.chunk(3))
        assert q == pytest.approx(released["q"], abs=1e-6) and k == pytest.approx(released["k"], abs=1e-6)
        assert v == pytest.approx(released["v"], rel=3e-4)
    for optimizer in optimizers:
        optimizer.step()
    for letter, generator in generators.items():
        generator.eval()
        assert_parameters(dict(generator.named_parameters()), golden[f"{letter}_after"], rel=1e-3, probes=False)
    with torch.no_grad():
        assert_logits(trainer.predict(data["img"]), golden["test_logits_after_step_alpha_0.2"], atol=1e-3)


@torch.no_grad()
def test_a_prediction_does_not_depend_on_the_rest_of_the_batch():
    trainer, generators, _ = stage_two()
    for generator in generators.values():
        generator.eval()
    images = recipe.images(tag=7, batch=6)
    together = trainer.predict(images)
    for i in range(6):
        torch.testing.assert_close(trainer.predict(images[i : i + 1])[0], together[i], atol=1e-5, rtol=0)
    changed = torch.cat([images[:1], recipe.images(tag=8, batch=5)])
    torch.testing.assert_close(trainer.predict(changed)[0], together[0], atol=1e-5, rtol=0)
    trainer.template.tower.max_tokens = 50  # one image, few classes at a time
    torch.testing.assert_close(trainer.predict(images), together, atol=1e-5, rtol=0)
