"""Steps on many images at once: each image for itself, and what is not finite stays as it was."""

import pytest
import torch

from promptshift.adapting.steps import adapt

TARGETS = torch.tensor([[1.0, -2.0], [0.5, 3.0], [-1.0, 0.0]])


def quadratic(targets):
    return lambda values: (values["x"] - targets).square().sum(dim=1) + values["y"].square().sum(dim=1)


def start(n=3):
    return {"x": torch.zeros(n, 2), "y": torch.ones(n, 1)}


def test_together_and_one_by_one_are_the_same():
    together, whole = adapt(start(), quadratic(TARGETS), steps=3, lr=0.1, weight_decay=0.01)
    assert whole.all()
    for i in range(3):
        alone, _ = adapt(start(1), quadratic(TARGETS[i : i + 1]), steps=3, lr=0.1, weight_decay=0.01)
        for name in alone:
            torch.testing.assert_close(together[name][i], alone[name][0])
    assert quadratic(TARGETS)(together).sum() < quadratic(TARGETS)(start()).sum()


def test_a_step_is_that_of_adamw_and_the_start_is_left_alone():
    values, learnt = start(), torch.zeros(3, 2, requires_grad=True)
    optimizer = torch.optim.AdamW([learnt], lr=0.1, weight_decay=0.01)
    quadratic(TARGETS)({"x": learnt, "y": torch.ones(3, 1)}).sum().backward()
    optimizer.step()
    adapted, _ = adapt(values, quadratic(TARGETS), steps=1, lr=0.1, weight_decay=0.01)
    torch.testing.assert_close(adapted["x"], learnt.detach())
    torch.testing.assert_close(values["x"], torch.zeros(3, 2))


def test_the_scale_of_the_loss_changes_nothing():
    plain, _ = adapt(start(), quadratic(TARGETS), 2, 0.1, 0.01)
    scaled, _ = adapt(start(), quadratic(TARGETS), 2, 0.1, 0.01, scale=1024.0)
    torch.testing.assert_close(plain["x"], scaled["x"])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_an_image_with_a_gradient_that_is_not_finite_stays_and_is_reported(bad):
    factor = torch.tensor([1.0, bad, 1.0])
    adapted, whole = adapt(start(), lambda values: quadratic(TARGETS)(values) * factor, 2, 0.1, 0.01)
    assert whole.tolist() == [True, False, True]
    torch.testing.assert_close(adapted["x"][1], torch.zeros(2))
    torch.testing.assert_close(adapted["y"][1], torch.ones(1))
    fine, _ = adapt(start(), quadratic(TARGETS), 2, 0.1, 0.01)
    torch.testing.assert_close(adapted["x"][[0, 2]], fine["x"][[0, 2]])


def test_a_later_step_of_such_an_image_is_made():
    calls = []

    def loss(values):
        calls.append(1)
        return quadratic(TARGETS)(values) * torch.tensor([1.0, float("nan") if len(calls) == 1 else 1.0, 1.0])

    adapted, whole = adapt(start(), loss, 2, 0.1, 0.0)
    assert whole.tolist() == [True, False, True] and adapted["x"].isfinite().all()
    assert adapted["x"][1].abs().min() > 0.01
