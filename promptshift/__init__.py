"""CLIP prompt learning under shift: trainers, protocols, tables, and an embedded world to try them on."""

from dassl.talk import show
from promptshift.modeling.embedded import register_embedded

__version__ = "0.1.0"


def _load_mini(name: str) -> tuple[dict, dict]:
    from promptshift.mini.weights import load_mini  # with torch, so only when it is asked for

    return load_mini(name)


show(__name__)
register_embedded(("mini", "mini_large"), _load_mini)
