"""Tip-Adapter and Tip-Adapter-F against tip_adapter.json; where alpha and beta are chosen, what new classes get."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import helpers.goldens_recipe as recipe
from helpers.golden_trainers import assert_gradients, assert_logits, assert_parameters, trainer_on_golden_clip
from promptshift.modeling.cache import best_on_grid
from trainers.tip_adapter import TipAdapter, TipAdapterF

GOLDEN = recipe.golden("tip_adapter")
CASES, SEED = GOLDEN["cases"], GOLDEN["seed_offset"]
SCALED = 5e-4  # logits are a hundred times cosines
SHORT = ("TRAINER.TIP_ADAPTER.AUGMENT_EPOCH", 1, "TRAINER.TIP_ADAPTER.SEARCH_STEP", "[6, 5]")


def raw(trainer, tag, batch):
    return trainer.encode_images(recipe.images(tag + SEED, batch))


def support(trainer, config):
    """-> raw features (N, V, E) of the augmented support set, labels (N,)."""
    views = [raw(trainer, tag, GOLDEN["support"]["B"]) for tag in config["augment_image_tags"]]
    return torch.stack(views, dim=1), torch.tensor(GOLDEN["support"]["labels"])


def golden_tip(case, cls=TipAdapter):
    config = CASES[case]["config"]
    options = dict(
        TEMPLATES=config["templates"],
        INIT_BETA=config["init_beta"],
        INIT_ALPHA=config["init_alpha"],
        SEARCH_SCALE=config["search_scale [beta, alpha]"],
        SEARCH_STEP=config["search_step [beta, alpha]"],
    )
    trainer = trainer_on_golden_clip(cls, "vit", GOLDEN["classnames"], SEED, **options)
    trainer.fill(*support(trainer, config))
    return trainer


def validation(trainer):
    """-> unit features and labels of the golden validation images."""
    images = (0.8 * recipe.images(2001 + SEED, 12) + 0.5 * recipe.images(2003 + SEED, 12)).float()
    return F.normalize(trainer.encode_images(images), dim=-1), torch.tensor(GOLDEN["val"]["labels"])


def query_images():
    return recipe.images(GOLDEN["test"]["image_tag"] + SEED, GOLDEN["test"]["B"])


def assert_search(trainer, golden):
    """The whole grid and what is chosen of it, where no margin is below the rounding."""
    features, labels = validation(trainer)
    betas, alphas, counts = trainer.right_on_grid(features, labels)
    if golden["smallest_top2_gap_over_grid"] > SCALED:
        np.testing.assert_allclose(100 * counts / len(labels), golden["accuracy_grid (rows beta, columns alpha)"])
        beta, alpha = best_on_grid(counts, betas, alphas)
        assert [beta, alpha] == pytest.approx([golden["best_beta"], golden["best_alpha"]])
    trainer.cache.set_strength(golden["best_beta"], golden["best_alpha"])


@torch.no_grad()
@pytest.mark.parametrize("case", CASES)
def test_the_cache_is_that_of_the_released_code(case):
    golden, trainer = CASES[case], golden_tip(case)
    weights = trainer.text_features.T
    np.testing.assert_allclose(weights[0], golden["clip_weights (embed, C)"]["first_row"], atol=1e-5)
    expected = golden["clip_weights (embed, C)"]["probe"]
    assert recipe.probe("clip_weights", weights, SEED) == pytest.approx(expected, abs=1e-3)
    np.testing.assert_allclose(trainer.cache.weight.T, golden["cache_keys (embed, N)"], atol=1e-5)
    values = trainer.cache.values(GOLDEN["classnames"])
    assert values.argmax(dim=1).tolist() == golden["cache_values_argmax"]
    assert list(values.shape) == golden["cache_values_shape"] and (values.sum(dim=1) == 1).all()
    features = F.normalize(trainer.encode_images(query_images()), dim=-1)
    np.testing.assert_allclose(trainer.cache.affinity(features), golden["affinity_test (test, N)"], atol=1e-5)
    assert_logits(trainer.zero_shot(features), golden["zeroshot_test_logits"], SCALED)
    assert_logits(trainer.predict(query_images()), golden["tip_test_logits_init_alpha_beta"], SCALED)
    val, _ = validation(trainer)
    assert_logits(trainer.predict_features(val), golden["tip_val_logits_init_alpha_beta"], SCALED)
    assert_search(trainer, golden["search"])
    assert_logits(trainer.predict(query_images()), golden["tip_test_logits_best"], SCALED)


@pytest.mark.parametrize("case", CASES)
def test_fine_tuned_keys_are_those_of_the_released_code(case):
    golden, trainer = CASES[case]["F"], golden_tip(case, TipAdapterF)
    parameters = {"adapter.weight": trainer.cache.weight}
    assert_parameters(parameters, golden["param_init"], rel=1e-5, seed=SEED)
    about, optim = golden["batch"], golden["optim"]
    images = recipe.images(about["image_tag"] + SEED, about["B"])
    batch = {"img": images, "label": torch.tensor(about["labels"])}
    assert_logits(trainer.predict(images), golden["train_logits_init"], SCALED)
    adamw = torch.optim.AdamW(
        parameters.values(), optim["lr"], tuple(optim["betas"]), optim["eps"], optim["weight_decay"]
    )
    losses = []
    for step, rate in enumerate(golden["lr_per_step"]):
        for group in adamw.param_groups:
            group["lr"] = rate
        adamw.zero_grad()
        loss = trainer.loss(batch)["loss"]
        loss.backward()
        losses.append(loss.item())
        if step == 0:
            assert_gradients(parameters, golden["grad"], SEED)
        adamw.step()
        if step == 0:
            assert_parameters(parameters, golden["param_after_step"], rel=1e-3, probes=False)
            assert_logits(trainer.predict(query_images()), golden["logits_after_step"], atol=1e-3)
    assert losses == pytest.approx([golden["loss_summary"]["loss"], *golden["loss_steps_2_3"]], rel=5e-5)
    assert_parameters(parameters, golden["param_after_3_steps"], rel=1e-3, probes=False)
    assert_logits(trainer.predict(query_images()), golden["logits_after_3_steps"], atol=1e-3)


def test_the_optimizer_and_its_schedule_are_the_released_ones(build):
    trainer = build("TipAdapterF", "OPTIM.LR", 0.001, "OPTIM.MAX_EPOCH", 3, "DATALOADER.TRAIN_X.BATCH_SIZE", 480)
    golden = next(iter(CASES.values()))["F"]
    optimizer, schedule, rates = trainer._optims["adapter"], trainer._scheds["adapter"], []
    (group,) = optimizer.param_groups
    expected = {key: golden["optim"][key] for key in ("weight_decay", "eps", "amsgrad")}
    assert {key: group[key] for key in expected} == expected and tuple(group["betas"]) == (0.9, 0.999)
    for _ in golden["lr_per_step"]:  # three epochs of one batch
        rates.append(group["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx(golden["lr_per_step"])


def test_the_rate_falls_with_every_step(run, tmp_path):
    run(
        "TipAdapterF",
        *SHORT,
        "DATALOADER.TRAIN_X.BATCH_SIZE",
        100,
        "OPTIM.MAX_EPOCH",
        2,
        "TRAINER.TIP_ADAPTER.SEARCH",
        "off",
    )
    state = torch.load(tmp_path / "run" / "last.pth.tar", weights_only=True)
    assert state["models"]["adapter"]["scheduler"]["last_epoch"] == 2 * 4  # 480 images, whole batches


def test_images_stand_alone(assert_images_stand_alone):
    assert_images_stand_alone(golden_tip(next(iter(CASES))))


@pytest.mark.parametrize("trainer", ["TipAdapter", "TipAdapterF"])
def test_a_run_serves_its_own_and_new_classes(run, trainer, tmp_path):
    base = ("DATASET.SUBSAMPLE_CLASSES", "base", *SHORT)
    record = run(trainer, *base)
    found = record["diagnostics"]["search"]
    assert found["right"] <= found["images"] and record["selection"] != "oracle"
    assert record["metrics"]["accuracy"] > 40  # chance: 10
    again = run(trainer, *base, folder="again", model_dir="run")
    assert again["metrics"] == record["metrics"]
    new = ("DATASET.SUBSAMPLE_CLASSES", "new")
    tested = run(trainer, *new, folder="new", model_dir="run")
    assert tested["metrics"] == run("ZeroshotCLIP", *new, folder="zero_new")["metrics"]


def test_the_search_looks_at_test_images_only_where_it_is_called_oracle(run):
    short = (*SHORT, "TRAINER.TIP_ADAPTER.SEARCH")
    honest, oracle = run("TipAdapter", *short, "val"), run("TipAdapter", *short, "oracle", folder="oracle")
    assert honest["selection"] != "oracle" and oracle["selection"] == "oracle"
    assert oracle["diagnostics"]["search"]["images"] == oracle["metrics"]["total"]
    assert oracle["diagnostics"]["search"]["right"] == oracle["metrics"]["correct"] >= honest["metrics"]["correct"]
    off = run("TipAdapter", *short, "off", folder="off")
    assert "search" not in off["diagnostics"]


def test_a_resumed_fine_tuning_ends_where_it_would_have(run, command, tmp_path, monkeypatch):
    from promptshift.runs.run import main

    options = (*SHORT, "OPTIM.MAX_EPOCH", 3, "DATALOADER.TRAIN_X.BATCH_SIZE", 100)
    whole = run("TipAdapterF", *options, folder="whole")

    class Killed(BaseException):
        pass

    with monkeypatch.context() as patched:
        patched.setattr(
            TipAdapterF, "before_epoch", lambda self: (_ for _ in ()).throw(Killed) if self.epoch == 2 else 0
        )
        with pytest.raises(Killed):
            main(command("TipAdapterF", *options, folder="cut"))
    again = run("TipAdapterF", *options, folder="cut")
    assert again["metrics"] == whole["metrics"] and again["diagnostics"] == whole["diagnostics"]
    ours, theirs = (
        torch.load(tmp_path / name / "adapter" / "model-best.pth.tar", weights_only=True)["state_dict"]
        for name in ("cut", "whole")
    )
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


@pytest.mark.parametrize("value", ["['a photo']", "[]", "['selectd']"])
def test_templates_without_a_place_for_the_class_are_refused(refused, value):
    assert "TRAINER.TIP_ADAPTER.TEMPLATES" in refused("TipAdapter", "TRAINER.TIP_ADAPTER.TEMPLATES", value)
