"""The shared losses against their definitions, written out with loops and probabilities."""

import math

import pytest
import torch
import torch.nn.functional as F

from promptshift.losses import (
    accuracy,
    distillation_kl,
    entropy,
    marginal_entropy,
    negative_label_loss,
    prototype_discrimination,
    symmetric_infonce,
    token_alignment,
    weighted_distance,
)


def drawn(*size, seed=0):
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


def unit(*size, seed=0):
    return F.normalize(drawn(*size, seed=seed), dim=-1)


def test_accuracy_is_the_share_of_right_rows_in_percent():
    logits = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 2.0], [0.0, 3.0, 2.0], [5.0, 0.0, 1.0]])
    assert accuracy(logits, torch.tensor([0, 2, 1, 1])).item() == 75
    assert accuracy(logits, torch.tensor([1, 0, 0, 2])).item() == 0


@pytest.mark.parametrize("weight", [1, 5])
def test_negative_labels_want_every_wrong_class_high_and_the_true_one_low(weight):
    logits, labels = drawn(3, 4), [2, 0, 3]
    chances, total = logits.sigmoid().tolist(), 0.0
    for row, label in zip(chances, labels):
        for k, chance in enumerate(row):
            total -= math.log(1 - chance) if k == label else weight * math.log(chance)
    found = negative_label_loss(logits, torch.tensor(labels), weight)
    assert found.item() == pytest.approx(total / 12)


def test_entropy_is_that_of_the_softmax():
    logits = 3 * drawn(2, 5, 4)
    for row, value in zip(logits.flatten(0, 1).softmax(dim=-1).tolist(), entropy(logits).flatten().tolist()):
        assert value == pytest.approx(-sum(p * math.log(p) for p in row))
    assert entropy(torch.zeros(7)).item() == pytest.approx(math.log(7))


def test_marginal_entropy_is_that_of_the_mean_prediction_and_finite_for_sure_ones():
    logits = 3 * drawn(2, 5, 4)
    means = logits.softmax(dim=-1).mean(dim=-2).tolist()
    expected = [-sum(p * math.log(p) for p in mean) for mean in means]
    assert marginal_entropy(logits).tolist() == pytest.approx(expected)
    sure = torch.tensor([[1e4, 0.0], [1e4, 0.0]], requires_grad=True)
    value = marginal_entropy(sure)
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-6) and sure.grad.isfinite().all()
    assert marginal_entropy(torch.tensor([[1e4, 0.0], [0.0, 1e4]])).item() == pytest.approx(math.log(2))
    never = torch.tensor([[0.0, float("-inf")]])  # 0 log 0 is 0
    assert marginal_entropy(never).item() == 0


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_distillation_is_the_divergence_over_all_entries(temperature):
    student, teacher = 3 * drawn(3, 4, seed=1), 3 * drawn(3, 4, seed=2)
    total = 0.0
    for s, t in zip((student / temperature).softmax(-1).tolist(), (teacher / temperature).softmax(-1).tolist()):
        total += sum(q * math.log(q / p) for p, q in zip(s, t))
    found = distillation_kl(student, teacher, temperature).item()
    assert found == pytest.approx(temperature**2 * total / 12)
    assert distillation_kl(student, teacher).item() == pytest.approx(distillation_kl(student, teacher, 1.0).item())
    assert distillation_kl(teacher, teacher, temperature).item() == pytest.approx(0, abs=1e-12)


def cross_entropy_of(similarities, i, left):
    """-log of the share of similarity i among those left."""
    return math.log(sum(math.exp(similarities[j]) for j in left)) - similarities[i]


@pytest.mark.parametrize("labels", [None, [0, 1, 0, 2]])
def test_infonce_goes_both_ways_and_leaves_twins_out_where_labels_are_given(labels):
    images, texts, scale = unit(4, 8, seed=1), unit(4, 8, seed=2), torch.tensor(5.0, dtype=torch.double)
    similar, total = (5 * images @ texts.T).tolist(), 0.0
    for i in range(4):
        left = [j for j in range(4) if labels is None or j == i or labels[j] != labels[i]]
        total += cross_entropy_of(similar[i], i, left) + cross_entropy_of([row[i] for row in similar], i, left)
    found = symmetric_infonce(images, texts, scale, labels and torch.tensor(labels))
    assert found.item() == pytest.approx(total / 8)


def test_alignment_is_half_the_distance_of_means_and_half_that_of_biased_variances():
    tokens, means, variances = drawn(2, 5, 3, 4), drawn(3, 4, seed=1), drawn(3, 4, seed=2).square()
    for image, value in zip(tokens, token_alignment(tokens, means, variances).tolist()):
        off = (image.mean(dim=0) - means).abs() + (image.var(dim=0, unbiased=False) - variances).abs()
        assert value == pytest.approx(off.mean().item() / 2, rel=1e-5)  # in float32


def test_distances_are_weighted_by_class():
    weights, features, prototypes = drawn(2, 3).softmax(dim=-1), drawn(2, 3, 4), drawn(3, 4, seed=1)
    for n in range(2):
        off = [(features[n, k] - prototypes[k]).abs().mean().item() for k in range(3)]
        expected = sum(w * d for w, d in zip(weights[n].tolist(), off))
        assert weighted_distance(weights, features, prototypes)[n].item() == pytest.approx(expected)
    one = weighted_distance(weights, features[:, :1], prototypes)  # the same feature for every class
    torch.testing.assert_close(one, weighted_distance(weights, features[:, :1].expand(2, 3, 4), prototypes))


def test_discrimination_is_the_share_of_a_class_s_own_prototypes():
    features, prototypes, scale = unit(2, 3, 8), unit(2, 3, 8, seed=1), torch.tensor(5.0, dtype=torch.double)
    found = prototype_discrimination(features, prototypes, scale)
    for image, value in zip(features, found.tolist()):
        losses = []
        for k, feature in enumerate(image):
            close = (5 * prototypes @ feature).exp()  # (A, C)
            losses.append(-math.log(close[:, k].sum().item() / close.sum().item()))
        assert value == pytest.approx(sum(losses) / 3)
    torch.testing.assert_close(prototype_discrimination(features[0], prototypes, scale), found[0])
