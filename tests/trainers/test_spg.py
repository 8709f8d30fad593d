"""SPG against spg.json: the released code's stage one and GAN step on the same weights; then what only SPG has."""

import re
from types import SimpleNamespace

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
from promptshift.modeling.generators import clip_each, image_noise
from trainers.spg import SPG, SPGLabels, share_of_domains

CASES = recipe.golden("spg")["cases"]
GAN_CASES = [name for name in CASES if name.startswith("gan")]


@pytest.mark.stored
def test_stage_one_step():
    golden, data = CASES["stage1_coop_like"], batch()
    trainer = trainer_on_golden_clip(SPGLabels)
    learner = trainer.prompt_learner
    for row, ids in zip(learner.template.tokens.tolist(), golden["token_ids"]):
        assert row[: len(ids)] == ids
    learner.load_state_dict({name: recipe.train_value(**t) for name, t in golden["trainable"].items()})
    parameters = dict(learner.named_parameters())
    assert_parameters(parameters, golden["param_init"], rel=1e-6)
    with torch.no_grad():
        assert_logits(trainer.predict(data["img"]), golden["logits_init"])
    optimizer = sgd(learner.parameters())
    parts = trainer.loss(data)
    assert float(parts["loss"].detach()) == pytest.approx(golden["loss_summary"]["loss"], rel=5e-5)
    assert float(parts["acc"]) == golden["loss_summary"]["acc"]
    parts["loss"].backward()
    assert_gradients(parameters, golden["grad"])
    optimizer.step()
    assert_parameters(parameters, golden["param_after_step"])
    with torch.no_grad():
        assert_logits(trainer.predict(data["img"]), golden["logits_after_step"], atol=3e-4)


def gan(case="gan_clip_default", **options):
    """Stage two on the golden networks and labels, registered as build_model would, with the golden noise."""
    golden = CASES[case]
    config = {key: float(value) if "MAX" in key else value for key, value in golden["cfg"].items() if key != "FEAT_DIM"}
    trainer = trainer_on_golden_clip(SPG, D_DROPOUT=0.0, **config, **options)
    trainer.dm = SimpleNamespace(dataset=SimpleNamespace(target_domains=["sketch"]))
    trainer.labels = {
        "prompt": torch.stack([recipe.train_value(f"spg:best_prompts.{i}", (4, 128), "prompt") for i in range(4)])
    }
    optim = golden["optim"]
    trainer._models, trainer._optims = trainer.modules, {}
    for name, module in trainer.modules.items():
        state = {key: recipe.train_value(t["key"], t["shape"], t["kind"]) for key, t in golden[name].items()}
        module.load_state_dict(state, strict=False)
        trainer._optims[name] = torch.optim.AdamW(
            module.parameters(), optim["lr"], tuple(optim["betas"]), optim["eps"], optim["weight_decay"]
        )
    noise = torch.from_numpy(recipe.normal("spg:noise", (4, 16)).astype("float32"))
    trainer.training_noise = lambda images: noise[:images]
    trainer.test_noise = lambda name, features: noise[:1].expand(len(features), -1).unsqueeze(0)
    trainer.scaler = None
    return trainer, golden


@torch.no_grad()
def assert_test_scores(trainer, expected, atol):
    """The released code's test batches of one image, each with the first row of the noise."""
    for module in trainer.modules.values():
        module.eval()
    assert_logits(trainer.predict(recipe.images()), expected, atol)


def gradients_before_clipping(trainer):
    """-> {"G." or "D." and a tensor's name: norm of its gradient}, filled in by the trainer's updates."""
    norms, clip = {}, trainer.after_backward

    def after_backward(names):
        for name in names:
            for key, parameter in trainer.modules[name].named_parameters():
                norms[f"{name[0].upper()}.{key}"] = float(parameter.grad.norm())
        clip(names)

    trainer.after_backward = after_backward
    return norms


