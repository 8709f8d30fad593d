"""Frozen CLIP, its promptable towers, prompt learners, generators and the frozen-feature cache.

This room knows nothing of trainers, datasets or configuration objects: everything is handed in as plain values.
"""

from promptshift.modeling.clip import FrozenCLIP, load_clip
from promptshift.modeling.prompts import PromptLearner
from promptshift.modeling.text_tower import TextTower

__all__ = ["FrozenCLIP", "PromptLearner", "TextTower", "load_clip"]
