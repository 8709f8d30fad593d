"""Views of an image: what they are, what they depend on, and which of them are kept."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms as T

from dassl.data.data_manager import _seed_all
from promptshift.modeling.views import AugMix, ViewTransform, most_confident, take_views

CLEAN = T.Compose([T.Resize(32, T.InterpolationMode.BICUBIC), T.CenterCrop(32), T.ToTensor()])


@pytest.fixture
def image():
    pixels = np.random.default_rng(0).integers(40, 200, (12, 16, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((64, 48), Image.Resampling.BICUBIC)


def views_of(image, seed, views=6, **options):
    _seed_all(seed)
    return ViewTransform(CLEAN, (32, 32), views, **options)(image)


def test_the_first_view_is_the_clean_one_and_the_others_are_random(image):
    views = views_of(image, 1)
    assert views.shape == (6, 3, 32, 32)
    torch.testing.assert_close(views[0], CLEAN(image))
    assert all((views[0] - view).abs().mean() > 0.01 for view in views[1:])
    torch.testing.assert_close(views_of(image, 1), views)
    other = views_of(image, 2)
    torch.testing.assert_close(other[0], views[0])
    assert (other[1:] - views[1:]).abs().mean() > 0.01


def test_crops_of_the_whole_image_differ_by_the_flip_alone():
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8))
    views = views_of(image, 0, views=40, scale=(1.0, 1.0))
    clean = CLEAN(image)
    kinds = [
        next(
            (
                kind
                for kind, view in (("same", clean), ("flipped", clean.flip(2)))
                if torch.allclose(view, other, atol=1e-6)
            ),
            "other",
        )
        for other in views[1:]
    ]
    assert kinds.count("same") > 5 and kinds.count("flipped") > 5  # others had their side ratio changed


def test_augmix_mixes_and_stays_in_range(image):
    mixed, plain = views_of(image, 3, views=30, augmix=True), views_of(image, 3, views=30)
    torch.testing.assert_close(mixed[0], plain[0])
    assert 0 <= mixed.min() and mixed.max() <= 1
    assert (mixed[1:] - plain[1:]).abs().mean() > 0.01


def test_augmix_without_strength_is_the_weighted_image(image, monkeypatch):
    monkeypatch.setattr(AugMix, "_chain", lambda self, image: image)
    torch.testing.assert_close(AugMix(CLEAN)(image), CLEAN(image))


def test_every_operation_of_augmix_changes_pixels_and_keeps_the_size(image):
    from promptshift.modeling.views import _OPERATIONS

    for operation in _OPERATIONS:
        changed = operation(image, 0.9)
        assert changed.size == image.size and changed.tobytes() != image.tobytes()


def test_the_most_confident_views_come_in_order_and_are_taken_image_by_image():
    entropies = torch.tensor([[3.0, 1.0, 2.0, 0.5], [0.1, 0.2, 0.1, 9.0]])
    kept = most_confident(entropies, 2)
    assert kept.tolist() == [[3, 1], [0, 2]]
    values = torch.arange(24.0).view(2, 4, 3)
    torch.testing.assert_close(take_views(values, kept), torch.stack([values[0, [3, 1]], values[1, [0, 2]]]))
