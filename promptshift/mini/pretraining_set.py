"""Images and captions that the mini CLIP is pretrained on."""

from dataclasses import dataclass

import numpy as np
import torch
from open_clip.tokenizer import SimpleTokenizer

from .captions import BY_STYLE, Facts, words
from .drawing.scene import BACKGROUNDS, COLOURS
from .world import PRETRAIN, render_image

STYLE_MIX = {  # style: (share of the images, style that captions name)
    "photo": (0.20, "photo"),
    "photo_wide": (0.17, "photo"),
    "art_painting": (0.12, "art_painting"),
    "cartoon": (0.10, "cartoon"),
    "cartoon_thin": (0.06, "cartoon"),
    "sketch": (0.07, "sketch"),
    "chalk": (0.02, "sketch"),
    "clipart": (0.13, "clipart"),
    "watercolor": (0.08, "watercolor"),
    "silhouette": (0.05, "silhouette"),
}
ATTRIBUTES = {  # auxiliary target: its classes
    "classname": PRETRAIN.classes,
    "style": tuple(BY_STYLE),
    "colour": tuple(COLOURS),
    "background": tuple(BACKGROUNDS),
    "distractor": (None, *PRETRAIN.classes),
    "big": (False, True),
}


@dataclass(frozen=True)
class PretrainingSet:
    """B images with what they show.

    Attributes:
        images: uint8 (B, 48, 48, 3).
        facts: per image, what captions may say.
        targets: auxiliary target name -> class index (B,).
    """

    images: torch.Tensor
    facts: list[Facts]
    targets: dict[str, torch.Tensor]


def render_pretraining_set(count: int, seed: int) -> PretrainingSet:
    """Render `count` images with classes and styles drawn from the mix."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, count]))
    shares = [share for share, _ in STYLE_MIX.values()]
    styles = rng.choice(list(STYLE_MIX), size=count, p=shares).tolist()
    classes = rng.choice(PRETRAIN.classes, size=count).tolist()
    images, facts = np.empty((count, 48, 48, 3), np.uint8), []
    for i, (style, classname) in enumerate(zip(styles, classes, strict=True)):
        images[i], scene = render_image(PRETRAIN, style, classname, i, seed)
        facts.append(Facts(classname, STYLE_MIX[style][1], scene.colour, scene.background, scene.distractor, scene.big))
    targets = {
        name: torch.tensor([values.index(getattr(fact, name)) for fact in facts]) for name, values in ATTRIBUTES.items()
    }
    return PretrainingSet(torch.from_numpy(images), facts, targets)


class CaptionTokens:
    """Turns captions into ids of the compact vocabulary: the BPE tokens of the caption words, renumbered ascending.

    Attributes:
        token_ids: ids in OpenAI's vocabulary, ascending; position = compact id. The last one is the EOT.
    """

    def __init__(self):
        bpe = SimpleTokenizer()
        pieces = {word: bpe.encode(word) for word in words()}
        special = {bpe.sot_token_id, bpe.eot_token_id}
        self.token_ids = sorted(special.union(*pieces.values()))
        compact = {token: i for i, token in enumerate(self.token_ids)}
        self._pieces = {word: [compact[token] for token in tokens] for word, tokens in pieces.items()}
        self._sot, self._eot = compact[bpe.sot_token_id], compact[bpe.eot_token_id]

    def encode(self, caption: str) -> list[int]:
        """Compact ids of one caption with SOT and EOT."""
        return [self._sot, *(token for word in caption.split() for token in self._pieces[word]), self._eot]

    def batch(self, captions: list[str]) -> torch.Tensor:
        """Compact ids (B, L) of B captions, padded with 0 behind the EOT."""
        rows = [self.encode(caption) for caption in captions]
        length = max(map(len, rows))
        return torch.tensor([row + [0] * (length - len(row)) for row in rows])
