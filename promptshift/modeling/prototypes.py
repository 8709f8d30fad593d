"""What a test image is compared with: statistics of the source images' tokens, and prototypes of the source classes.

A file of them says what made it and is refused where it does not fit.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor

from dassl.utils.errors import FOREIGN, UserError
from dassl.utils.loading import check_finite
from dassl.utils.tools import parse_json
from promptshift.modeling.clip import FrozenCLIP
from promptshift.modeling.features import save_tensors
from promptshift.modeling.multimodal import Prompts
from promptshift.modeling.towers.projection import layer_norm, project_features
from promptshift.modeling.towers.vision_tower import VisionTower


@dataclass
class SourcePrototypes:
    """Of the source images, under the prompts that adaptation starts from.

    Shapes: D blocks, T tokens (class token, patches, prompts), W vision width, K source classes, E embedding, A views.

    Attributes:
        means, variances: (D, T, W) over all images, of every block's input, prompts inserted (PromptAlign, arXiv
            2311.01459); the variance is the biased one.
        text: (K, E) class features.
        cls: (A, K, E) mean image feature of each class, for the clean view and each random one.
        vision: (K, E) mean of the patch tokens behind the last block, projected as the class token is.
        about: what made them, plain values; `classes` are the K names. Class prototypes are L2-normalised, those of
            statistics alone (`released_statistics`) are empty.
    """

    means: Tensor
    variances: Tensor
    text: Tensor
    cls: Tensor
    vision: Tensor
    about: dict

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The tensors by name."""
        return {name: getattr(self, name) for name in _NAMES}

    def save(self, path: Path) -> None:
        """Writes a safetensors file with `about` as JSON in its metadata."""
        save_tensors(path, self.tensors, {"about": json.dumps(self.about)})

    def to(self, device: torch.device) -> SourcePrototypes:
        """The same on a device."""
        return SourcePrototypes(**{name: tensor.to(device) for name, tensor in self.tensors.items()}, about=self.about)


_NAMES = ("means", "variances", "text", "cls", "vision")


def load_prototypes(path: str | Path) -> SourcePrototypes:
    """Reads what `SourcePrototypes.save` wrote.

    Raises:
        UserError: the file is missing or something else.
    """
    if not Path(path).is_file():
        raise UserError(f"no prototypes at {path}; make them with promptshift prototypes --run RUN --out {path}")
    try:
        with safe_open(path, "pt") as file:
            about, tensors = parse_json(file.metadata()["about"]), {name: file.get_tensor(name) for name in _NAMES}
    except (OSError, SafetensorError, *FOREIGN) as error:
        raise UserError(
            f"{path} holds no prototypes ({type(error).__name__}); make them again with promptshift prototypes"
        ) from None
    check_finite(tensors, str(path))
    return SourcePrototypes(**tensors, about=about)


def released_statistics(means: str, variances: str) -> SourcePrototypes:
    """Reads PromptAlign's released files (ImgNetpre_vis_means.pt, ImgNetpre_vis_vars.pt): a tensor, or a list with a
    tensor (T, W) for each block.

    Raises:
        UserError: a file is missing, unreadable or of another shape.
    """
    tensors = [_stacked(path) for path in (means, variances)]
    if tensors[0].shape != tensors[1].shape or tensors[0].dim() != 3:
        raise UserError(
            f"{means} and {variances}: shapes {tuple(tensors[0].shape)} and {tuple(tensors[1].shape)}; "
            "expected (blocks, tokens, width) twice"
        )
    return SourcePrototypes(*tensors, *(torch.empty(0) for _ in range(3)), about={"released": [means, variances]})


def _stacked(path: str) -> Tensor:
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"no statistics at {path}") from None
    except Exception as error:  # zipfile, pickle and torch each raise their own
        raise UserError(f"{path} cannot be read as tensors ({type(error).__name__})") from None
    blocks = list(loaded.values()) if isinstance(loaded, dict) else loaded
    if not isinstance(blocks, Tensor | list | tuple) or not all(isinstance(block, Tensor) for block in blocks):
        raise UserError(f"{path} holds a {type(loaded).__name__}; expected a tensor or a list of tensors")
    check_finite(list(blocks), str(path))
    return torch.stack([block.float().squeeze(0) if block.dim() == 3 else block.float() for block in blocks])


