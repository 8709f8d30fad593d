"""Where the checkout, the data and the outputs are."""
from __future__ import annotations

import os
import sys
from pathlib import Path

from dassl.utils.errors import UserError


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
    """Imports every trainer and dataset of the checkout, which registers them."""
    root = str(checkout())
    if root not in sys.path:
        sys.path.insert(0, root)
    import datasets  # noqa: F401
    import trainers  # noqa: F401
