"""VP: prompts made of pixels."""

import torch
import torch.nn.functional as F
from torch import nn

from dassl.config.options import choice, whole
from dassl.engine import TRAINER_REGISTRY
from dassl.utils.errors import UserError, suggest
from promptshift.bases.prompt_trainer import PromptTrainer
from promptshift.modeling.templates import fill, template_of
from promptshift.modeling.towers.text_tower import TextTower
from promptshift.runs.public_files.public_blocks import precision


class PadPrompter(nn.Module):
    """A frame of p learnable pixels, added to the image: (B, 3, S, S) -> (B, 3, S, S)."""

    def __init__(self, image_size: int, p: int):
        super().__init__()
        inner = image_size - 2 * p
        if inner <= 0:
            raise UserError(
                f"TRAINER.VP.PROMPT_SIZE: {p} leaves nothing of an image of {image_size} pixels; "
                f"allowed: 1 to {(image_size - 1) // 2}"
            )
        self.pad_up, self.pad_down = (nn.Parameter(torch.randn(1, 3, p, image_size)) for _ in range(2))
        self.pad_left, self.pad_right = (nn.Parameter(torch.randn(1, 3, inner, p)) for _ in range(2))
        self.inner = inner

    def forward(self, images):
        hole = images.new_zeros(1, 3, self.inner, self.inner)
        middle = torch.cat([self.pad_left, hole, self.pad_right], dim=3)
        return images + torch.cat([self.pad_up, middle, self.pad_down], dim=2)


class PatchPrompter(nn.Module):
    """A patch of p x p learnable pixels, added at the top left corner, or at places drawn at random.

    Args:
        corner: where the patch stands, (row, column), when it does not move.
        moves: draw a new place for every batch of training; `corner` is then the place in evaluation alone.
    """

    def __init__(self, image_size: int, p: int, corner: tuple[int, int], moves: bool):
        super().__init__()
        self.patch = nn.Parameter(torch.randn(1, 3, p, p))
        self.room, self.corner, self.moves = image_size - p, corner, moves

    def forward(self, images):
        top, left = self.corner
        if self.moves and self.training:
            top, left = torch.randint(self.room + 1, (2,)).tolist()
        return images + F.pad(self.patch, (left, self.room - left, top, self.room - top))


METHODS = ("padding", "fixed_patch", "random_patch")


def build_prompter(method: str, image_size: int, p: int, seed: int) -> nn.Module:
    """The prompter of METHOD; `seed` draws the place where a random patch is evaluated.

    Raises:
        UserError: unknown method, or a prompt that does not fit the image.
    """
    if method not in METHODS:
        raise UserError(f"TRAINER.VP.METHOD: '{method}'; allowed: {', '.join(METHODS)}{suggest(method, METHODS)}")
    if not 1 <= p <= image_size:
        raise UserError(
            f"TRAINER.VP.PROMPT_SIZE: {p} does not fit an image of {image_size} pixels; allowed: 1 to {image_size}"
        )
    if method == "padding":
        return PadPrompter(image_size, p)
    if method == "fixed_patch":
        return PatchPrompter(image_size, p, (0, 0), moves=False)
    own = torch.Generator().manual_seed(max(seed, 0))
    corner = torch.randint(image_size - p + 1, (2,), generator=own).tolist()
    return PatchPrompter(image_size, p, tuple(corner), moves=True)


@TRAINER_REGISTRY.register()
class VP(PromptTrainer):
    """Visual prompting with pixels (Bahng et al. 2022, arXiv 2203.17274).

    Learns a prompt d of pixels that is added to the normalised image; both towers of CLIP stay frozen.
    logits = exp(logit_scale) * cos(f(x + d), class feature of the dataset's hand template); cross-entropy.
    METHOD: `padding` (a frame, the paper's choice with 30 pixels), `fixed_patch` (top left) or `random_patch`.

    SPG's setting (arXiv 2404.19286; its paper says size 10, its code the random type) is `random_patch`, 10 pixels,
    with the learning rate 0.002 of its other baselines; the paper's own rate is 40.

    Differs from the released code: a random patch is evaluated at one place, drawn from SEED, so that an image's
    logits do not depend on its batch or on chance (there, a new place for every test batch); the class text is the
    dataset's template (there, "This is a photo of a {}").

    Shapes: B images, K classes, S image side, p prompt size, E embedding.
    """

    BLOCK = "VP"
    DEFAULTS = dict(
        PREC=precision(),
        METHOD=choice(*METHODS, source="arXiv 2203.17274", about="where the pixels are learnt"),
        PROMPT_SIZE=whole(30, least=1, source="arXiv 2203.17274", about="width of the frame, or side of the patch"),
    )
    FROZEN_IMAGES = False

    def build_prompts(self, clip, classnames):
        o = self.options
        texts = fill(template_of(self.cfg.DATASET.NAME), classnames)
        self.text_features = TextTower(clip, self.cfg.MODEL.TEXT_CHUNK).encode_texts(texts)  # (K, E)
        self.prompter = build_prompter(o.METHOD, clip.image_size, o.PROMPT_SIZE, self.cfg.SEED)
        return {"prompter": self.prompter}

    def class_features(self):
        return self.text_features

    def image_features(self, images):
        features = self.clip.encode_image(self.prompter(images.to(self.device)))
        return F.normalize(features.float(), dim=-1)
