"""Transforms by configuration."""

import numpy as np
import pytest
import torch
from PIL import Image

from dassl.config import get_cfg_default, merge_opts
from dassl.data.transforms import AVAI_CHOICES, INTERPOLATION_MODES, build_transform
from dassl.data.transforms.transforms import Cutout, GaussianNoise, InstanceNormalization, Random2DTranslation
from dassl.utils.errors import UserError


def cfg_with(*choices, **values):
    cfg = get_cfg_default()
    merge_opts(cfg, ["INPUT.TRANSFORMS", choices, "INPUT.SIZE", (16, 16)])
    merge_opts(cfg, [x for key, value in values.items() for x in (f"INPUT.{key}", value)])
    return cfg


def picture(width=40, height=24):
    gradient = np.linspace(0, 255, width * height * 3).reshape(height, width, 3).astype(np.uint8)
    return Image.fromarray(gradient)


@pytest.mark.parametrize("choice", AVAI_CHOICES)
def test_every_choice_makes_a_tensor_of_the_input_size(choice):
    torch.manual_seed(0)
    extra = ["random_resized_crop"] if choice == "random_crop" else []
    tensor = build_transform(cfg_with(choice, *extra, GB_K=5, GB_P=1.0, RGS_P=1.0))(picture())
    assert tensor.shape == (3, 16, 16) and tensor.dtype == torch.float32


def test_testing_resizes_the_shorter_side_crops_the_centre_and_normalises():
    cfg = cfg_with("random_flip", "random_resized_crop", "normalize")
    image = Image.new("RGB", (40, 20), (255, 0, 0))
    image.paste((0, 255, 0), (0, 0, 10, 20))
    image.paste((0, 255, 0), (30, 0, 40, 20))  # only the middle 20 x 20 is red
    tensor = build_transform(cfg, is_train=False)(image)
    expected = (torch.tensor([1.0, 0, 0]) - torch.tensor(cfg.INPUT.PIXEL_MEAN)) / torch.tensor(cfg.INPUT.PIXEL_STD)
    assert tensor.shape == (3, 16, 16)
    assert torch.allclose(tensor[:, 8, 8], expected, atol=1e-5)
    assert torch.equal(tensor, build_transform(cfg, is_train=False)(image))


def test_training_flips_and_crops_at_random_and_normalises_last():
    transform = build_transform(cfg_with("random_flip", "random_resized_crop", "normalize"))
    assert [type(step).__name__ for step in transform.transforms] == [
        "RandomResizedCrop",
        "RandomHorizontalFlip",
        "ToTensor",
        "Normalize",
    ]
    assert not torch.equal(transform(picture()), transform(picture()))


def test_without_a_crop_training_resizes():
    transform = build_transform(cfg_with("normalize"))
    assert [type(step).__name__ for step in transform.transforms] == ["Resize", "ToTensor", "Normalize"]
    given = build_transform(cfg_with("normalize"), choices=["random_crop"])
    assert "RandomCrop" in [type(step).__name__ for step in given.transforms]


def test_no_transform_is_none(capsys):
    assert build_transform(cfg_with(NO_TRANSFORM=True)) is None
    assert "no transform is applied" in capsys.readouterr().out


@pytest.mark.parametrize(
    "cfg, words",
    [
        (cfg_with("random_flipp"), "unknown transform 'random_flipp'; did you mean 'random_flip'.*normalize"),
        (cfg_with(INTERPOLATION="cubic"), "INTERPOLATION 'cubic' is unknown.*bilinear, bicubic, nearest"),
    ],
)
def test_unknown_names_are_named(cfg, words):
    with pytest.raises(UserError, match=words):
        build_transform(cfg)
    assert set(INTERPOLATION_MODES) == {"bilinear", "bicubic", "nearest"}


def test_cutout_blackens_squares_and_spares_its_input():
    torch.manual_seed(0)
    image = torch.ones(3, 16, 16)
    holes = [Cutout(1, 4)(image) == 0 for _ in range(50)]
    assert image.min() == 1
    assert {int(hole[0].sum()) for hole in holes} >= {16} and all(4 <= hole[0].sum() <= 16 for hole in holes)
    assert all(torch.equal(hole[0], hole[c]) for hole in holes for c in (1, 2))


def test_noise_and_instance_norm_and_translation():
    torch.manual_seed(0)
    noisy = GaussianNoise(mean=1.0, std=0.1, p=1.0)(torch.zeros(3, 64, 64))
    assert noisy.mean() == pytest.approx(1.0, abs=0.01) and noisy.std() == pytest.approx(0.1, abs=0.01)
    assert torch.equal(GaussianNoise(p=-1.0)(noisy), noisy)
    normal = InstanceNormalization()(torch.rand(3, 8, 8) * 5 + 2)
    assert normal.mean((1, 2)).abs().max() < 1e-5 and torch.allclose(normal.std((1, 2)), torch.ones(3), atol=1e-4)
    moved = {Random2DTranslation(16, 16, p=1.0)(picture(16, 16)).tobytes() for _ in range(10)}
    assert len(moved) > 1
    assert Random2DTranslation(16, 16, p=-1.0)(picture(16, 16)).tobytes() == picture(16, 16).tobytes()
