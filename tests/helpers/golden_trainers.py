"""Trainers on the golden CLIP and class names, without images; what golden files are compared with."""

import numpy as np
import pytest
import torch

import helpers.goldens_recipe as recipe
from dassl.data import ClassNames
from helpers.golden_run import golden_cfg


def trainer_on_golden_clip(cls, kind="vit", classnames=recipe.CLASSNAMES, seed=0, **options):
    """A trainer of class `cls` on the golden CLIP of `kind` with weights of `seed`, fp32 unless PREC says."""
    words = [word for key, value in options.items() for word in (f"TRAINER.{cls.BLOCK}.{key}", value)]
    same = ["DATASET.NAME", "PACS", "SEED", 1, "OPTIM.MAX_EPOCH", 1]
    cfg = golden_cfg(cls, *same, *words, size=64 if kind == "rn" else 32)
    clip = recipe.clip(kind, options.get("PREC", "fp32"), seed)
    trainer = cls(cfg, data=ClassNames(classnames), clip=clip)
    trainer.modules = dict(trainer._models)
    return trainer


def batch(res=32):
    return {"img": recipe.images(res=res), "label": torch.tensor([0, 3, 5, 2]), "domain": torch.tensor([0, 2, 1, 0])}


def sgd(parameters):
    """Dassl's SGD as the golden files used it."""
    return torch.optim.SGD(parameters, lr=0.0035, momentum=0.9, weight_decay=5e-4)


def assert_logits(actual, expected, atol=1e-4):
    np.testing.assert_allclose(actual.detach(), expected, atol=atol)


def assert_token_ids(template, expected):
    """Token ids of every class up to its end of text, with nothing behind it."""
    rows = [row[: end + 1] for row, end in zip(template.tokens.tolist(), template.eot.tolist(), strict=True)]
    assert rows == expected and not any(any(row[len(ids) :]) for row, ids in zip(template.tokens.tolist(), expected))


def assert_gradients(parameters, expected, seed=0):
    """Norm and direction of gradients (tolerances of the recipe, section 5)."""
    for name, check in expected.items():
        grad = parameters[name].grad
        if check["l2"] < 1e-4:  # rounding noise
            continue
        assert float(grad.norm()) == pytest.approx(check["l2"], rel=3e-4), name
        assert recipe.probe(name, grad, seed) == pytest.approx(check["probe"], abs=1e-3 * check["l2"]), name


def assert_parameters(parameters, expected, rel=5e-4, probes=True, seed=0):
    for name, check in expected.items():
        value = parameters[name]
        assert float(value.detach().norm()) == pytest.approx(check["l2"], rel=rel, abs=1e-5), name
        if probes:
            assert recipe.probe(name, value, seed) == pytest.approx(check["probe"], abs=1e-3 * check["l2"] + 1e-5), name


def assert_sgd_step(trainer, module, golden, data):
    """Parameters, logits, loss and gradients before one SGD step of `module`, parameters and logits after it."""
    parameters = dict(module.named_parameters())
    assert_parameters(parameters, golden["param_init"], rel=1e-6)
    with torch.no_grad():
        assert_logits(trainer.predict(data["img"]), golden["logits_init"])
    parts = trainer.loss(data)
    assert parts["loss"].item() == pytest.approx(golden["loss_summary"]["loss"], rel=5e-5)
    called = golden["functional_losses_in_call_order"] if "functional_losses_in_call_order" in golden else {}
    if len(called) == 1:  # regularisers have tests of their own
        assert [parts["loss"].item()] == pytest.approx(called["cross_entropy"], rel=5e-5)
    parts["loss"].backward()
    assert_gradients(parameters, golden["grad"])
    sgd(module.parameters()).step()
    assert_parameters(parameters, golden["param_after_step"])
    with torch.no_grad():
        assert_logits(trainer.predict(data["img"]), golden["logits_after_step"], atol=3e-4)


