"""Reading pickles of other people without running anything that they contain.

Checkpoints of upstream Dassl pickle whole scheduler objects (which carry the optimizer) and numpy scalars, which
``torch.load(weights_only=True)`` refuses. The unpickler here never imports: it knows a short table of names that
build tensors, numpy values and plain containers, and puts an inert :class:`Dropped` in place of everything else.
"""

import builtins
import collections
import os
import pickle
import pickletools
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, BinaryIO

import numpy as np
import torch

from .errors import UserError

__all__ = ["Dropped", "load_pickle", "load_torch"]

_MOST_TUPLES = 50_000  # a stack of 8 MiB holds twice as many levels; ViT-L/14's pickle builds 4,000
_TUPLE_BUILDERS = {"TUPLE1", "TUPLE2", "TUPLE3", "TUPLE", "FROZENSET", "REDUCE", "INST", "OBJ"}
_LARGEST_SCANNED = 2**24  # bytes; ImageNet's listing has more, and looking at each operation would take half a minute


class Sealed(type):
    """Metaclass of classes that a pickle may build objects of, but whose own attributes it cannot set."""

    def __setattr__(cls, name: str, value: object) -> None:
        raise pickle.UnpicklingError("a pickle may not change classes")


class Dropped(metaclass=Sealed):
    """Stands where a pickle asked for an object of any other class; swallows the object's contents."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def __new__(cls, *args: object, **kwargs: object) -> "Dropped":
        return super().__new__(cls)

    def _ignore(self, *args: object) -> None:
        pass

    __setstate__ = __setitem__ = append = extend = add = _ignore


class Function:
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


def encode(text: str, encoding: str = "latin1") -> bytes:
    """How protocol 2 writes bytes."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"encoding {encoding!r} in a pickle")
    return text.encode("latin1")


def _new_array(subtype: object, shape: object, typecode: object) -> np.ndarray:
    """The empty array that the state in the pickle then fills."""
    return np.ndarray.__new__(np.ndarray, 0, np.dtype("b"))


_TABLE: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("collections", "defaultdict"): Function(lambda *args: {}),
    ("_codecs", "encode"): Function(encode),
    ("torch", "Size"): torch.Size,
    ("torch", "device"): torch.device,
    ("numpy", "dtype"): np.dtype,
    ("numpy", "ndarray"): np.ndarray,
}
_TABLE |= {
    ("torch._utils", f): Function(getattr(torch._utils, f))
    for f in ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter")
}
_TABLE |= {("torch", name): value for name, value in vars(torch).items() if isinstance(value, torch.dtype)}
_TABLE |= {
    (module, name): getattr(builtins, name)
    for module in ("builtins", "__builtin__")
    for name in ("set", "list", "dict", "bytearray", "complex")
}
# not the types themselves: NEWOBJ, of which there is one for every object, then builds nothing that hashes its parts
_TABLE |= {(module, t.__name__): Function(t) for module in ("builtins", "__builtin__") for t in (tuple, frozenset)}
for _numpy in ("numpy.core.multiarray", "numpy._core.multiarray"):
    _TABLE[_numpy, "scalar"] = Function(_numpy_scalar)
    _TABLE[_numpy, "_reconstruct"] = Function(_new_array)


class _Unpickler(pickle.Unpickler):
    """Resolves names through a table only."""

    extra: Mapping[tuple[str, str], Any] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Return what the table has, or :class:`Dropped`; nothing is imported."""
        known = self.extra.get((module, name))
        if known is None:
            return _TABLE.get((module, name), Dropped)
        return Sealed(known.__name__, (known,), {"__slots__": ()})


def refuse_harmful_pickle(file: BinaryIO, pickles: int = 1) -> None:
    """Refuse the pickles that begin at the position of a file if reading them might end Python without an exception.

    Hashing a tuple nested d deep, as a key of a dict, takes d frames of the C stack; what is nested d deep takes d
    operations that build a tuple, so these are counted. And remembering an object under the number n takes memory for
    n objects, which an honest pickle has before. The position is kept.

    Args:
        file: open for reading bytes.
        pickles: how many follow one another.

    Raises:
        pickle.UnpicklingError: more than 50,000 tuples, or an object with a number that is too large.
        ValueError: no pickle.
    """
    start, built = file.tell(), 0
    for _ in range(pickles):
        for count, (operation, argument, _) in enumerate(pickletools.genops(file)):
            built += operation.name in _TUPLE_BUILDERS
            if built > _MOST_TUPLES:
                raise pickle.UnpicklingError(f"a pickle with more than {_MOST_TUPLES:,} tuples")
            if operation.name in ("PUT", "LONG_BINPUT") and argument > count:
                raise pickle.UnpicklingError(f"a pickle that calls its object {count} number {argument}")
    file.seek(start)


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
            if os.fstat(file.fileno()).st_size <= _LARGEST_SCANNED:
                refuse_harmful_pickle(file)
            unpickler = _Unpickler(file)
            unpickler.extra = classes or {}
            return unpickler.load()
    except FileNotFoundError:
        raise UserError(f"no such file: {path}") from None
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"cannot read {path} as a pickle of plain data: {reason}") from None
