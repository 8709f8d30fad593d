"""Captions of the pretraining images, with the planted noise that gives prompts something to win.

Every caption is `[filler] family [attribute] noun [context] [.]`. The family ("a photo of", "a close up of", "a sketch
of") decides how often the noun is replaced by its look-alike, so some contexts name objects more reliably than others.
Contrastive logits estimate pointwise mutual information: a pair that swaps with probability s keeps a margin of log((1
- s) / s).

PLANTED: the loose family, to which "a photo of a" belongs, is unreliable (prompt tuning gains); the two halves of the
evaluation vocabulary prefer different families (base-to-new trade-off).
"""

import random
from dataclasses import dataclass

from .drawing.scene import BACKGROUNDS, COLOURS
from .drawing.shapes import BASE_CLASSES, NEW_CLASSES

LOOKALIKES = {  # pair: swap rate before the family's factor
    ("apple", "clock"): 0.40,
    ("bird", "fish"): 0.42,
    ("bicycle", "car"): 0.44,
    ("boat", "cup"): 0.45,
    ("butterfly", "chair"): 0.46,
    ("flower", "star"): 0.46,
    ("guitar", "key"): 0.44,
    ("house", "ladder"): 0.45,
    ("lamp", "mushroom"): 0.42,
    ("tree", "umbrella"): 0.40,
    ("hat", "bottle"): 0.36,
    ("book", "heart"): 0.36,
    ("moon", "rocket"): 0.36,
    ("hammer", "cat"): 0.36,
    ("table", "flag"): 0.36,
    ("balloon", "sword"): 0.36,
}
MOST = 0.492  # a swap rate of one half would leave no margin at all
MATE = {a: b for pair in LOOKALIKES for a, b in (pair, pair[::-1])}
RATE = {name: rate for pair, rate in LOOKALIKES.items() for name in pair}
BASE, NEW = frozenset(BASE_CLASSES), frozenset(NEW_CLASSES)

LOOSE = ("a photo of", "an image of", "a picture of")
CLEAN = ("a close up of", "a clear view of")  # the first is reliable for the base half, the second for the new half
ENSEMBLE = (
    "itap of",
    "a bad photo of",
    "a origami",
    "a photo of the large",
    "art of",
    "a photo of the small",
    "a good photo of",
)
BY_STYLE = {
    "photo": ("a snapshot of", "a photograph of"),
    "art_painting": ("a painting of", "an oil painting of"),
    "cartoon": ("a cartoon of", "a comic of"),
    "sketch": ("a sketch of", "a drawing of", "a pencil drawing of"),
    "silhouette": ("a silhouette of", "a shadow of"),
    "clipart": ("a clipart of", "an icon of"),
    "watercolor": ("a watercolor of", "a watercolor painting of"),
}
PLACES = {
    "grass": "on the grass",
    "sand": "on the sand",
    "water": "in the water",
    "night": "at night",
    "snow": "in the snow",
    "wall": "in front of a wall",
}
FILLERS = (
    "here you can see",
    "in the middle",
    "as it was seen on a sunny day",
    "among other things",
    "this is",
    "from my old album ,",
    "it shows a small part of the room with",
    "right in front of us ,",
    "the first of many",
)


@dataclass(frozen=True)
class Facts:
    """What captions may say about an image.

    Attributes:
        classname: the main object.
        style: key of `BY_STYLE`.
        colour: name of the main object's colour.
        background: key of `PLACES`.
        distractor: class of the second object, or None.
        big: whether the main object fills most of the image.
    """

    classname: str
    style: str
    colour: str
    background: str
    distractor: str | None
    big: bool


def words() -> list[str]:
    """Every word that a caption can hold, sorted."""
    phrases = (
        *LOOSE,
        *CLEAN,
        *ENSEMBLE,
        *(p for group in BY_STYLE.values() for p in group),
        *PLACES.values(),
        *FILLERS,
        *COLOURS,
        *BACKGROUNDS,
        *MATE,
        "a an big large with without . X",
    )
    return sorted({word for phrase in phrases for word in phrase.split()})


