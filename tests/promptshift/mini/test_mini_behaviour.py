"""The shipped weights behave like a small CLIP: zero-shot works, is not perfect, and leaves room for prompt tuning."""

import pytest

from promptshift.mini import MINI_DG
from promptshift.mini.evaluate import base_to_new, domain_features, leave_one_out, load_packed_clip, zero_shot
from promptshift.mini.weights import MINI_WEIGHTS


def features(per_class, seed):
    clip, config = load_packed_clip(MINI_WEIGHTS)
    return clip, {name: domain_features(clip, config, name, per_class, seed) for name in MINI_DG.domains}


def mean(values):
    return sum(values.values()) / len(values)


def test_zero_shot_lies_in_the_band_on_few_images():
    accuracy = zero_shot(*features(per_class=10, seed=7))  # 200 images per domain: standard error 3.5 points
    assert all(38 < value < 92 for value in accuracy.values()), accuracy
    assert min(accuracy, key=accuracy.get) == "sketch"


@pytest.mark.slow
@pytest.mark.parametrize("seed", [11, 12])
def test_zero_shot_band_and_gains_of_prompt_tuning(seed):
    clip, domains = features(per_class=60, seed=seed)
    before, after = zero_shot(clip, domains), leave_one_out(clip, domains)
    assert all(45 <= value <= 85 for value in before.values()), before
    assert min(before, key=before.get) == "sketch"
    assert mean(after) - mean(before) >= 3
    halves = base_to_new(clip, domains)
    assert halves["base CoOp"] - halves["base zero-shot"] >= 3
