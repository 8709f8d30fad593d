"""TPT against tpt.json: kept views, loss, gradient and context of the released code; runs on the mini world."""

import numpy as np
import pytest
import torch

import helpers.goldens_recipe as recipe
from helpers.golden_trainers import assert_logits, assert_parameters, assert_token_ids, trainer_on_golden_clip
from promptshift.adapting.steps import adapt
from trainers.tpt import TPT

CASES = recipe.golden("tpt")["cases"]


def golden_tpt(case, **options):
    c = CASES[case]["config"]
    return trainer_on_golden_clip(TPT, PREC="fp32", TPT_THRESHOLD=c["p"], TTA_STEPS=c["steps"], LR=c["lr"], **options)


def golden_views():
    return recipe.images(tag=2001, batch=64).unsqueeze(0)


@pytest.mark.stored
@pytest.mark.parametrize("case", CASES)
def test_an_image_is_adapted_as_by_the_released_code(case):
    golden, trainer = CASES[case], golden_tpt(case)
    views = golden_views()
    assert_token_ids(trainer.prompt_learner.template, golden["token_ids"])
    with torch.no_grad():
        seen = trainer.see(views)
    assert_logits(seen.logits[0], golden["logits_64_views_init"])
    np.testing.assert_allclose(seen.entropies[0], golden["entropy_per_view"], atol=1e-4)
    kept = trainer.confident(seen)[0].tolist()
    assert kept == golden["selected_idx_in_order"] and len(kept) == golden["n_selected"]
    last, first = seen.entropies[0].sort().values[len(kept) - 1 :][:2].tolist()
    assert first - last == pytest.approx(golden["gap_between_last_selected_and_first_rejected_entropy"], abs=1e-4)
    ctx = seen.start["ctx"].clone().requires_grad_()
    loss = trainer.adaptation_loss({"ctx": ctx}, seen)
    assert loss.tolist() == pytest.approx([golden["loss_avg_entropy_init"]], rel=5e-5)
    loss.sum().backward()
    check = golden["grad_per_step"][0]
    assert float(ctx.grad.norm()) == pytest.approx(check["l2"], rel=3e-4)
    assert recipe.probe("ctx", ctx.grad[0]) == pytest.approx(check["probe"], abs=1e-3 * check["l2"])
    logits, _, whole = trainer.adapt(views)
    assert_logits(logits, golden["logits_view0_after"], atol=1e-3)
    assert whole.all()
    assert_logits(trainer.predict(views[:, 0]), golden["logits_view0_after_reset"])


def test_a_run_prints_the_lines_of_the_released_code(run, capsys):
    record = run("TPT", "TRAINER.TPT.VIEWS", 4, "TRAINER.TPT.TPT_THRESHOLD", 0.5)
    first, fifth = (f"{record['metrics'][key]:.2f}" for key in ("accuracy", "top5_accuracy"))
    printed = capsys.readouterr().out
    assert f"=> Acc. on testset [MiniDG]: @1 {first}/ @5 {fifth}" in printed
    assert f"MiniDG\t{first}\t{fifth}" in printed
    assert record["diagnostics"]["kept_views"] == 2 and record["diagnostics"]["start_run"] == ""
    assert float(fifth) > float(first)


@pytest.mark.stored
@pytest.mark.parametrize("case", CASES)
def test_every_step_is_that_of_the_released_code(case):
    golden, trainer = CASES[case], golden_tpt(case)
    with torch.no_grad():
        seen = trainer.see(golden_views())
    losses, gradients, c = [], [], CASES[case]["config"]

    def loss(values):
        value = trainer.adaptation_loss(values, seen)
        losses.append(value.item())
        gradients.append(torch.autograd.grad(value.sum(), values["ctx"], retain_graph=True)[0][0])
        return value

    values, _ = adapt(seen.start, loss, c["steps"], c["lr"], trainer.options.WEIGHT_DECAY)
    exact_first = [5e-5] + [1e-3] * (c["steps"] - 1)  # AdamW turns signs that are rounding noise; measured 2e-6
    for found, expected, rel in zip(losses, golden["loss_per_step"], exact_first, strict=True):
        assert found == pytest.approx(expected, rel=rel)
    for found, check, rel in zip(gradients, golden["grad_per_step"], [3e-4, 1e-3]):
        assert float(found.norm()) == pytest.approx(check["l2"], rel=rel)
        assert recipe.probe("ctx", found) == pytest.approx(check["probe"], abs=10 * rel * check["l2"])
    assert len(gradients) == len(golden["grad_per_step"]) == c["steps"]
    assert_parameters({"ctx": values["ctx"][0]}, golden["ctx_after"], rel=1e-3)


@pytest.mark.parametrize("dataset, on", [("ImageNet", False), ("ImageNetA", False), ("EuroSAT", True)])
def test_augmix_is_on_where_the_released_code_has_it_on(dataset, on):
    trainer = golden_tpt("sel0.1_1step")
    trainer.cfg.DATASET.NAME = dataset
    assert trainer.uses_augmix() is on
    trainer.options.AUGMIX = "off"
    assert not trainer.uses_augmix()


def test_keys_of_the_released_configurations_are_understood(command):
    from promptshift.runs.config import build_cfg

    assert build_cfg(command("TPT", "TRAINER.TPT.BATCH_SIZE", 32))[0].TRAINER.TPT.VIEWS == 32
    cfg, _ = build_cfg(
        command("PromptAlign", "TRAINER.TPT.BATCH_SIZE", 32, "TRAINER.TPT.LR", 0.04, "TRAINER.TPT.ALIGN_LAYER_TO", 4)
    )
    assert (cfg.TRAINER.PROMPTALIGN.VIEWS, cfg.TRAINER.PROMPTALIGN.LR, cfg.TRAINER.PROMPTALIGN.ALIGN_LAYER_TO) == (
        32,
        0.04,
        4,
    )
