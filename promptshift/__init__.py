"""CLIP prompt learning under shift: trainers, protocols, tables, and an embedded world to try them on.

From Python: `load`, `train`, `results`, `methods`, `datasets` (see `promptshift.api`), `losses`, `PromptLearner`,
`TextTower`, `load_clip`. They are imported when they are first used, so that `import promptshift` takes no time.
"""

import importlib

from dassl.talk import show
from promptshift.modeling.backbones.embedded import register_embedded

__version__ = "0.1.0"


def _load_mini(name: str) -> tuple[dict, dict]:
    from promptshift.mini.weights import load_mini  # with torch, so only when it is asked for

    return load_mini(name)


show(__name__)
register_embedded(("mini", "mini_large"), _load_mini)


_MODULES = ("losses", "results", "api")
_NAMES = {
    **dict.fromkeys(("Run", "load", "train", "methods", "datasets"), "promptshift.api"),
    "UserError": "dassl.utils.errors",
    "PromptLearner": "promptshift.modeling.prompts",
    "TextTower": "promptshift.modeling.towers.text_tower",
    "load_clip": "promptshift.modeling.clip",
}
__all__ = [*_NAMES, "losses", "results"]


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return importlib.import_module(f"promptshift.{name}")
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    raise AttributeError(f"module 'promptshift' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
