"""Frozen CLIP, its promptable towers, prompt learners, generators and the frozen-feature cache.

This room knows nothing of trainers, datasets or configuration objects: everything is handed in as plain values.
"""

from dassl.utils.on_demand import on_demand

__getattr__ = on_demand(
    __name__,
    {"clip": ("FrozenCLIP", "load_clip"), "prompts": ("PromptLearner",), "towers.text_tower": ("TextTower",)},
)

__all__ = ["FrozenCLIP", "PromptLearner", "TextTower", "load_clip"]