@pytest.mark.stored
@pytest.mark.parametrize("case", GAN_CASES)
def test_gan_step(case):
    trainer, golden = gan(case)
    assert_test_scores(trainer, golden["test_logits_init_batch1_noise_row0_each"], 1e-4)
    for module in trainer.modules.values():
        module.train()
    data = {**batch(), "fake": {"img": recipe.images(golden["fake_batch_image_tag"])}}
    losses, before = {}, gradients_before_clipping(trainer)
    assert data["domain"].tolist() == golden["domains_of_batch"]
    for names, parts in trainer.updates(data):
        trainer.step(parts["loss"], names)
        losses |= {name: float(value.detach()) for name, value in parts.items()}
        wanted = golden["grad_D_after_clip" if names == "discriminator" else "grad_G_after_clip"]
        assert_gradients(dict(trainer.modules[names].named_parameters()), wanted)
    for call in golden["clip_calls_in_order"]:
        norm = before[call["param"]]
        assert norm == pytest.approx(call["pre"], rel=3e-4, abs=1e-6), call
        assert min(norm, call["max_norm"]) == pytest.approx(call["post"], rel=3e-4, abs=1e-6), call
    real, fake, judged = golden["mse_in_order_dreal_dfake_g"]
    assert [losses["d_loss"], losses["g_loss"]] == pytest.approx([real + fake, judged], rel=5e-5)
    norms = [m for m in trainer.modules["generator"].modules() if isinstance(m, torch.nn.BatchNorm1d)]
    assert norms and all([m.eps, m.momentum] == golden["bn_eps_momentum"] for m in norms)
    for name in ("d_loss", "g_loss"):
        assert losses[name] == pytest.approx(golden["loss_summary"][name], rel=5e-5), name
    for name, value in golden["G_bn_running"].items():
        assert float(trainer.modules["generator"].state_dict()[name].norm()) == pytest.approx(value["l2"], rel=1e-4)
    noise_only = {f"model.{i}.bias" for i in (2, 5, 8)}  # they feed a batch norm: their true gradient is zero
    for name, key in (("generator", "G_after"), ("discriminator", "D_after")):
        wanted = {k: v for k, v in golden[key].items() if name == "discriminator" or k not in noise_only}
        assert_parameters(dict(trainer.modules[name].named_parameters()), wanted, rel=1e-3, probes=False)
    assert_test_scores(trainer, golden["test_logits_after_step_batch1_noise_row0_each"], 1e-3)


def test_each_tensor_is_clipped_by_the_first_cap_that_names_it():
    layer = torch.nn.Linear(3, 2)
    for parameter in layer.parameters():
        parameter.grad = torch.full_like(parameter, 10.0)
    layer.bias.grad.mul_(1e-6)
    clip_each(layer, [("weight", 0.5), ("bias", 1.0), ("weight|bias", 1e-9)])
    assert float(layer.weight.grad.norm()) == pytest.approx(0.5)
    assert float(layer.bias.grad[0]) == pytest.approx(1e-5)  # below its cap: untouched
    clip_each(layer, [("nothing", 0.0)])
    assert float(layer.weight.grad.norm()) == pytest.approx(0.5)


def test_a_gradient_below_its_cap_stays_as_it_is_however_small_the_cap():
    layer = torch.nn.Linear(3, 2)
    layer.bias.grad = torch.tensor([3e-8, 0.0])
    layer.weight.grad = torch.full((2, 3), 1e-7)
    clip_each(layer, [("bias", 5e-8), ("weight", 5e-8)])
    assert torch.equal(layer.bias.grad, torch.tensor([3e-8, 0.0]))
    assert float(layer.weight.grad.norm()) < 5e-8


@pytest.mark.parametrize("targets, clipped", [(["photo"], False), (["art_painting", "cartoon", "photo"], True)])
def test_a_run_that_holds_out_more_than_the_named_domains_clips(targets, clipped):
    trainer, _ = gan()
    trainer.options.update(NO_CLIP_TARGETS=["cartoon", "photo"])
    trainer.dm.dataset.target_domains = targets
    assert trainer.clips is clipped


@pytest.mark.parametrize(
    "options, clipped",
    [
        ({}, True),
        ({"GRAD_CLIP": False}, False),
        ({"NO_CLIP_TARGETS": ["photo", "sketch"]}, False),
        ({"NO_CLIP_TARGETS": ["photo"]}, True),
    ],
)
def test_clipping_is_off_by_key_and_for_named_targets(options, clipped):
    trainer, _ = gan()
    trainer.options.update(options)
    for parameter in trainer.modules["generator"].parameters():
        parameter.grad = torch.ones_like(parameter)
    trainer.after_backward(["generator"])
    assert (float(trainer.modules["generator"].model[0].weight.grad.norm()) < 0.006) is clipped


