"""What trainers share whose method works on image features before they are normalised."""

from __future__ import annotations

import torch
from torch import Tensor

from promptshift.bases.prompt_trainer import PromptTrainer


class RawFeatures(PromptTrainer):
    """Encodes, stores and hands on frozen image features that are not L2-normalised."""

    @torch.no_grad()
    def encode_images(self, images: Tensor) -> Tensor:
        """Images (B, 3, S, S) -> frozen features (B, E), float32, not L2-normalised."""
        with self.autocast():
            return self.clip.encode_image(images.to(self.device)).float()

    @property
    def feature_key(self) -> str:
        """As the base's; stored features of the two kinds are told apart."""
        return f"unnormalised-{super().feature_key}"
