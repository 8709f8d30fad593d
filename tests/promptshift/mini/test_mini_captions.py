"""The caption grammar and the noise it plants."""

import random
from collections import Counter

import pytest

from promptshift.mini.captions import MATE, Facts, sample_caption, twin, words
from promptshift.mini.drawing.shapes import SHAPES
from promptshift.mini.pretraining_set import CaptionTokens


def captions(classname, style="photo", count=4000, long=False, distractor=None):
    rng, facts = random.Random(0), Facts(classname, style, "red", "grass", distractor, True)
    return [sample_caption(rng, facts, long) for _ in range(count)]


def mate_share(texts, family, classname):
    """Share of the captions of a family whose noun is the look-alike."""
    named = Counter(
        name
        for text in texts
        if text.startswith(family)
        for name in (classname, MATE[classname])
        if f" {name} " in f"{text.split(' without ')[0]} "
    )
    assert sum(named.values()) > 100
    return named[MATE[classname]] / sum(named.values())


def test_every_class_has_one_mate():
    assert set(MATE) == set(SHAPES)
    assert all(MATE[MATE[name]] == name != MATE[name] for name in MATE)


@pytest.mark.parametrize(
    "classname, family, low, high",
    [
        ("boat", "a photo of", 0.40, 0.57),  # loose captions are unreliable for the base half
        ("house", "a photo of", 0.20, 0.34),  # and less so for the new half
        ("boat", "a close up of", 0.0, 0.0),  # each half has one reliable family
        ("house", "a close up of", 0.42, 0.58),
        ("house", "a clear view of", 0.0, 0.0),
        ("boat", "a snapshot of", 0.0, 0.0),  # style words are reliable for the base half only
        ("house", "a snapshot of", 0.38, 0.57),
    ],
)
def test_planted_swap_rates(classname, family, low, high):
    assert low <= mate_share(captions(classname), family, classname) <= high


def test_a_twin_swaps_the_main_noun_only():
    assert twin("this is a photo of an apple with a cat .") == "this is a photo of a clock with a cat ."
    assert twin("a close up of a big tree") == "a close up of a big umbrella"


def test_sketches_never_name_a_colour():
    assert not any(" red " in text for text in captions("star", "sketch", 500))
    assert any(" red " in text for text in captions("star", "cartoon", 500))


def test_tokens_cover_every_caption_and_long_ones_reach_far():
    tokens = CaptionTokens()
    assert tokens.token_ids == sorted(set(tokens.token_ids)) and tokens.token_ids[-1] == 49407
    lengths = [len(tokens.encode(text)) for text in captions("umbrella", long=True, count=1500, distractor="apple")]
    assert sum(length > 32 for length in lengths) > 20 and max(lengths) <= 77
    assert set(" ".join(captions("apple", count=500)).split()) <= set(words())
