"""Hand-written prompts of the zero-shot baselines, as used by the CoOp family (arXiv 2109.01134, appendix A)."""
from __future__ import annotations

from promptshift.modeling.tokens import clean_name

DEFAULT_TEMPLATE = "a photo of a {}."
TEMPLATES = {
    "OxfordPets": "a photo of a {}, a type of pet.",
    "OxfordFlowers": "a photo of a {}, a type of flower.",
    "FGVCAircraft": "a photo of a {}, a type of aircraft.",
    "DescribableTextures": "{} texture.",
    "EuroSAT": "a centered satellite photo of {}.",
    "Food101": "a photo of {}, a type of food.",
    "UCF101": "a photo of a person doing {}.",
}
# the seven templates that OpenAI's prompt notebook selected for ImageNet (github.com/openai/CLIP)
SELECTED = ("itap of a {}.", "a bad photo of the {}.", "a origami {}.", "a photo of the large {}.",
            "a {} in a video game.", "art of the {}.", "a photo of the small {}.")


def template_of(dataset: str) -> str:
    """The hand template of a dataset, by its registered name."""
    return TEMPLATES.get(dataset, DEFAULT_TEMPLATE)


def fill(template: str, classnames: list[str]) -> list[str]:
    """One text per class; underscores of class names become spaces."""
    return [template.format(clean_name(name)) for name in classnames]
