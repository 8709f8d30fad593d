"""Diagnostics of generated prompts on cases that can be counted by hand."""

import pytest
import torch

from promptshift.results.diagnostics import distance_ratio, last_epochs_std, negative_margin


def test_distance_ratio_is_within_over_between():
    # two domains around (0, 0) and (10, 0), every prompt one away from its mean
    prompts = torch.tensor([[0.0, 1.0], [0.0, -1.0], [10.0, 1.0], [10.0, -1.0]]).view(4, 1, 2)
    assert distance_ratio(prompts, torch.tensor([0, 0, 3, 3])) == pytest.approx(0.1)
    third = torch.cat([prompts, torch.tensor([[[5.0, 0.0]]])])  # means 0, 10 and 5 apart: 20 / 3 on average
    assert distance_ratio(third, torch.tensor([0, 0, 3, 3, 1])) == pytest.approx(0.8 / (20 / 3))


def test_distance_ratio_needs_two_different_domains():
    prompts = torch.randn(4, 2, 3)
    assert distance_ratio(prompts, torch.zeros(4)) is None
    assert distance_ratio(torch.ones(4, 2, 3), torch.tensor([0, 0, 1, 1])) is None


def test_negative_margin_compares_the_true_class_with_the_lowest_wrong_one():
    scores = torch.tensor([[0.1, 0.5, 0.3], [0.4, 0.2, 0.6], [0.3, 0.3, 0.9]])
    found = negative_margin(scores, torch.tensor([0, 0, 0]))  # deltas 0.2, -0.2, 0
    assert found["negative_margin_share"] == pytest.approx(200 / 3)
    assert found["negative_margin_mean"] == pytest.approx(0, abs=1e-7)


def test_std_of_the_last_validated_epochs():
    history = [{"epoch": 1, "val_accuracy": 1000.0}, {"epoch": 2}, {"val_accuracy": 80.0}, {"val_accuracy": 84.0}]
    assert last_epochs_std(history, epochs=2) == 2.0
    assert last_epochs_std(history[:1]) is None and last_epochs_std([]) is None
