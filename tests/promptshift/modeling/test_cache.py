"""Caches of image features: classes by name, the grid, damaged files, which images of a stream are kept."""

import pytest
import torch
import torch.nn.functional as F

from promptshift.modeling.cache import (
    Entry,
    LabelledCache,
    SurestCache,
    best_on_grid,
    cache_logits,
    correct_on_grid,
    grid,
)


def test_the_first_best_of_the_grid_is_taken():
    assert grid(7, 200)[:2] == [0.1, 0.1 + 6.9 / 200] and max(grid(7, 200)) < 7
    counts = torch.tensor([[3, 5, 5], [5, 5, 2]])
    assert best_on_grid(counts, [1.0, 2.0], [7.0, 8.0, 9.0]) == (1.0, 8.0)
    assert best_on_grid(0 * counts, [1.0, 2.0], [7.0, 8.0, 9.0]) == (0.0, 0.0)


def test_the_grid_counts_what_each_pair_answers_right():
    generator = torch.Generator().manual_seed(0)
    logits, affinity = (torch.randn(20, n, generator=generator) for n in (3, 5))
    values, labels = torch.eye(3)[[0, 1, 2, 0, 1]], torch.arange(20) % 3
    betas, alphas = [0.5, 2.0], [0.0, 1.0, 30.0]
    counts = correct_on_grid(logits, labels, affinity, values, betas, alphas)
    for i, beta in enumerate(betas):
        for j, alpha in enumerate(alphas):
            answers = (logits + alpha * torch.exp(-beta * (1 - affinity)) @ values).argmax(dim=1)
            assert counts[i, j] == (answers == labels).sum()
    assert counts[0, 0] == counts[1, 0]


def test_an_empty_cache_says_nothing():
    assert (cache_logits(torch.ones(2, 0), torch.ones(0, 3), 1.0) == 0).all()


def test_a_key_speaks_for_the_class_of_its_name_and_new_classes_are_zero_shot():
    cache = LabelledCache(["cat", "dog", "ox"], 4)
    cache.fill(F.normalize(torch.eye(4)[:3], dim=-1), torch.tensor([0, 1, 2]))
    cache.set_strength(2.0, 3.0)
    features = F.normalize(torch.ones(1, 4), dim=-1)
    own, other = cache(features, ["cat", "dog", "ox"]), cache(features, ["ox", "bee", "cat"])
    assert own.gt(0).all()
    torch.testing.assert_close(other, torch.stack([own[:, 2], torch.zeros(1), own[:, 0]], dim=1))
    loaded = LabelledCache(["bee", "wasp"], 4)
    loaded.load_state_dict(cache.state_dict())
    assert loaded.alpha == 3 and (loaded(features, ["bee", "wasp"]) == 0).all()
    torch.testing.assert_close(loaded(features, ["cat", "dog", "ox"]), own)


@pytest.mark.parametrize("change", [dict(labels=torch.tensor([0, 1, 7])), dict(labels=torch.tensor([0, 1]))])
def test_a_damaged_cache_is_refused(change):
    cache = LabelledCache(["cat", "dog", "ox"], 4)
    cache.fill(torch.eye(4)[:3], torch.tensor([0, 1, 2]))
    with pytest.raises(ValueError, match="labels"):
        LabelledCache(["bee"], 4).load_state_dict(cache.state_dict() | change)


def entry(entropy, image):
    return Entry(torch.full((4,), float(image)), entropy, torch.full((3,), 1 / 3), image)


def kept(cache):
    return {label: [entry.image for entry in entries] for label, entries in cache.entries.items()}


def test_the_surest_images_of_a_class_are_kept_and_of_equal_ones_the_older():
    cache = SurestCache(2)
    for image, value in enumerate([0.5, 0.3, 0.5, 0.4, 0.4]):
        cache.offer(1, entry(value, image))
    cache.offer(0, entry(9.0, 5))
    assert kept(cache) == {1: [1, 3], 0: [5]}
    features, labels, _ = cache.keys()
    assert labels.tolist() == [0, 1, 1] and features[:, 0].tolist() == [5.0, 1.0, 3.0]


def test_a_cache_comes_back_as_it_was():
    cache, other = SurestCache(3), SurestCache(3)
    assert cache.keys() is None and cache.tensors() == {}
    for image, value in enumerate([0.1, 0.7, 0.7, 0.2]):
        cache.offer(image % 2, entry(value, image))
    other.restore(cache.tensors(), torch.device("cpu"))
    assert kept(other) == kept(cache)
    assert [e.entropy for e in other.entries[1]] == [e.entropy for e in cache.entries[1]]
    other.restore({}, torch.device("cpu"))
    assert other.entries == {}