def unit_features(count, width=64, seed=0):
    features = torch.randn(count, width, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(features, dim=-1)


def test_noise_belongs_to_image_and_seed_and_is_standard_normal():
    features = unit_features(400)
    noise = image_noise(features, 20, 3, seed=1)
    assert noise.shape == (3, 400, 20)
    assert abs(float(noise.mean())) < 0.03 and float(noise.std()) == pytest.approx(1, abs=0.03)
    alone = torch.cat([image_noise(features[i : i + 1], 20, 3, seed=1) for i in range(5)], dim=1)
    torch.testing.assert_close(alone, noise[:, :5], atol=1e-4, rtol=0)
    torch.testing.assert_close(image_noise(features.flip(0), 20, 3, seed=1).flip(1), noise, atol=1e-4, rtol=0)
    assert float((image_noise(features, 20, 3, seed=2) - noise).abs().mean()) > 0.5
    rounded = image_noise(features + 1e-7, 20, 3, seed=1)  # the last bits of a feature hardly matter
    assert float((rounded - noise).abs().max()) < 1e-3


def test_noise_of_similar_images_is_independent():
    base = unit_features(1)
    near = torch.nn.functional.normalize(base + 0.05 * torch.randn(300, 64, generator=torch.Generator().manual_seed(3)))
    assert float((near @ near.T).min()) > 0.7
    correlation = torch.corrcoef(image_noise(near, 50, 1, seed=0)[0]) - torch.eye(300)
    assert float(correlation.abs().max()) < 0.8 and abs(float(correlation.mean())) < 0.01
    draws = image_noise(near, 50, 2, seed=0).flatten(1)
    assert abs(float(torch.corrcoef(draws)[0, 1])) < 0.03


@torch.no_grad()
@pytest.mark.parametrize("noise, samples", [("sample", 1), ("zero", 1), ("mean", 5)])
def test_test_noise_and_prediction_are_the_image_s_own(noise, samples):
    trainer, _ = gan(NOISE=noise, NOISE_SAMPLES=5)
    del trainer.test_noise  # the project's own
    for module in trainer.modules.values():
        module.eval()
    drawn = trainer.test_noise("prompt", unit_features(6))
    assert drawn.shape == (samples, 6, 16) and (noise != "zero" or not drawn.any())
    state = torch.get_rng_state()
    images = recipe.images(tag=7, batch=6)
    together = trainer.predict(images)
    assert torch.equal(torch.get_rng_state(), state)
    for i in range(6):
        torch.testing.assert_close(trainer.predict(images[i : i + 1])[0], together[i], atol=1e-4, rtol=0)
    changed = torch.cat([images[:1], recipe.images(tag=8, batch=5)])
    torch.testing.assert_close(trainer.predict(changed)[0], together[0], atol=1e-4, rtol=0)
    trainer.cfg.SEED = 2
    assert torch.equal(trainer.predict(images), together) is (noise == "zero")


def test_shares_are_nested_and_cover_every_domain():
    items = [SimpleNamespace(domain=d, name=f"{d}{i}") for d, n in ((0, 10), (2, 5)) for i in range(n)]
    some, more = ({item.name for item in share_of_domains(items, share, seed=1)} for share in (0.2, 0.6))
    assert len(some) == 3 and len(more) == 9 and some < more and {name[0] for name in some} == {"0", "2"}
    assert {item.name for item in share_of_domains(items, 0.6, seed=2)} != more


def test_a_run_ends_in_the_lines_of_the_released_code(run, capsys):
    record = run("SPG", "DATASET.SOURCE_DOMAINS", ["photo"], "DATASET.NUM_SHOTS", 4, "TEST.FINAL_MODEL", "best_val")
    printed, epochs = capsys.readouterr().out, record["history"]
    best = max(epochs, key=lambda epoch: epoch["val_accuracy"])
    for what, value in (
        ("best val acc", best["val_accuracy"]),
        ("best val test acc", record["metrics"]["accuracy"]),
    ):
        line = rf"\*{{7}} Domain \w+ {what}: {value:.2f}%, epoch: {best['epoch']} \*{{7}}"
        assert len(re.findall(line, printed)) == 1
