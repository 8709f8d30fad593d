"""Gradient reversal, clustering with steady ids, fusion: on plain tensors."""

import math

import pytest
import torch
import torch.nn.functional as F

from promptshift.modeling.latent_domains import (
    ClassAdversary,
    LatentDomains,
    choose_number,
    cluster_means,
    contingency,
    fill_empty_clusters,
    fused_cosines,
    fusion_report,
    k_means,
    match_ids,
    purity,
    reversal_ramp,
    reverse_gradient,
    scale_gradient,
)


def blobs(n=3, size=20, width=8, seed=0):
    """n far-apart groups of points and their group numbers."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.arange(n).repeat_interleave(size)
    return 5 * torch.eye(n, width)[truth] + 0.1 * torch.randn(n * size, width, generator=generator), truth


@pytest.mark.parametrize("strength", [1.0, 0.25])
def test_reversal_keeps_the_value_and_turns_the_gradient(strength):
    x = torch.randn(4, 3, requires_grad=True)
    assert torch.equal(reverse_gradient(x, strength), x)
    (reverse_gradient(x, strength) ** 2).sum().backward()
    torch.testing.assert_close(x.grad, -strength * 2 * x.detach())
    x.grad = None
    (scale_gradient(x, 3.0) ** 2).sum().backward()
    torch.testing.assert_close(x.grad, 6 * x.detach())


def test_the_ramp_grows_from_nothing_to_one():
    values = [reversal_ramp(i / 10) for i in range(11)]
    assert values[0] == 0 and values == sorted(values) and values[-1] == pytest.approx(math.tanh(5))


def test_k_means_finds_groups_and_repeats():
    points, truth = blobs()
    labels = k_means(points, 3, seed=1)
    assert purity(contingency(labels, truth, 3, 3)) == 1
    assert torch.equal(labels, k_means(points, 3, seed=1))


def test_matching_undoes_a_permutation_and_survives_some_moves():
    old = torch.tensor([0] * 10 + [1] * 8 + [2] * 6)
    for names in ([2, 0, 1], [1, 2, 0], [0, 1, 2]):
        assert torch.equal(match_ids(torch.tensor(names)[old], old, 3), old)
    moved = old.clone()
    moved[:3] = 2
    assert torch.equal(match_ids(torch.tensor([1, 2, 0])[moved], old, 3), moved)


def test_an_empty_cluster_gets_the_farthest_point():
    points = torch.tensor([[0.0], [0.2], [0.1], [9.0], [50.0]])
    labels = torch.tensor([0, 0, 0, 0, 2])  # 9 lies far from its mean; 50 is alone in its cluster
    assert fill_empty_clusters(points, labels, 3).tolist() == [0, 0, 0, 1, 2]
    assert labels.tolist() == [0, 0, 0, 0, 2]


def test_equal_points_still_make_full_clusters():
    labels = k_means(torch.ones(5, 4), 4, seed=0)
    assert sorted(labels.unique().tolist()) == [0, 1, 2, 3]


def test_means_of_clusters():
    points = torch.tensor([[0.0, 2.0], [2.0, 4.0], [7.0, 7.0]])
    means = cluster_means(points, torch.tensor([0, 0, 2]), 3)
    assert means.tolist() == [[1.0, 3.0], [0.0, 0.0], [7.0, 7.0]]


@pytest.mark.parametrize("n", [2, 4, 6])
def test_the_number_of_domains_is_the_number_of_groups(n):
    assert choose_number(blobs(n)[0], seed=0) == n


def test_two_points_are_one_cluster():
    assert choose_number(torch.eye(2), seed=0) == 1


@pytest.fixture
def domains():
    torch.manual_seed(0)
    return LatentDomains(embed_dim=6, slots=5, hidden=16, width=4, gate=True)


def test_weights_are_the_softmax_of_cosines_over_the_domains_in_use(domains):
    z = F.normalize(torch.randn(30, 4), dim=1)
    labels = torch.arange(30) % 3
    domains.place(z, labels, 3)
    mu = cluster_means(z, labels, 3)
    expected = (F.cosine_similarity(z[:, None], mu[None], dim=-1) / 0.1).softmax(dim=1)
    torch.testing.assert_close(domains.similarity_weights(z, 0.1), expected)
    m = z.mean(dim=0)
    expected = (F.cosine_similarity((z - m)[:, None], (mu - m)[None], dim=-1) / 0.5).softmax(dim=1)
    torch.testing.assert_close(domains.similarity_weights(z, 0.5, centered=True), expected)
    assert domains.gate_weights(z).shape == (30, 3)


def test_before_any_clustering_all_domains_weigh_the_same(domains):
    torch.testing.assert_close(domains.similarity_weights(torch.randn(2, 4), 0.1), torch.full((2, 5), 0.2))


def test_a_checkpoint_holds_centroids_and_number(domains):
    z = domains(torch.randn(30, 6)).detach()
    domains.place(z, torch.arange(30) % 3, 3)
    other = LatentDomains(embed_dim=6, slots=5, hidden=16, width=4, gate=True)
    other.load_state_dict(domains.state_dict())
    for centered in (False, True):
        assert torch.equal(other.similarity_weights(z, 0.1, centered), domains.similarity_weights(z, 0.1, centered))


def test_an_adversary_takes_its_own_classes_alone():
    saved, same, other = ClassAdversary(4, 3), ClassAdversary(4, 3), ClassAdversary(4, 7)
    torch.nn.init.ones_(saved.weight)
    same.load_state_dict(saved.state_dict())
    other.load_state_dict(saved.state_dict())
    assert bool((same.weight == 1).all()) and other.weight.shape == (7, 4) and not other.weight.any()


def test_fused_cosines_are_cosines_with_the_mixed_features():
    classes = F.normalize(torch.randn(3, 5, 8), dim=-1)  # (S, K, E)
    features = F.normalize(torch.randn(4, 8), dim=-1)
    weights = torch.randn(4, 3).softmax(dim=1)
    mixed = torch.einsum("bs,ske->bke", weights, classes)
    expected = F.cosine_similarity(features[:, None], mixed, dim=-1)
    cosines = torch.einsum("be,ske->bsk", features, classes)
    torch.testing.assert_close(fused_cosines(weights, cosines, classes), expected)
    single = torch.eye(3)[[1, 1, 1, 1]]
    torch.testing.assert_close(fused_cosines(single, cosines, classes), cosines[:, 1])


def test_the_report_knows_the_best_prompt_and_the_upper_bound():
    choices = torch.tensor([[0, 1], [2, 1], [2, 2], [0, 0]])
    report = fusion_report(torch.full((4, 2), 0.5), choices, torch.tensor([0, 1, 2, 1]))
    assert report["single_prompt"] == [50.0, 50.0] and report["best_single_prompt"] == 50.0
    assert report["u_sel"] == 75.0 and report["weight_entropy"] == pytest.approx(math.log(2))
