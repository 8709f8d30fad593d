"""PromptAlign against promptalign.json: kept views, losses, gradients, parameters and logits of the released code."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import helpers.goldens_recipe as recipe
from helpers.golden_trainers import (
    assert_gradients,
    assert_logits,
    assert_parameters,
    assert_token_ids,
    trainer_on_golden_clip,
)
from promptshift.adapting.steps import adapt
from promptshift.losses import marginal_entropy
from promptshift.modeling.prototypes import SourcePrototypes
from trainers.promptalign import PromptAlign

CASES = recipe.golden("promptalign")["cases"]


def golden_source(n_ctx=2):
    shape = (recipe.VIT["vision_layers"], 1 + 16 + n_ctx, recipe.VIT["vision_width"])
    means, variances = (
        torch.from_numpy(0.5 * recipe.normal(f"promptalign:target_{kind}", shape)).float() for kind in ("mean", "var")
    )
    return SourcePrototypes(means, variances.abs(), *(torch.empty(0) for _ in range(3)), about={})


def golden_promptalign(case):
    golden, c = CASES[case], CASES[case]["config"]
    trainer = trainer_on_golden_clip(
        PromptAlign,
        PREC="fp32",
        RELEASED_LAYERS=True,
        ALIGN_LAYER_FROM=c["f"],
        ALIGN_LAYER_TO=c["t"],
        TPT_LOSS=c["tpt"],
        DISTR_ALIGN=c["al"],
        **{key: value for key, value in c.items() if key.isupper()},
    )
    trainer.prompt_learner.load_state_dict(
        {
            name: recipe.train_value(t["key"], t["shape"], t["kind"])
            for name, t in golden["trainable (keys are those of method 'maple')"].items()
        }
    )
    trainer.source = golden_source()
    return trainer, golden


def of_one_image(values):
    return {name.removeprefix("prompt_learner."): value[0] for name, value in values.items()}


@pytest.mark.stored
@pytest.mark.parametrize("case", CASES)
def test_an_image_is_adapted_as_by_the_released_code(case):
    trainer, golden = golden_promptalign(case)
    views = recipe.images(tag=2001, batch=64).unsqueeze(0)
    assert_token_ids(trainer.template, golden["token_ids"])
    with torch.no_grad():
        seen = trainer.see(views)
    assert_logits(seen.logits[:, 0], golden["logits_view0_init"])
    assert trainer.confident(seen)[0].tolist() == golden["selected_idx"]
    if "avg_entropy" in golden:
        entropy = marginal_entropy(seen.logits[:, golden["selected_idx"]])
        assert entropy.tolist() == pytest.approx([golden["avg_entropy"]], rel=5e-5)
    values = {name: value.clone().requires_grad_() for name, value in seen.start.items()}
    trainer.adaptation_loss(values, seen).sum().backward()
    gradients = {name: torch.zeros_like(value) if value.grad is None else value.grad for name, value in values.items()}
    assert_gradients(
        {name: SimpleNamespace(grad=gradient) for name, gradient in of_one_image(gradients).items()}, golden["grad"]
    )
    adapted, whole = adapt(seen.start, lambda values: trainer.adaptation_loss(values, seen), 1, 0.04, 0.01)
    assert_parameters(of_one_image(adapted), golden["param_after"], rel=1e-3, probes=False)
    assert whole.all()
    logits, _, _ = trainer.adapt(views)
    assert_logits(logits, golden["logits_view0_after"], atol=1e-3)
    assert_logits(trainer.predict(views[:, 0]), golden["logits_view0_init"])  # the next image starts anew


@pytest.mark.stored
@pytest.mark.parametrize("case", [case for case in CASES if "distr_loss_unweighted" in CASES[case]])
def test_alignment_of_the_layers_that_the_released_code_sums(case):
    trainer, golden = golden_promptalign(case)
    with torch.no_grad():
        seen = trainer.see(recipe.images(tag=2001, batch=64).unsqueeze(0))
        kept = seen.views[:, golden["selected_idx"]]
        _, tokens = trainer.view_features(trainer.prompt_learner.prompts(seen.start), kept)
        means = [layer[0].mean(dim=0) for layer in tokens]
        np.testing.assert_allclose([mean.norm() for mean in means], golden["out_mean_l2_per_layer"], rtol=5e-5)
        assert [len(tokens), *tokens[0].shape[2:]] == golden["stat_shape"]
        variances = [layer[0].var(dim=0, unbiased=False) for layer in tokens]
        np.testing.assert_allclose([x.norm() for x in variances], golden["out_var_l2_per_layer"], rtol=5e-5)
        layers = golden["config"]["t"] - golden["config"]["f"]
        assert trainer.options.DISTR_LOSS_W / layers == pytest.approx(golden["weight_applied_to_distr_loss"])
        assert layers - 1 == len(golden["layers_actually_summed"])
        assert trainer.alignment(tokens).item() * layers == pytest.approx(golden["distr_loss_unweighted"], rel=5e-5)
    trainer.options.RELEASED_LAYERS = False
    summed = trainer.alignment(tokens).item() * layers
    assert summed > golden["distr_loss_unweighted"] * (layers - 0.5) / (layers - 1)  # one layer more, same divisor
