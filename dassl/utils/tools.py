"""Small helpers: files, JSON, images, seeds, environment. Slow imports stand in the functions that use them."""

from __future__ import annotations

import json
import math
import os
import platform
import random
import stat
import sys
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from .errors import UserError, shorten, suggest
from .writing import atomic_path

if TYPE_CHECKING:
    from PIL import Image

__all__ = [
    "atomic_path",
    "check_availability",
    "check_isfile",
    "collect_env_info",
    "listdir_nohidden",
    "mkdir_if_missing",
    "parse_json",
    "read_image",
    "read_json",
    "set_deterministic",
    "set_random_seed",
    "tolist_if_not",
    "write_json",
]

# What data sets consist of. Pillow knows forty formats more and tells them by their content, not by the name: a
# PostScript file called x.png would be handed to Ghostscript, which is a program that runs what is in it.
IMAGE_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
_LARGEST_INTEGER = 2**64


def mkdir_if_missing(dirname: str | os.PathLike) -> None:
    """Create a folder and its parents; an existing folder is fine."""
    os.makedirs(dirname, exist_ok=True)


def check_isfile(fpath: str | os.PathLike) -> bool:
    """Tell whether ``fpath`` is a file, with a warning when it is not."""
    found = os.path.isfile(fpath)
    if not found:
        warnings.warn(f'No file found at "{fpath}"', stacklevel=2)
    return found


def listdir_nohidden(path: str | os.PathLike, sort: bool = False) -> list[str]:
    """Names in a folder that do not start with a dot; ``sort`` puts them in order."""
    items = [name for name in os.listdir(path) if not name.startswith(".")]
    return sorted(items) if sort else items


def read_json(fpath: str | os.PathLike) -> Any:
    """Read a JSON file.

    Raises:
        UserError: the file is missing, cannot be read or is not JSON (see :func:`parse_json`).
    """
    try:
        if not os.path.isfile(fpath) and os.path.exists(fpath):
            raise UserError(f"not valid JSON: {fpath} (it is no file)")  # opening a pipe would wait for ever
        with open(fpath, "rb") as file:
            return parse_json(file.read())
    except FileNotFoundError:
        raise UserError(f"no such JSON file: {fpath}") from None
    except OSError as error:
        raise UserError(f"cannot read {fpath} ({error.strerror})") from None
    except ValueError as error:
        raise UserError(f"not valid JSON: {fpath} ({shorten(error)})") from None


def parse_json(text: str | bytes) -> Any:
    """Return what JSON stands for.

    Raises:
        ValueError: no JSON, no UTF-8, nested deeper than Python reads, or a number that neither 64 bits nor a float
            holds. NaN and Infinity are read, as Python writes them.
    """
    try:
        text = text.decode("utf-8") if isinstance(text, bytes) else text
        return json.loads(text, parse_int=_integer, parse_float=_finite)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _integer(digits: str) -> int:
    if len(digits) > len(str(_LARGEST_INTEGER)) or abs(value := int(digits)) > _LARGEST_INTEGER:
        raise ValueError(f"the number {shorten(digits, 40)} is too large")
    return value


def _finite(digits: str) -> float:
    if math.isinf(value := float(digits)):
        raise ValueError(f"the number {shorten(digits, 40)} is too large")
    return value


def write_json(obj: Any, fpath: str | os.PathLike) -> None:
    """Write JSON (indented by four) so that the file is either the old or the new one, never a part."""
    with atomic_path(fpath) as temporary, open(temporary, "w", encoding="utf-8") as file:
        json.dump(obj, file, indent=4, separators=(",", ": "))


def read_image(path: str | os.PathLike) -> Image.Image:
    """Read an image as RGB: all of its pixels, of the first frame where there are several.

    Raises:
        UserError: the file is missing, no regular file, empty, cut off, too large or no image of `IMAGE_FORMATS`.
    """
    from PIL import Image

    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):  # opening a pipe waits for its writer, a device may never end
            raise UserError(f"cannot read image {_shown(path)}: it is no regular file; replace or remove it")
        with Image.open(path, formats=IMAGE_FORMATS) as image:
            return image.convert("RGB")
    except FileNotFoundError:
        raise UserError(f"no such image: {_shown(path)}") from None
    except UserError:
        raise
    except Exception as error:  # a decoder on damaged data raises anything, RuntimeError and struct.error among it
        size = f" ({os.path.getsize(path)} bytes)" if _exists(path) else ""
        reason = shorten(getattr(error, "strerror", None) or error)
        raise UserError(f"cannot read image {_shown(path)}{size}: {reason}; replace or remove the file") from None


def _exists(path: str | os.PathLike) -> bool:
    try:
        return os.path.isfile(path)
    except ValueError:  # a null character
        return False


def _shown(path: str | os.PathLike) -> str:
    return shorten(os.fspath(path), 400)


def set_random_seed(seed: int) -> None:
    """Seed ``random``, numpy and torch (every device). 0 is a seed like any other."""
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.cuda.manual_seed_all(seed)


def set_deterministic(deterministic: bool) -> None:
    """Choose between reproducible kernels and cuDNN's search for the fastest ones."""
    import torch

    torch.backends.cudnn.benchmark = not deterministic
    torch.backends.cudnn.deterministic = deterministic
    torch.use_deterministic_algorithms(deterministic, warn_only=True)


def collect_env_info() -> str:
    """Versions and devices, one per line."""
    import numpy as np
    import PIL
    import torch
    import torchvision

    lines = [
        f"Python: {sys.version.split()[0]} ({platform.platform()})",
        f"PyTorch: {torch.__version__} (CUDA {torch.version.cuda}, {torch.get_num_threads()} CPU threads)",
        f"torchvision: {torchvision.__version__}",
        f"numpy: {np.__version__}",
        f"Pillow: {PIL.__version__}",
    ]
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    lines += [f"GPU {i}: {torch.cuda.get_device_name(i)}" for i in devices] or ["GPU: none"]
    return "\n".join(lines)


def check_availability(requested: str, available: Iterable[str]) -> None:
    """Check that ``requested`` is one of ``available``.

    Raises:
        UserError: it is not; the nearest name is suggested.
    """
    available = list(available)
    if requested not in available:
        raise UserError(
            f"{requested!r} is not available{suggest(requested, available)} (allowed: {', '.join(map(str, available))})"
        )


def tolist_if_not(x: Any) -> list:
    """Wrap anything but a list into a list."""
    return x if isinstance(x, list) else [x]
