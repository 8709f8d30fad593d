"""Zero-shot CLIP against zeroshot.json."""

import pytest

import helpers.goldens_recipe as recipe
from helpers.golden_trainers import assert_logits, trainer_on_golden_clip
from promptshift.modeling.templates import SELECTED, fill, template_of
from trainers.zsclip import ZeroshotCLIP, ZeroshotCLIP2

CASES = recipe.golden("zeroshot")["cases"]


@pytest.mark.stored
@pytest.mark.parametrize("kind, res", [("vit", 32), ("rn", 64)])
def test_logits(kind, res):
    trainer = trainer_on_golden_clip(ZeroshotCLIP, kind)
    assert_logits(trainer.predict(recipe.images(res=res)), CASES[kind]["logits"])


@pytest.mark.stored
def test_ensemble_twice_is_the_same_ensemble():
    golden = CASES["vit"]
    assert sorted([*SELECTED, "a photo of a {}."]) == sorted(golden["ensemble_templates"])
    for _ in range(2):
        trainer = trainer_on_golden_clip(ZeroshotCLIP2)
        assert_logits(trainer.predict(recipe.images()), golden["ensemble_logits"])


def test_templates_follow_the_dataset_and_the_key():
    assert fill(template_of("DescribableTextures"), ["polka_dotted"]) == ["polka dotted texture."]
    assert fill(template_of("PACS"), ["dog"]) == ["a photo of a dog."]
    sketch = trainer_on_golden_clip(ZeroshotCLIP, TEMPLATE="a sketch of a {}.")
    assert sketch.templates() == ["a sketch of a {}."]
