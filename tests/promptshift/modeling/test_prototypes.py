"""Source statistics and prototypes: their numbers, their file, released files."""

import pytest
import torch
import torch.nn.functional as F

import helpers.goldens_recipe as recipe
from dassl.utils.errors import UserError
from promptshift.modeling.multimodal import CoupledPrompts
from promptshift.modeling.prototypes import (
    Collector,
    load_prototypes,
    patch_features,
    released_statistics,
    weights_identity,
)


@pytest.fixture(scope="module")
def learner():
    torch.manual_seed(0)
    return CoupledPrompts(recipe.clip(), list(recipe.CLASSNAMES), 2, "a photo of a", 3, 16384, "MAPLE")


@pytest.fixture(scope="module")
def images():
    return recipe.images(tag=3, batch=9 * 2).unflatten(0, (9, 2))


LABELS = torch.tensor([0, 1, 2, 0, 1, 4, 4, 4, 0])  # no image of classes 3 and 5


@pytest.fixture(scope="module")
@torch.no_grad()
def collected(learner, images):
    collector = Collector(learner.tower, learner(), 6)
    for part, labels in zip(images.split(4), LABELS.split(4)):
        collector.add(part, labels)
    return collector.finish(learner.class_features(), {"classes": list(recipe.CLASSNAMES)})


@torch.no_grad()
def test_statistics_and_prototypes_are_those_of_all_images_at_once(collected, learner, images):
    prompts = learner()
    _, tokens = learner.tower.encode_with_tokens(images[:, 0], prompts.vision, prompts.deep_vision)
    for layer, mean, variance in zip(tokens, collected.means, collected.variances):
        torch.testing.assert_close(mean, layer.mean(dim=0), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(variance, layer.var(dim=0, unbiased=False), atol=1e-5, rtol=1e-4)
    patches = patch_features(learner.tower, tokens[-1], 2)
    for a in range(2):
        features = learner.image_features(images[:, a])
        for row, label in enumerate((0, 1, 2, 4)):
            expected = F.normalize(features[label == LABELS].mean(dim=0), dim=-1)
            torch.testing.assert_close(collected.cls[a, row], expected, atol=1e-5, rtol=1e-4)
    expected = F.normalize(patches[LABELS == 4].mean(dim=0), dim=-1)
    torch.testing.assert_close(collected.vision[3], expected, atol=1e-5, rtol=1e-4)


def test_classes_without_images_have_no_prototype(collected, learner):
    assert collected.about == {"classes": [recipe.CLASSNAMES[i] for i in (0, 1, 2, 4)], "images": 9}
    torch.testing.assert_close(collected.text, learner.class_features()[[0, 1, 2, 4]])
    assert collected.cls.shape == (2, 4, 64)


@torch.no_grad()
def test_the_class_token_behind_the_same_block_is_the_image_feature(learner, images):
    prompts, tower = learner(), learner.tower
    features, tokens = tower.encode_with_tokens(images[:, 0], prompts.vision, prompts.deep_vision)
    whole = tower.visual.ln_post(tower.blocks[-1](tokens[-1])) @ tower.visual.proj
    torch.testing.assert_close(whole[:, 0], features, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        patch_features(tower, tokens[-1], 2), F.normalize(whole[:, 1:17].mean(dim=1), dim=-1), atol=1e-5, rtol=1e-4
    )


def test_a_file_holds_them_and_what_made_them(collected, tmp_path):
    collected.save(tmp_path / "p.safetensors")
    again = load_prototypes(tmp_path / "p.safetensors")
    assert again.about == collected.about
    for name, tensor in collected.tensors.items():
        torch.testing.assert_close(again.tensors[name], tensor, atol=0, rtol=0)


def test_missing_and_foreign_files_are_named(tmp_path):
    with pytest.raises(UserError, match="no prototypes at .*nowhere"):
        load_prototypes(tmp_path / "nowhere")
    (tmp_path / "foreign").write_bytes(b"not safetensors at all")
    with pytest.raises(UserError, match="foreign holds no prototypes"):
        load_prototypes(tmp_path / "foreign")


@pytest.mark.parametrize(
    "form",
    [lambda t: t, lambda t: list(t), lambda t: [x.unsqueeze(0).double() for x in t], lambda t: dict(enumerate(t))],
    ids=["tensor", "list", "lists of one", "dict"],
)
def test_released_statistics_load_in_every_form(tmp_path, form):
    means, variances = torch.randn(4, 5, 3), torch.rand(4, 5, 3)
    for name, tensor in (("means.pt", means), ("vars.pt", variances)):
        torch.save(form(tensor), tmp_path / name)
    source = released_statistics(str(tmp_path / "means.pt"), str(tmp_path / "vars.pt"))
    torch.testing.assert_close(source.means, means)
    torch.testing.assert_close(source.variances, variances)


def test_released_statistics_that_do_not_fit_are_refused(tmp_path):
    torch.save(torch.zeros(4, 5, 3), tmp_path / "means.pt")
    torch.save(torch.zeros(4, 5, 2), tmp_path / "vars.pt")
    with pytest.raises(UserError, match=r"\(4, 5, 3\) and \(4, 5, 2\)"):
        released_statistics(str(tmp_path / "means.pt"), str(tmp_path / "vars.pt"))
    torch.save("a text", tmp_path / "vars.pt")
    with pytest.raises(UserError, match="holds a str"):
        released_statistics(str(tmp_path / "means.pt"), str(tmp_path / "vars.pt"))
    with pytest.raises(UserError, match="no statistics at .*none.pt"):
        released_statistics(str(tmp_path / "means.pt"), str(tmp_path / "none.pt"))


def test_precision_does_not_change_the_identity_of_weights_but_weights_do():
    clip = recipe.clip()
    assert weights_identity(clip) == weights_identity(recipe.clip(precision="fp16"))
    assert weights_identity(clip) != weights_identity(recipe.clip("rn"))
