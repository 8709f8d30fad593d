"""Reading pickles of other people without running anything that they contain.

Checkpoints of upstream Dassl pickle whole scheduler objects (which carry the optimizer) and numpy scalars, which
``torch.load(weights_only=True)`` refuses. The unpickler here never imports: it knows a short table of names that
build tensors, numpy values and plain containers, and puts an inert :class:`Dropped` in place of everything else.
"""

import builtins
import collections
import os
import pickle
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from .errors import UserError

__all__ = ["Dropped", "load_pickle", "load_torch"]


class Dropped:
    """Stands where a pickle asked for an object of any other class; swallows the object's contents."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def __new__(cls, *args: object, **kwargs: object) -> "Dropped":
        return super().__new__(cls)

    def _ignore(self, *args: object) -> None:
        pass

    __setstate__ = __setitem__ = append = extend = add = _ignore


class _Function:
    """A permitted function; unlike the function itself it takes no attributes from a pickle."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable) -> None:
        object.__setattr__(self, "_call", call)

    def __call__(self, *args: object) -> Any:
        return self._call(*args)

    def __setattr__(self, name: str, value: object) -> None:
        raise pickle.UnpicklingError("a pickle may not change functions")

    __setstate__ = __setattr__


def _numpy_scalar(dtype: np.dtype, data: bytes = b"") -> int | float | bool | complex | str:
    """A numpy scalar as the plain Python value; object arrays are refused by ``frombuffer``."""
    return np.frombuffer(data, dtype=dtype, count=1)[0].item()


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """How protocol 2 writes bytes."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"encoding {encoding!r} in a pickle")
    return text.encode("latin1")


def _new_array(subtype: object, shape: object, typecode: object) -> np.ndarray:
    """The empty array that the state in the pickle then fills."""
    return np.ndarray.__new__(np.ndarray, 0, np.dtype("b"))


_TABLE: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("collections", "defaultdict"): _Function(lambda *args: {}),
    ("_codecs", "encode"): _Function(_encode),
    ("torch", "Size"): torch.Size,
    ("torch", "device"): torch.device,
    ("numpy", "dtype"): np.dtype,
    ("numpy", "ndarray"): np.ndarray,
}
_TABLE |= {
    ("torch._utils", f): _Function(getattr(torch._utils, f))
    for f in ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter")
}
_TABLE |= {("torch", name): value for name, value in vars(torch).items() if isinstance(value, torch.dtype)}
_TABLE |= {
    ("torch", name): value
    for name, value in vars(torch).items()
    if name.endswith("Storage") and isinstance(value, type)
}
_TABLE |= {
    (module, name): getattr(builtins, name)
    for module in ("builtins", "__builtin__")
    for name in ("set", "frozenset", "list", "dict", "tuple", "bytearray", "complex")
}
for _numpy in ("numpy.core.multiarray", "numpy._core.multiarray"):
    _TABLE[_numpy, "scalar"] = _Function(_numpy_scalar)
    _TABLE[_numpy, "_reconstruct"] = _Function(_new_array)


class _Unpickler(pickle.Unpickler):
    """Resolves names through a table only."""

    extra: Mapping[tuple[str, str], Any] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Return what the table has, or :class:`Dropped`; nothing is imported."""
        known = self.extra.get((module, name))
        return _TABLE.get((module, name), Dropped) if known is None else known


def _load(file: Any, **kwargs: Any) -> Any:
    return _Unpickler(file, **kwargs).load()


_PICKLE_MODULE = SimpleNamespace(__name__=__name__, Unpickler=_Unpickler, load=_load)


def load_torch(path: str | os.PathLike) -> Any:
    """Read a file written by ``torch.save``, on the CPU, with every foreign object replaced by :class:`Dropped`.

    Raises:
        Exception: whatever the reader says about a file that is no such thing; callers name the file.
    """
    return torch.load(path, map_location="cpu", pickle_module=_PICKLE_MODULE, weights_only=False)


def load_pickle(path: str | os.PathLike, classes: Mapping[tuple[str, str], Any] | None = None) -> Any:
    """Read an ordinary pickle, e.g. upstream's cached few-shot sets, without running anything in it.

    Args:
        path: the file.
        classes: (module, name) in the pickle -> class to build, e.g.
            ``{("dassl.data.datasets.base_dataset", "Datum"): Datum}``. All other classes become :class:`Dropped`.

    Raises:
        UserError: missing, cut off or no pickle.
    """
    try:
        with open(path, "rb") as file:
            unpickler = _Unpickler(file)
            unpickler.extra = classes or {}
            return unpickler.load()
    except FileNotFoundError:
        raise UserError(f"no such file: {path}") from None
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"cannot read {path} as a pickle of plain data: {reason}") from None
