"""TDA against tda.json: predictions, entropies, both caches, masks, terms and logits after every image of a stream."""

import numpy as np
import pytest
import torch

import helpers.goldens_recipe as recipe
from helpers.golden_trainers import assert_logits, trainer_on_golden_clip
from promptshift.adapting.steps import Seen
from trainers.tda import TDA

GOLDEN = recipe.golden("tda")
CASES, SEED = GOLDEN["cases"], GOLDEN["seed_offset"]
SCALED = 5e-4  # logits are a hundred times cosines


def golden_tda(case):
    config = CASES[case]["config"]
    options = {
        f"{side.upper()}.{key}": value for side in ("positive", "negative") for key, value in _flat(config[side])
    }
    prototypes = config["templates"] == "prototypes"
    if not prototypes:
        options["TEMPLATES"] = config["templates"]
    views = CASES[case].get("views")
    if views:
        options |= {"VIEWS": views["n_views"]}
    trainer = trainer_on_golden_clip(TDA, "vit", GOLDEN["classnames"], SEED, **options)
    if prototypes:
        trainer.text_features = trainer.encode_images(recipe.images(3201 + SEED, len(GOLDEN["classnames"])))
    return trainer


def _flat(block, prefix=""):
    for key, value in block.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key.upper()}.")
        else:
            yield f"{prefix}{key.upper()}", value


def stream(case):
    """-> views (N, V, 3, S, S) of the golden stream."""
    steps = len(CASES[case]["steps"])
    if "views" in CASES[case]:
        about = CASES[case]["views"]
        first = int(about["image_tag"].split()[0])
        return torch.stack([recipe.images(first + i + SEED, about["n_views"]) for i in range(steps)])
    whole = max(steps, GOLDEN["stream"]["B"])
    return recipe.images(GOLDEN["stream"]["image_tag"] + SEED, whole)[:steps].unsqueeze(1)


def contents(cache):
    """-> {class: [image, ...]}, {class: [entropy, ...]}."""
    kept = {str(label): entries for label, entries in sorted(cache.entries.items())}
    return [
        {label: [getattr(entry, name) for entry in entries] for label, entries in kept.items()}
        for name in ("image", "entropy")
    ]


def assert_cache(cache, expected):
    images, entropies = contents(cache)
    assert images == {label: [image for image, _ in entries] for label, entries in expected.items()}
    for label, entries in expected.items():
        np.testing.assert_allclose(entropies[label], [value for _, value in entries], atol=1e-4)


@pytest.mark.parametrize("case", CASES)
def test_every_image_is_stored_and_answered_as_by_the_released_code(case):
    trainer, memory = golden_tda(case), None
    assert trainer.text_features.norm(dim=1).tolist() == pytest.approx([1.0] * 6, abs=1e-5)
    probe = CASES[case]["clip_weights"]["probe"]
    assert recipe.probe("clip_weights", trainer.text_features.T, SEED) == pytest.approx(probe, abs=1e-3)
    memory = trainer.empty_memory()
    for place, (views, step) in enumerate(zip(stream(case), CASES[case]["steps"], strict=True)):
        seen = trainer.see(views[None])
        kept = trainer.confident(seen)[0]
        if "views" in CASES[case]:
            assert len(kept) == CASES[case]["views"]["kept"]
        features, logits = seen.features[0, kept], seen.logits[0, kept]
        assert_logits(logits.mean(dim=0), step["clip_logits"], SCALED)
        answer = trainer.answer(memory, features, logits, place)
        assert int(logits.mean(dim=0).argmax()) == step["pred"]
        positive, negative = memory.parts["positive"], memory.parts["negative"]
        assert_cache(positive, step.get("pos_cache", {}))
        assert_cache(negative, step.get("neg_cache", {}))
        mean = features.mean(dim=0)
        if "pos_term" in step:
            assert_logits(trainer.term(positive, mean), step["pos_term"], SCALED)
        if "neg_term" in step:
            mask = trainer.options.NEGATIVE.MASK_THRESHOLD
            assert_logits(trainer.term(negative, mean, mask), step["neg_term"], SCALED)
        assert_logits(answer, step["final_logits"], SCALED)


@pytest.mark.parametrize("case", CASES)
def test_images_read_together_are_answered_in_turn(case):
    trainer = golden_tda(case)
    views = stream(case)
    answers = trainer.answer_all(trainer.empty_memory(), trainer.see(views), range(len(views)))
    assert_logits(answers, [step["final_logits"] for step in CASES[case]["steps"]], SCALED)


def test_an_answer_depends_on_the_images_before_it_and_not_on_those_behind():
    trainer = golden_tda("prototypes_pos_neg_24_images")
    seen = trainer.see(stream("prototypes_pos_neg_24_images"))

    def answers(order):
        part = Seen(seen.views[order], seen.features[order], seen.logits[order], {})
        return dict(zip(order, trainer.answer_all(trainer.empty_memory(), part, range(len(order)))))

    forwards, backwards, cut = answers(list(range(24))), answers(list(range(23, -1, -1))), answers(list(range(10)))
    assert any((forwards[i] - backwards[i]).abs().max() > 1e-2 for i in range(24))
    for i in range(10):
        torch.testing.assert_close(cut[i], forwards[i], atol=0, rtol=0)


def test_a_memory_that_was_kept_goes_on_as_it_was():
    case = "prototypes_pos_neg_24_images"
    trainer, views = golden_tda(case), stream(case)
    memory = trainer.empty_memory()
    trainer.answer_all(memory, trainer.see(views[:15]), range(15))
    other = trainer.empty_memory()
    other.restore(memory.tensors(), torch.device("cpu"))
    rest = trainer.see(views[15:])
    expected = trainer.answer_all(memory, rest, range(15, 24))
    torch.testing.assert_close(trainer.answer_all(other, rest, range(15, 24)), expected, atol=0, rtol=0)
    for name in ("positive", "negative"):
        assert contents(other.parts[name]) == contents(memory.parts[name])


def test_images_stand_alone_without_a_stream(assert_images_stand_alone):
    assert_images_stand_alone(golden_tda("pos_neg_caltech101_yaml"))


@pytest.mark.parametrize("views, allowed", [(5, False), (1, True), (10, True)])
def test_too_few_views_for_a_confident_one_are_refused(refused, command, views, allowed):
    from promptshift.runs.config import build_cfg

    if allowed:
        build_cfg(command("TDA", "TRAINER.TDA.VIEWS", views))
    else:
        assert "TRAINER.TDA.CONFIDENT" in refused("TDA", "TRAINER.TDA.VIEWS", views)
