"""DPL: one context a domain in training, one an image in evaluation, one a batch on request."""

import pytest
import torch
import torch.nn.functional as F

import helpers.goldens_recipe as recipe
from dassl.utils.errors import UserError
from helpers.golden_trainers import batch, trainer_on_golden_clip
from trainers.dplclip import DPLCLIP


def dpl(**options):
    torch.manual_seed(3)
    trainer = trainer_on_golden_clip(DPLCLIP, CTX_INIT="a photo of a", MLP_WIDTH=32, **options)
    with torch.no_grad():  # contexts that differ between images by much
        trainer.mlp_model.output.weight.mul_(10)
    trainer.mlp_model.eval()
    return trainer


def logits_under(trainer, features, context):
    return trainer.clip.logit_scale * features @ trainer.template.features(context).T


@torch.no_grad()
def test_training_takes_the_mean_context_of_each_domain_in_the_batch():
    trainer, data = dpl(), batch()  # domains 0, 2, 1, 0
    features = trainer.encode_images(data["img"])
    contexts = trainer.mlp_model(features)
    assert contexts.shape == (4, 4, 128)
    means = [contexts[[0, 3]].mean(dim=0), contexts[1], contexts[2], contexts[[0, 3]].mean(dim=0)]
    rows = torch.stack([logits_under(trainer, f, mean) for f, mean in zip(features, means)])
    torch.testing.assert_close(trainer.loss(data)["loss"], F.cross_entropy(rows, data["label"]), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_a_test_image_is_its_own_domain_unless_asked_otherwise():
    images = recipe.images()
    trainer = dpl()
    features = trainer.encode_images(images)
    contexts = trainer.mlp_model(features)
    own = torch.stack([logits_under(trainer, f, c) for f, c in zip(features, contexts)])
    torch.testing.assert_close(trainer.predict(images), own, atol=1e-4, rtol=0)
    together = dpl(TRANSDUCTIVE=True).predict(images)
    torch.testing.assert_close(together, logits_under(trainer, features, contexts.mean(dim=0)), atol=1e-4, rtol=0)
    assert (together - own).abs().max() > 0.01


def test_images_stand_alone(assert_images_stand_alone):
    assert_images_stand_alone(dpl())


def test_layers_and_gradients():
    trainer = trainer_on_golden_clip(DPLCLIP, N_CTX=2, MLP_WIDTH=16, MLP_DEPTH=4)
    assert {n: tuple(p.shape) for n, p in trainer.mlp_model.named_parameters() if p.dim() == 2} == {
        "input.weight": (16, 64),
        "hiddens.0.weight": (16, 16),
        "hiddens.1.weight": (16, 16),
        "output.weight": (2 * 128, 16),
    }
    trainer.loss(batch())["loss"].backward()
    assert all(p.grad.norm() > 0 for p in trainer.mlp_model.parameters())


def test_sizes_that_do_not_fit_are_named():
    for options, words in [(dict(EMBEDDING_DIM=64), "EMBEDDING_DIM: 64.*0, 128"), (dict(MLP_DEPTH=1), "MLP_DEPTH 1")]:
        with pytest.raises(UserError, match=words):
            trainer_on_golden_clip(DPLCLIP, **options)
    trainer_on_golden_clip(DPLCLIP, EMBEDDING_DIM=128)


def test_a_run_learns_and_evaluates_alone(run):
    options = ("DATALOADER.TRAIN_X.FEATURE_VIEWS", 1, "OPTIM.LR", 0.01, "OPTIM.MAX_EPOCH", 3)
    record = run("DPLCLIP", *options)
    losses = [epoch["loss"] for epoch in record["history"]]
    assert losses[-1] < losses[0]
    assert run("DPL", *options, folder="eval", model_dir="run", config="DPLCLIP")["metrics"] == record["metrics"]