def trainer_of_case(cls, golden, classnames, *opts, kind="vit", seed=0, optim=None):
    """A trainer of class `cls` with the dataset, the optimizer and the learnt tensors of a golden case.

    Args:
        golden: a case; its `trainable` tensors are regenerated, those without a key stay as they are initialised.
        opts: KEY VALUE pairs.
        optim: the settings of the optimizer, those of the case without it.
    """
    optim = optim or golden["optim"]
    adam = optim["class"] == "Adam"
    cfg = golden_cfg(
        cls,
        *("DATASET.NAME", golden["config"]["dataset"], "SEED", 1, "OPTIM.MAX_EPOCH", 1),
        *("OPTIM.NAME", optim["class"].lower(), "OPTIM.LR", optim["lr"], "OPTIM.WEIGHT_DECAY", optim["weight_decay"]),
        *opts,
        size=64 if kind == "rn" else 32,
    )
    assert optim["betas"] == [0.9, 0.999] if adam else optim["momentum"] == 0.9
    trainer = cls(cfg, data=ClassNames(classnames), clip=recipe.clip(kind, "fp32", seed))
    tensors = {
        name: recipe.train_value(t["key"], t["shape"], t["kind"], seed)
        for name, t in golden["trainable"].items()
        if t["key"]
    }
    learnt = learnt_parameters(trainer)
    assert set(learnt) == set(golden["trainable"])
    with torch.no_grad():
        for name, value in tensors.items():
            learnt[name].copy_(value)
    trainer.modules = dict(trainer._models)
    return trainer


def learnt_parameters(trainer):
    """What a trainer with one registered model learns, by upstream's names."""
    (name,) = trainer.get_model_names()
    prefix = f"{name}." if name == "prompt_learner" else ""
    return {prefix + key: p for key, p in trainer._models[name].named_parameters() if p.requires_grad}


def assert_case(trainer, golden, loss="loss", rel=5e-4, atol=3e-4, key="loss"):
    """One and three steps of the trainer's own optimizer against a golden case (tolerances of the recipe, section 5).

    Args:
        loss: what the golden file calls the loss in `loss_summary`.
        rel, atol: tolerances of parameters and logits after a step.
        key: what the trainer calls it.
    """
    data = {"img": recipe.images(golden["batch"]["image_tag"], golden["batch"]["B"], trainer.clip.image_size)}
    data["label"] = torch.tensor(golden["batch"]["labels"])
    parameters, losses, optim = learnt_parameters(trainer), [], next(iter(trainer._optims.values()))
    assert_parameters(parameters, golden["param_init"], rel=1e-6)
    with torch.no_grad():
        assert_logits(trainer.predict(data["img"]), golden["logits_init"])
    for step in range(3):
        parts = trainer.loss(data)
        losses.append(parts[key].item())
        optim.zero_grad()
        parts["loss"].backward()
        trainer.after_backward(trainer.get_model_names())
        if step == 0:
            assert_gradients(parameters, golden["grad"])
        optim.step()
        if step == 0:
            after = {name: p.detach().clone() for name, p in parameters.items()}
            assert_parameters(parameters, golden["param_after_step"], rel=rel)
            with torch.no_grad():
                assert_logits(trainer.predict(data["img"]), golden["logits_after_step"], atol=atol)
    np.testing.assert_allclose(losses, [golden["loss_summary"][loss], *golden["loss_steps_2_3"]], rtol=5e-5)
    assert_parameters(parameters, golden["param_after_3_steps"], rel=rel)
    with torch.no_grad():
        for name, value in after.items():
            parameters[name].copy_(value)
    return data, parts


def saved_as_released(trainer, golden):
    """The state dict of a released checkpoint: what is learnt, beside whatever else the released code saves."""
    (name,) = trainer.get_model_names()
    state = {key: value.clone() for key, value in trainer._models[name].state_dict().items()}
    return {
        key: torch.zeros(shape) for key, shape in golden["checkpoint"]["keys_outside_the_frozen_towers"].items()
    } | state
