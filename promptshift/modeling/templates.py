"""Hand-written prompts of the zero-shot baselines, as used by the CoOp family (arXiv 2109.01134, appendix A)."""

from __future__ import annotations

from collections.abc import Sequence

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
SELECTED = (
    "itap of a {}.",
    "a bad photo of the {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
)
# those of CLIP's ImageNet templates (github.com/openai/CLIP) that the released PromptSRC (arXiv 2307.06948) averages
IMAGENET_60 = (
    "a photo of a {}.",
    "a bad photo of a {}.",
    "a photo of many {}.",
    "a sculpture of a {}.",
    "a photo of the hard to see {}.",
    "a low resolution photo of the {}.",
    "a rendering of a {}.",
    "graffiti of a {}.",
    "a bad photo of the {}.",
    "a cropped photo of the {}.",
    "a tattoo of a {}.",
    "the embroidered {}.",
    "a photo of a hard to see {}.",
    "a bright photo of a {}.",
    "a photo of a clean {}.",
    "a photo of a dirty {}.",
    "a dark photo of the {}.",
    "a drawing of a {}.",
    "a photo of my {}.",
    "the plastic {}.",
    "a photo of the cool {}.",
    "a close-up photo of a {}.",
    "a black and white photo of the {}.",
    "a painting of the {}.",
    "a painting of a {}.",
    "a pixelated photo of the {}.",
    "a sculpture of the {}.",
    "a bright photo of the {}.",
    "a cropped photo of a {}.",
    "a plastic {}.",
    "a photo of the dirty {}.",
    "a jpeg corrupted photo of a {}.",
    "a blurry photo of the {}.",
    "a photo of the {}.",
    "a good photo of the {}.",
    "a rendering of the {}.",
    "a {} in a video game.",
    "a photo of one {}.",
    "a doodle of a {}.",
    "a close-up photo of the {}.",
    "the origami {}.",
    "the {} in a video game.",
    "a sketch of a {}.",
    "a doodle of the {}.",
    "a origami {}.",
    "a low resolution photo of a {}.",
    "the toy {}.",
    "a rendition of the {}.",
    "a photo of the clean {}.",
    "a photo of a large {}.",
    "a rendition of a {}.",
    "a photo of a nice {}.",
    "a photo of a weird {}.",
    "a blurry photo of a {}.",
    "a cartoon {}.",
    "art of a {}.",
    "a sketch of the {}.",
    "a embroidered {}.",
    "a pixelated photo of a {}.",
    "itap of the {}.",
)

# all eighty of CLIP's ImageNet templates (github.com/openai/CLIP)
IMAGENET_80 = (
    *IMAGENET_60,
    "a jpeg corrupted photo of the {}.",
    "a good photo of a {}.",
    "a plushie {}.",
    "a photo of the nice {}.",
    "a photo of the small {}.",
    "a photo of the weird {}.",
    "the cartoon {}.",
    "art of the {}.",
    "a drawing of the {}.",
    "a photo of the large {}.",
    "a black and white photo of a {}.",
    "the plushie {}.",
    "a dark photo of a {}.",
    "itap of a {}.",
    "graffiti of the {}.",
    "a toy {}.",
    "itap of my {}.",
    "a photo of a cool {}.",
    "a photo of a small {}.",
    "a tattoo of the {}.",
)
TEMPLATE_SETS = {"selected": SELECTED, "imagenet_80": IMAGENET_80}  # what a list of templates may name


def template_of(dataset: str) -> str:
    """The hand template of a dataset, by its registered name."""
    return TEMPLATES.get(dataset, DEFAULT_TEMPLATE)


def templates_of(words: Sequence[str], dataset: str) -> tuple[str, ...]:
    """The templates that a list names: sets of TEMPLATE_SETS, `dataset` for a dataset's own, or texts with {}."""
    sets = {**TEMPLATE_SETS, "dataset": (template_of(dataset),)}
    return tuple(template for word in words for template in sets.get(word, (word,)))


def clean_name(classname: str) -> str:
    """Folder-style class name to words: underscores become spaces (all CoOp-family code does so)."""
    return classname.replace("_", " ")


def fill(template: str, classnames: list[str]) -> list[str]:
    """One text per class; underscores of class names become spaces."""
    return [template.format(clean_name(name)) for name in classnames]
