"""Trainer files in the manner of the public repositories: they import `dassl` and `clip` and nothing else of ours.

Each may be copied over the file of the same name in trainers/. In a test, `drop_in` stands for that.
"""

import importlib
import sys

from dassl.engine import TRAINER_REGISTRY
from promptshift.paths import load_plugins


def drop_in(name, monkeypatch):
    """Imports `third_party.<name>` as if it had replaced our file: trainer names and blocks are free."""
    load_plugins()
    for module in [module for module in sys.modules if module.startswith(f"{__name__}.")]:
        monkeypatch.delitem(sys.modules, module)
    ours = TRAINER_REGISTRY._obj_map
    replaced = {"CoOp", "MaPLe", "IVLP", "VPT"}
    monkeypatch.setattr(
        TRAINER_REGISTRY,
        "_obj_map",
        {key: cls for key, cls in ours.items() if not replaced & {c.__name__ for c in cls.__mro__}},
    )
    return importlib.import_module(f"{__name__}.{name}")
