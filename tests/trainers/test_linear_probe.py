"""Linear probing: the fit is scikit-learn's, the model that is kept predicts the same."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

import helpers.goldens_recipe as recipe
from dassl.utils.errors import UserError
from helpers.golden_trainers import trainer_on_golden_clip
from trainers.linear_probe import LinearProbe


@pytest.fixture
def probe():
    return trainer_on_golden_clip(LinearProbe)


def blobs(classes, n=20):
    """Features (n, 64) around one random centre a class, float32, and labels."""
    rng = np.random.default_rng(0)
    labels = np.arange(n) % len(classes)
    features = rng.normal(size=(len(classes), 64))[labels] + rng.normal(size=(n, 64))
    return features.astype(np.float32), np.array(classes)[labels]


@torch.no_grad()
@pytest.mark.parametrize("classes", [range(6), [0, 2, 5], [1, 4]])
def test_probabilities_are_scikit_learn_s(probe, classes):
    features, labels = blobs(classes)
    probe.fit(features, labels)
    expected = LogisticRegression(C=0.316, max_iter=1000).fit(features, labels).predict_proba(features)
    found = probe.predict_features(torch.from_numpy(features)).softmax(dim=1)
    np.testing.assert_allclose(found[:, list(classes)], expected, atol=1e-4)
    absent = [k for k in range(6) if k not in classes]
    assert (found[:, absent] == 0).all()


@pytest.mark.stored
def test_features_are_clip_s_own(probe):
    features = recipe.golden("zeroshot")["cases"]["vit"]["image_features_unnormalised"]
    np.testing.assert_allclose(probe.encode_images(recipe.images()), features, atol=1e-4)


def test_one_class_is_refused(probe):
    probe.cfg.DATASET.NAME = "PACS"
    with pytest.raises(UserError, match="PACS.*two classes"):
        probe.fit(*blobs([3]))


def test_images_stand_alone(probe, assert_images_stand_alone):
    probe.fit(*blobs(range(6)))
    assert_images_stand_alone(probe)


@pytest.mark.parametrize(
    "options, images",
    [
        ((), 480),
        (("TRAINER.CLIP_LR.AUGMENTED", True), 450),  # whole batches of 50
        (("TRAINER.CLIP_LR.AUGMENTED", True, "DATALOADER.TRAIN_X.FEATURE_VIEWS", 1), 450),
    ],
)
def test_a_run_fits_once_and_evaluates_alone(run, tmp_path, capsys, options, images):
    options += ("DATALOADER.TRAIN_X.BATCH_SIZE", 50)
    record = run("LinearProbe", *options)
    fitted = int(capsys.readouterr().out.split("logistic regression on ")[1].split()[0])
    assert fitted == images and record["metrics"]["accuracy"] > 30  # chance: 5
    state = torch.load(tmp_path / "run" / "linear_probe" / "model-best.pth.tar", weights_only=True)["state_dict"]
    assert set(state) == {"weight", "bias"}
    assert (
        run("CLIP_LR", *options, folder="eval", model_dir="run", config="LinearProbe")["metrics"] == record["metrics"]
    )


def test_views_without_augmentation_are_refused(refused):
    line = refused("LinearProbe", "DATALOADER.TRAIN_X.FEATURE_VIEWS", 1)
    assert "FEATURE_VIEWS" in line and "AUGMENTED" in line