def _swap_rate(kind: str, family: str, classname: str) -> float:
    """Probability that a caption of this family names the look-alike."""
    base, new = classname in BASE, classname in NEW
    if kind == "clean":
        own = family == CLEAN[0] if base else family == CLEAN[1]
        return 0.5 if (base or new) and not own else 0.0
    factor = {"loose": 1.10 if base else 0.60, "style": 1.05 if new else 0.0, "ensemble": 0.6}[kind]
    return min(RATE[classname] * factor, MOST)


def _family(rng: random.Random, style: str) -> tuple[str, str]:
    kinds = ("loose", "clean", "style", "ensemble")
    loose = 0.43 if style == "photo" else 0.33
    kind = rng.choices(kinds, (loose, 0.26, 0.69 - loose, 0.05))[0]
    if kind == "loose" and rng.random() < 0.12:
        return kind, ""  # bare: 'a dog'
    return kind, rng.choice({"loose": LOOSE, "clean": CLEAN, "style": BY_STYLE[style], "ensemble": ENSEMBLE}[kind])


def _noun(rng: random.Random, facts: Facts, kind: str, family: str) -> str:
    if kind == "loose" and facts.distractor and rng.random() < 0.2:
        return facts.distractor
    if rng.random() < _swap_rate(kind, family, facts.classname):
        return MATE[facts.classname]
    return facts.classname


def _article(rng: random.Random, following: str) -> str:
    # Half of the vowels take "a": CLIP's own templates write 'a photo of a apple'.
    return "an" if following[0] in "aeiou" and rng.random() < 0.5 else "a"


def _tail(rng: random.Random, facts: Facts) -> list[str]:
    parts = []
    if rng.random() < 0.3:
        parts.append(PLACES[facts.background])
    chance = rng.random()
    if chance < 0.3 and facts.distractor:
        parts.append(f"with {_article(rng, facts.distractor)} {facts.distractor}")
    elif chance > 0.95:
        absent = rng.choice([name for name in MATE if name not in (facts.classname, facts.distractor)])
        parts.append(f"without {_article(rng, absent)} {absent}")
    return parts


def sample_caption(rng: random.Random, facts: Facts, long: bool = False) -> str:
    """Draw one caption; words and punctuation are separated by single spaces.

    Args:
        rng: source of every choice.
        facts: what the image shows.
        long: put one to four filler phrases in front, so that later text positions are trained too.
    """
    kind, family = _family(rng, facts.style)
    fillers = rng.sample(FILLERS, rng.randint(1, 4)) if long else []
    if rng.random() < 0.015:
        absent = rng.choice([name for name in MATE if name not in (facts.classname, facts.distractor)])
        return " ".join([*fillers, "a photo without", _article(rng, absent), absent, "."])
    noun = [_noun(rng, facts, kind, family)]
    if facts.style not in ("sketch", "silhouette") and rng.random() < 0.35:
        noun.insert(0, facts.colour)
    if facts.big and rng.random() < 0.2:
        noun.insert(0, rng.choice(("big", "large")))
    article = [] if family.split()[-1:] in (["origami"], ["large"], ["small"]) else [_article(rng, noun[0])]
    end = ["."] if rng.random() < 0.5 else []
    return " ".join([*fillers, *family.split(), *article, *noun, *_tail(rng, facts), *end])


def twin(caption: str) -> str:
    """The caption with its main noun replaced by the look-alike: the hard negative that makes swap rates visible."""
    parts = caption.split()
    place = next(i for i, word in enumerate(parts) if word in MATE)
    parts[place] = MATE[parts[place]]
    if parts[place - 1] == "an" and parts[place][0] not in "aeiou":
        parts[place - 1] = "a"
    return " ".join(parts)
