"""Where the project's own files, the data and the outputs are."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from dassl.utils.errors import UserError, suggest
from promptshift.discovery import import_open_folder

_INSTALLED = Path(__file__).resolve().parent / "_house"  # where setup.py puts those folders in a wheel


def checkout() -> Path:
    """The folder that holds trainers/, datasets/, configs/, papers/ and scripts/.

    It is the checkout where there is one, around this package or as the current folder, and otherwise the copy
    inside the installed package.

    Raises:
        UserError: there is neither.
    """
    for folder in (Path(__file__).resolve().parents[1], Path.cwd()):
        if (folder / "train.py").is_file() and (folder / "trainers").is_dir() and (folder / "promptshift").is_dir():
            return folder
    if _INSTALLED.is_dir():
        return _INSTALLED
    raise UserError("trainers/ and datasets/ are neither beside nor in the promptshift package: install it again")


def is_installed() -> bool:
    """Whether the project's own files are those of an installed wheel and not of a checkout."""
    return checkout() == _INSTALLED


def workplace() -> Path:
    """The folder that holds data/ and output/ by default and that jobs start in: the checkout, else the current one."""
    return Path.cwd() if is_installed() else checkout()


def data_root() -> Path:
    """$DATA, or data/ in `workplace`."""
    return Path(os.environ.get("DATA") or workplace() / "data").expanduser().resolve()


def output_root() -> Path:
    """$OUTPUT, or output/ in `workplace`; caches and stage results live below it."""
    return Path(os.environ.get("OUTPUT") or workplace() / "output").expanduser().resolve()


def load_plugins(*packages: str) -> None:
    """Import the project's datasets and trainers, which registers them; see `import_open_folder`.

    Args:
        packages: which of "datasets" and "trainers"; both when none is named. Trainers bring PyTorch with them.

    Raises:
        UserError: another package of that name is imported already, or two files of one origin want one name.
    """
    root = checkout()
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    for package in packages or ("datasets", "trainers"):
        import_open_folder(root / package, _registries(package))


def _registries(package: str) -> list:
    from dassl.data.datasets import DATASET_REGISTRY

    if package == "datasets":
        return [DATASET_REGISTRY]
    from dassl.engine import TRAINER_REGISTRY

    return [DATASET_REGISTRY, TRAINER_REGISTRY]


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
