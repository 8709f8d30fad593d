"""Where the checkout, the data and the outputs are."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from dassl.utils.errors import UserError, suggest
from promptshift.discovery import import_open_folder

# The files that this project brings; whatever else lies in these folders is the user's, and its names come first.
SHIPPED = {
    "datasets": ("domain_sets", "image_sets", "own_folder"),
    "trainers": (
        *("cocoop", "coop", "dpc", "dplclip", "dpspg", "erm", "independentVL", "kgcoop", "ldpf", "linear_probe"),
        *("maple", "promptalign", "promptkd", "promptsrc", "promptsync", "spg", "tpt", "vp", "vpt", "zsclip"),
    ),
}


def checkout() -> Path:
    """The folder that holds train.py, trainers/, datasets/, configs/ and scripts/.

    Raises:
        UserError: promptshift was installed without its checkout and is not run from inside one.
    """
    for folder in (Path(__file__).resolve().parents[1], Path.cwd()):
        if (folder / "train.py").is_file() and (folder / "trainers").is_dir():
            return folder
    raise UserError("trainers/ and datasets/ are used from the checkout: run this from the PromptShift folder")


def data_root() -> Path:
    """$DATA, or data/ in the checkout."""
    return Path(os.environ.get("DATA") or checkout() / "data").expanduser().resolve()


def output_root() -> Path:
    """$OUTPUT, or output/ in the checkout; caches and stage results live below it."""
    return Path(os.environ.get("OUTPUT") or checkout() / "output").expanduser().resolve()


def load_plugins() -> None:
    """Import every trainer and dataset of the checkout, which registers them; see `import_open_folder`.

    Raises:
        UserError: two files of one origin want one name.
    """
    from dassl.data.datasets import DATASET_REGISTRY
    from dassl.engine import TRAINER_REGISTRY

    root = checkout()
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    for package, shipped in SHIPPED.items():
        import_open_folder(root / package, shipped, (DATASET_REGISTRY, TRAINER_REGISTRY))


def yaml_names(folder: Path) -> list[str]:
    """The sorted paths, relative and without suffix, of the YAML files below `folder`."""
    return sorted(str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.yaml"))


def trainer_config_file(trainer: str, names: Sequence[str]) -> Path:
    """`configs/trainers/<trainer>/<name>.yaml` of the first of `names` that exists.

    Raises:
        UserError: none of them does; the line names the last and lists what does.
    """
    folder = checkout() / "configs" / "trainers" / trainer
    known = yaml_names(folder)
    for name in names:
        if name in known:
            return folder / f"{name}.yaml"
    allowed = (", ".join(known) or "none") + suggest(names[-1], known)
    raise UserError(f"configuration {names[-1]!r}: no such file in {folder}, allowed: {allowed}")
