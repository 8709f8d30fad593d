"""Trainers on the golden CLIP, without data: their own build_prompts, loss and predict, nothing else."""

import numpy as np
import pytest
import torch
from yacs.config import CfgNode as CN

import helpers.goldens_recipe as recipe
from dassl.config.options import block


def trainer_on_golden_clip(cls, kind="vit", classnames=recipe.CLASSNAMES, **options):
    """A trainer of class `cls` as build_model would leave it, on the golden CLIP of `kind`, fp32 unless PREC says."""
    trainer = object.__new__(cls)
    defaults = block(cls.DEFAULTS)
    defaults.merge_from_list([x for pair in options.items() for x in pair])
    trainer.cfg = CN(
        {"TRAINER": {cls.BLOCK: defaults}, "MODEL": {"TEXT_CHUNK": 16384}, "DATASET": {"NAME": "PACS"}, "SEED": 1}
    )
    trainer.options, trainer.device, trainer.precision = defaults, torch.device("cpu"), options.get("PREC", "fp32")
    trainer.clip = recipe.clip(kind, trainer.precision)
    trainer.max_epoch = 1
    trainer.modules = trainer.build_prompts(trainer.clip, list(classnames))
    return trainer


def batch(res=32):
    return {"img": recipe.images(res=res), "label": torch.tensor([0, 3, 5, 2]), "domain": torch.tensor([0, 2, 1, 0])}


def sgd(parameters):
    """Dassl's SGD as the golden files used it."""
    return torch.optim.SGD(parameters, lr=0.0035, momentum=0.9, weight_decay=5e-4)


def assert_logits(actual, expected, atol=1e-4):
    np.testing.assert_allclose(actual.detach(), expected, atol=atol)


def assert_gradients(parameters, expected):
    """Norm and direction of gradients (tolerances of the recipe, section 5)."""
    for name, check in expected.items():
        grad = parameters[name].grad
        if check["l2"] < 1e-4:  # rounding noise
            continue
        assert float(grad.norm()) == pytest.approx(check["l2"], rel=3e-4), name
        assert recipe.probe(name, grad) == pytest.approx(check["probe"], abs=1e-3 * check["l2"]), name


def assert_parameters(parameters, expected, rel=5e-4, probes=True):
    for name, check in expected.items():
        value = parameters[name]
        assert float(value.detach().norm()) == pytest.approx(check["l2"], rel=rel, abs=1e-5), name
        if probes:
            assert recipe.probe(name, value) == pytest.approx(check["probe"], abs=1e-3 * check["l2"] + 1e-5), name


def assert_sgd_step(trainer, module, golden, data):
    """Parameters, logits, loss and gradients before one SGD step of `module`, parameters and logits after it."""
    parameters = dict(module.named_parameters())
    assert_parameters(parameters, golden["param_init"], rel=1e-6)
    with torch.no_grad():
        assert_logits(trainer.predict(data["img"]), golden["logits_init"])
    parts = trainer.loss(data)
    assert parts["loss"].item() == pytest.approx(golden["loss_summary"]["loss"], rel=5e-5)
    parts["loss"].backward()
    assert_gradients(parameters, golden["grad"])
    sgd(module.parameters()).step()
    assert_parameters(parameters, golden["param_after_step"])
    with torch.no_grad():
        assert_logits(trainer.predict(data["img"]), golden["logits_after_step"], atol=3e-4)
