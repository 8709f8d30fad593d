"""Pretraining from rendering to the packed file, at toy size."""

import pytest
import torch

from promptshift.mini.model import CONFIGS, build_clip, encode_tokens
from promptshift.mini.muon import Muon, orthogonalise
from promptshift.mini.pretrain import main
from promptshift.mini.weights import MINI_WEIGHTS, WEIGHTS, read_packed


@pytest.mark.parametrize("shape", [(24, 8), (8, 24), (16, 16)])
def test_orthogonalise_flattens_the_spectrum_and_keeps_the_directions(shape):
    torch.manual_seed(0)
    matrix = torch.randn(shape) @ torch.diag(torch.linspace(0.3, 3, shape[1]))
    result = orthogonalise(matrix)
    values = torch.linalg.svdvals(result)
    assert values.max() < 1.3 and values.min() > 0.5
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    rotated = left.T @ result @ right.T  # diagonal when both share their singular vectors
    assert torch.allclose(rotated, torch.diag(rotated.diagonal()), atol=1e-3)


def test_muon_steps_have_the_size_of_adamw():
    weight = torch.nn.Parameter(torch.zeros(64, 64))
    weight.grad = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    Muon([weight], lr=0.1, weight_decay=0.0).step()
    assert weight.detach().pow(2).mean().sqrt().item() == pytest.approx(0.1 * 0.2, rel=0.15)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_toy_run_writes_weights_that_load(name, tmp_path, capsys):
    main(["--out", str(tmp_path / "toy.npz"), "--model", name, "--images", "128", "--epochs", "2", "--seed", "3"])
    assert "SHA-256" in capsys.readouterr().out
    toy, config = read_packed(tmp_path / "toy.npz")
    shipped, shipped_config = read_packed(WEIGHTS[name])
    assert config == shipped_config
    assert {name: value.shape for name, value in toy.items()} == {name: value.shape for name, value in shipped.items()}


def test_truncated_text_equals_the_full_context():
    state_dict, config = read_packed(MINI_WEIGHTS)
    clip = build_clip(config)
    clip.load_state_dict(state_dict)
    tokens = torch.zeros(2, 77, dtype=torch.long)
    tokens[0, :4] = torch.tensor([49406, 320, 1929, 49407])
    tokens[1, :6] = torch.tensor([49406, 320, 1125, 539, 1929, 49407])
    with torch.no_grad():
        assert torch.allclose(encode_tokens(clip, tokens), clip.encode_text(tokens), atol=1e-5)