class Collector:
    """Means of source images that arrive in batches, kept in float64.

    Args:
        tower: the vision tower.
        prompts: the prompts under which the images are seen, without leading dimension.
        classes: K, number of source classes.
    """

    def __init__(self, tower: VisionTower, prompts: Prompts, classes: int):
        self.tower, self.prompts, self.classes = tower, prompts, classes
        self.images = torch.zeros(classes, dtype=torch.long)
        self.sums: dict[str, Tensor] = {}

    def add(self, views: Tensor, labels: Tensor) -> None:
        """Takes views (B, A, 3, S, S), the first the clean one, of images with labels (B,)."""
        self.images += torch.bincount(labels.cpu(), minlength=self.classes)
        labels = labels.to(views.device)
        for a in range(views.shape[1]):
            feature, tokens = self.tower.encode_with_tokens(views[:, a], self.prompts.vision, self.prompts.deep_vision)
            self._add(f"cls{a}", self._by_class(F.normalize(feature.float(), dim=-1), labels))
            if a == 0:
                stacked = torch.stack(tokens).double()  # (D, B, T, W)
                self._add("means", stacked.sum(dim=1))
                self._add("squares", stacked.square().sum(dim=1))
                patches = patch_features(self.tower, tokens[-1], self.prompts.vision.shape[-2])
                self._add("vision", self._by_class(patches, labels))

    def _by_class(self, features: Tensor, labels: Tensor) -> Tensor:
        return features.new_zeros(self.classes, features.shape[1], dtype=torch.float64).index_add_(
            0, labels, features.double()
        )

    def _add(self, name: str, tensor: Tensor) -> None:
        self.sums[name] = self.sums[name] + tensor if name in self.sums else tensor

    def finish(self, text: Tensor, about: dict) -> SourcePrototypes:
        """-> the prototypes of all images taken so far.

        Args:
            text: class features (K, E), L2-normalised.
            about: what made them, `classes` the K names.

        Returns:
            Class prototypes are those of the classes that have images; `classes` in `about` names them.
        """
        total = int(self.images.sum())
        mean = self.sums["means"] / total
        variance = (self.sums["squares"] / total - mean.square()).clamp_min(0)
        present = self.images.nonzero().flatten().to(mean.device)
        views = [self.sums[f"cls{a}"][present] for a in range(sum(name.startswith("cls") for name in self.sums))]
        about = {**about, "images": total, "classes": [about["classes"][i] for i in present.tolist()]}
        return SourcePrototypes(
            mean.float(),
            variance.float(),
            text[present].float(),
            F.normalize(torch.stack(views), dim=-1).float(),
            F.normalize(self.sums["vision"][present], dim=-1).float(),
            about,
        )


def weights_identity(clip: FrozenCLIP) -> str:
    """16 hex digits over CLIP's weights rounded to half precision: the same in fp32, amp and fp16."""
    digest = hashlib.blake2b(digest_size=8)
    for key, value in sorted(clip.model.state_dict().items()):
        digest.update(key.encode())
        digest.update(value.detach().cpu().half().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def patch_features(tower: VisionTower, tokens: Tensor, prompts: int) -> Tensor:
    """Mean of the patch tokens behind the last block, projected like the class token.

    Args:
        tower: the vision tower.
        tokens: (B, T, W), the last block's input.
        prompts: how many of them, at the end, are prompts.

    Returns:
        (B, E), L2-normalised, float32.
    """
    patches = tower.blocks[-1](tokens)[:, 1 : tokens.shape[1] - prompts]
    pooled = layer_norm(patches, tower.visual.ln_post).mean(dim=1)
    return F.normalize(project_features(pooled, tower.visual.proj), dim=-1)
