"""What every prompt trainer has of its base: options, loss, precision, features, what it refuses."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

import helpers.goldens_recipe as recipe
from dassl.utils.errors import UserError
from helpers.golden_run import golden_cfg, golden_run
from helpers.golden_trainers import batch, trainer_on_golden_clip
from promptshift.bases.independent_prompts import IndependentPromptsTrainer
from promptshift.bases.inner import inner_trainer
from promptshift.bases.shared_context import SharedContextTrainer
from promptshift.modeling.towers.text_tower import TextTower


class CoOp(SharedContextTrainer):
    """The base as it is."""

    BLOCK = "COOP"


class Regularised(CoOp):
    """The base with one more term, half the mean square of the class features."""

    def regularisers(self, batch, features, classes):
        return {"square": 0.5 * classes.square().mean()}


class Independent(IndependentPromptsTrainer):
    BLOCK = "IVLP"


def test_the_loss_is_the_cross_entropy_of_what_is_predicted_and_the_terms_beside_it():
    data = batch()
    plain, more = trainer_on_golden_clip(CoOp), trainer_on_golden_clip(Regularised)
    more.prompt_learner.load_state_dict(plain.prompt_learner.state_dict())
    parts, logits = plain.loss(data), plain.predict(data["img"])
    expected = F.cross_entropy(logits, data["label"])
    assert set(parts) == {"loss", "acc"} and parts["loss"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert parts["acc"].item() == (logits.argmax(dim=1) == data["label"]).double().mean().item() * 100
    parts = more.loss(data)
    square = 0.5 / plain.clip.embed_dim  # rows of length 1
    assert parts["square"].item() == pytest.approx(square, rel=1e-4)
    assert parts["loss"].item() == pytest.approx(expected.item() + square, rel=1e-5)


def test_features_have_length_one_and_come_from_the_batch_where_it_brings_them():
    trainer, images = trainer_on_golden_clip(CoOp), recipe.images()
    features = trainer.encode_images(images)
    assert features.dtype == torch.float32 and not features.requires_grad
    torch.testing.assert_close(features.norm(dim=1), torch.ones(4))
    torch.testing.assert_close(features, F.normalize(trainer.clip.encode_image(images), dim=-1))
    assert torch.equal(trainer.batch_features({"img": images}), features)
    stored = torch.ones(4, 64)
    assert torch.equal(trainer.learnt_features({"img": images, "feature": stored}), stored)


def test_probabilities_are_of_scaled_scores():
    trainer, images = trainer_on_golden_clip(CoOp), recipe.images()
    logits = trainer.model_inference(images)
    torch.testing.assert_close(trainer.probabilities(images), logits.softmax(dim=-1))
    trainer.COSINE_SCORES = True  # then CLIP's scale is still to be applied
    torch.testing.assert_close(trainer.probabilities(images), (20 * logits).softmax(dim=-1), rtol=1e-4, atol=1e-6)
    assert not trainer.probabilities(images).requires_grad


@pytest.mark.parametrize("precision", ["fp32", "amp", "bf16", "fp16"])
def test_the_precision_is_that_of_the_options(precision):
    trainer = trainer_on_golden_clip(CoOp, PREC=precision)
    assert (trainer.scaler is not None) == (precision == "amp")
    assert trainer.clip.precision == precision and trainer.prompt_learner.ctx.dtype == torch.float32
    with trainer.autocast():
        assert torch.is_autocast_enabled("cpu") == (precision == "amp")


def test_validation_is_every_so_many_epochs_and_after_the_last():
    trainer = trainer_on_golden_clip(CoOp)
    trainer.max_epoch, trainer.cfg.TEST.EVAL_FREQ = 5, 2
    due = []
    for trainer.epoch in range(5):
        due.append(trainer.validates_now())
    assert due == [False, True, False, True, True]


def test_what_no_key_alone_rules_out_is_refused():
    with pytest.raises(UserError, match="MODEL.BACKBONE.NAME is empty"):
        CoOp.check_options(configured("MODEL.BACKBONE.NAME", ""))
    with pytest.raises(UserError, match="MODEL.BACKBONE.NAME: unknown backbone .*ViT-B/61"):
        CoOp.check_options(configured("MODEL.BACKBONE.NAME", "ViT-B/61"))
    for name in ("ViT-B/16", "mini", "ViT-B-32:openai"):
        CoOp.check_options(configured("MODEL.BACKBONE.NAME", name))
    with pytest.raises(UserError, match="INPUT.SIZE: .32, 48. does not fit .*golden-vit.* takes .32, 32."):
        golden_run(CoOp, recipe.CLASSNAMES, "INPUT.SIZE", (32, 48))
    with pytest.raises(UserError, match="DATALOADER.TRAIN_X.FEATURE_VIEWS: .* not Independent; set it to 0"):
        golden_run(Independent, recipe.CLASSNAMES, *depths(2, 2), "DATALOADER.TRAIN_X.FEATURE_VIEWS", 1)


def configured(*opts):
    """A configuration as `check_options` sees it."""
    return golden_cfg(CoOp, *opts)


def depths(vision, text):
    return ["TRAINER.IVLP.PROMPT_DEPTH_VISION", vision, "TRAINER.IVLP.PROMPT_DEPTH_TEXT", text]


@pytest.mark.parametrize("csc, classes, refused", [(True, "new", True), (True, "base", False), (False, "new", False)])
def test_contexts_of_single_classes_do_not_exist_for_new_ones(csc, classes, refused):
    cfg = configured("TRAINER.COOP.CSC", csc, "DATASET.SUBSAMPLE_CLASSES", classes, "MODEL.BACKBONE.NAME", "mini")
    if not refused:
        CoOp.check_options(cfg)
        return
    with pytest.raises(UserError, match="TRAINER.COOP.CSC.*new"):
        CoOp.check_options(cfg)


def test_features_are_stored_for_what_they_depend_on():
    def key(**changes):
        trainer = trainer_on_golden_clip(CoOp)
        trainer.cfg.defrost()
        for name, value in changes.items():
            trainer.cfg.INPUT[name] = value
        return trainer.feature_key

    changes = [
        dict(INTERPOLATION="bicubic"),
        dict(SIZE=(64, 64)),
        dict(PIXEL_MEAN=[0.0, 0.0, 0.0]),
        dict(PIXEL_STD=[1.0, 1.0, 1.0]),
        dict(TRANSFORMS=["normalize"]),
    ]
    keys = [key(), *(key(**change) for change in changes)]
    assert key() == keys[0] and len(set(keys)) == len(keys)
    trainer = trainer_on_golden_clip(CoOp)
    trainer.clip = SimpleNamespace(fingerprint="other", image_size=32)
    assert trainer.feature_key not in keys


def test_towers_without_prompts_stay_as_they_are():
    images, names = recipe.images(), recipe.CLASSNAMES
    plain = golden_run(Independent, names, *depths(0, 2))
    assert plain.FROZEN_IMAGES and torch.equal(plain.image_features(images), plain.encode_images(images))
    vision = golden_run(Independent, names, *depths(2, 0), "TRAINER.IVLP.CTX_INIT", "a photo of a")
    assert not vision.FROZEN_IMAGES
    assert (vision.image_features(images) - vision.encode_images(images)).abs().max() > 1e-3
    words = [f"a photo of a {name.replace('_', ' ')}." for name in names]
    torch.testing.assert_close(vision.class_features(), TextTower(vision.clip).encode_texts(words))
    bare = golden_run(Independent, names, *depths(2, 0), "TRAINER.IVLP.CTX_INIT", "")
    alone = [f"{name.replace('_', ' ')}." for name in names]
    torch.testing.assert_close(bare.class_features(), TextTower(bare.clip).encode_texts(alone))


def test_an_inner_trainer_has_the_outer_one_s_data_and_neither_views_nor_weights_of_its_own():
    outer = trainer_on_golden_clip(CoOp)
    cfg = outer.cfg.clone()
    cfg.defrost()
    cfg.DATALOADER.TRAIN_X.FEATURE_VIEWS, cfg.MODEL.INIT_WEIGHTS = 3, "weights.pt"
    cfg.freeze()
    inner = inner_trainer(Regularised, cfg, outer, ["TRAINER.COOP.N_CTX", 5], outer.clip)
    assert inner.dm is outer.dm and inner.clip is outer.clip and inner.prompt_learner.ctx.shape[0] == 5
    assert inner.cfg.TRAINER.NAME == "Regularised" and inner.cfg.is_frozen()
    assert (inner.cfg.DATALOADER.TRAIN_X.FEATURE_VIEWS, inner.cfg.MODEL.INIT_WEIGHTS) == (0, "")
    assert (cfg.TRAINER.COOP.N_CTX, cfg.MODEL.INIT_WEIGHTS) == (outer.options.N_CTX, "weights.pt")


@pytest.mark.parametrize("precision", ["fp32", "amp"])
def test_a_step_is_backward_hook_update(precision):
    trainer, data = trainer_on_golden_clip(CoOp, PREC=precision), batch()
    ctx, seen = trainer.prompt_learner.ctx, []

    def after_backward(names):
        seen.append((names, ctx.grad.clone(), ctx.detach().clone()))
        ctx.grad.mul_(2)

    trainer.after_backward = after_backward
    before = ctx.detach().clone()
    ctx.grad = torch.full_like(ctx, 1e6)  # of an update before
    with trainer.autocast():
        loss = trainer.loss(data)["loss"]
    (expected,) = torch.autograd.grad(loss, [ctx], retain_graph=True)
    trainer.step(loss)
    ((names, gradient, value),) = seen
    assert names == ["prompt_learner"] and torch.equal(value, before)
    torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-5)  # without the scaler's factor
    group = trainer._optims["prompt_learner"].param_groups[0]
    moved = group["lr"] * (2 * gradient + group["weight_decay"] * before)
    torch.testing.assert_close(before - ctx.detach(), moved, rtol=1e-3, atol=1e-6)
