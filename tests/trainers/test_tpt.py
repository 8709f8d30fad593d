"""TPT against tpt.json: kept views, loss, gradient and context of the released code; runs on the mini world."""

import numpy as np
import pytest
import torch

import helpers.goldens_recipe as recipe
from helpers.golden_trainers import assert_logits, trainer_on_golden_clip
from trainers.tpt import TPT

CASES = recipe.golden("tpt")["cases"]


def golden_tpt(case, **options):
    c = CASES[case]["config"]
    return trainer_on_golden_clip(TPT, PREC="fp32", TPT_THRESHOLD=c["p"], TTA_STEPS=c["steps"], LR=c["lr"], **options)


def golden_views():
    return recipe.images(tag=2001, batch=64).unsqueeze(0)


@pytest.mark.parametrize("case", CASES)
def test_an_image_is_adapted_as_by_the_released_code(case):
    golden, trainer = CASES[case], golden_tpt(case)
    views = golden_views()
    with torch.no_grad():
        seen = trainer.see(views)
    assert_logits(seen.logits[0], golden["logits_64_views_init"])
    np.testing.assert_allclose(seen.entropies[0], golden["entropy_per_view"], atol=1e-4)
    assert trainer.confident(seen)[0].tolist() == golden["selected_idx_in_order"]
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
