"""Tensors out of the zip archives that ``torch.save`` and ``torch.jit.save`` write, without running what is in them.

``torch.jit.load`` compiles the code of an archive and calls every exported ``__setstate__`` in it, so an archive of
somebody else may do whatever TorchScript can do, writing files among it. But an archive is a zip: `data.pkl` pickles
the tree of modules, `data/0`, `data/1`, ... are the bytes of the tensors, `byteorder` says in which order they are.
These are read here, by an unpickler that never imports; `code/` and `constants.pkl`, which the tensors do not need,
are never opened.
"""

import io
import os
import pickle
import sys
import zipfile
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from .legacy import Function, Sealed, encode, refuse_harmful_pickle

__all__ = ["is_archive", "load_archive", "refuse_harmful_file"]

_ZIP_START = b"PK\x03\x04"
_LEGACY_PICKLES = 5  # before zips: magic number, version, system, content, keys of the storages, then their bytes
_LARGEST_PICKLE = 2**26  # bytes; that of ViT-L/14 has 2**18
_LARGEST_GROWTH = 100  # unpacked size over packed size ...
_SMALL = 2**30  # ... of what unpacks to more bytes than this
_DEEPEST, _MOST_MODULES = 100, 100_000
_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
}


def is_archive(path: str | os.PathLike) -> bool:
    """Tell whether a file begins as a zip does (the test that ``torch.load`` makes)."""
    with open(path, "rb") as file:
        return file.read(len(_ZIP_START)) == _ZIP_START


def refuse_harmful_file(path: str | os.PathLike) -> None:
    """Refuse what `legacy.refuse_harmful_pickle` refuses in a file that ``torch.load`` is about to read.

    Raises:
        Exception: that, or what zipfile and pickletools say about a file that ``torch.save`` did not write.
    """
    if not is_archive(path):
        with open(path, "rb") as file:
            refuse_harmful_pickle(file, _LEGACY_PICKLES)
        return
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if info.filename.endswith("/data.pkl"):
                _refuse_large(info.file_size)
                refuse_harmful_pickle(io.BytesIO(archive.read(info)))


def load_archive(path: str | os.PathLike) -> Any:
    """Read an archive of plain tensors onto the CPU.

    Returns:
        For a TorchScript archive the flat state dict, name -> tensor, as ``torch.jit.load(path).state_dict()`` has it;
        tensors that a scripted module holds beside its parameters and buffers are there too, since only the code knows
        the difference. For an archive of ``torch.save`` what was saved.

    Raises:
        Exception: whatever zipfile, pickle or torch say about a damaged file or one that holds anything but plain
            containers, numbers, strings and dense tensors; callers name the file.
    """
    with zipfile.ZipFile(path) as archive:
        root = _Unpickler(_Entries(archive, os.path.getsize(path))).load()
    return dict(_tensors(root)) if isinstance(root, _Module) else root


def _refuse_large(size: int) -> None:
    if size > _LARGEST_PICKLE:
        raise pickle.UnpicklingError(f"data.pkl has more than {_LARGEST_PICKLE:,} bytes")


class _Entries:
    """The entries below the one top folder of an archive."""

    def __init__(self, archive: zipfile.ZipFile, packed_size: int) -> None:
        infos = archive.infolist()
        self._archive, self._infos = archive, {info.filename: info for info in infos}
        if len(self._infos) != len(infos):
            raise zipfile.BadZipFile("two entries of the archive have the same name")
        if sum(info.file_size for info in infos) > max(_SMALL, _LARGEST_GROWTH * packed_size):
            raise zipfile.BadZipFile(f"the archive unpacks to more than {_LARGEST_GROWTH} times its size")
        tops = [top for top, _, rest in (name.partition("/") for name in self._infos) if rest == "data.pkl"]
        if len(tops) != 1:
            raise zipfile.BadZipFile(f"{len(tops)} entries <folder>/data.pkl in the archive instead of one")
        self._top = tops[0]

    def size(self, name: str) -> int | None:
        """Bytes of an entry when unpacked, or None without one."""
        info = self._infos.get(f"{self._top}/{name}")
        return None if info is None else info.file_size

    def read(self, name: str) -> bytes:
        """The bytes of an entry; zipfile checks their CRC."""
        info = self._infos[f"{self._top}/{name}"]
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise zipfile.BadZipFile(f"{name} is compressed as PyTorch never does (zip method {info.compress_type})")
        data = self._archive.read(info)
        if len(data) != info.file_size:
            raise zipfile.BadZipFile(f"{name} is cut off")
        return data


class _Module(metaclass=Sealed):
    """A module of a TorchScript archive: the attributes that its class, which stays unknown, was stored with."""

    __slots__ = ("attributes",)

    def __new__(cls, *args: object) -> "_Module":
        module = super().__new__(cls)
        module.attributes = {}
        return module

    def __setstate__(self, state: object) -> None:
        if type(state) is not dict:
            raise pickle.UnpicklingError("a module restores itself by code of its own (__setstate__), which is not run")
        self.attributes = state


class _Dict(dict, metaclass=Sealed):
    """An OrderedDict without the attributes that a pickle may hang on one (a state dict's `_metadata`)."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        pass


def _tensor(values: Tensor, offset: int, size: tuple, stride: tuple, *_: object) -> Tensor:
    """A dense view of a storage; whether it requires a gradient and its hooks are not taken over."""
    tensor = values.as_strided(size, stride, offset)
    if tensor.numel() > values.numel():
        raise pickle.UnpicklingError(f"a tensor {tuple(size)} of {values.numel()} stored numbers")
    return tensor


def _parameter(data: Tensor, *_: object) -> Tensor:
    return data


def _container(*_: object) -> None:
    """Stands for the lists and dicts of a scripted module, which no state dict has."""


_TABLE: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _Dict,
    ("_codecs", "encode"): Function(encode),
    ("torch", "Size"): Function(lambda sizes=(): tuple(sizes)),
    ("torch", "device"): Function(_container),
    ("torch._utils", "_rebuild_tensor_v2"): Function(_tensor),
    ("torch._utils", "_rebuild_parameter"): Function(_parameter),
}
_TABLE |= {(module, "complex"): Function(complex) for module in ("builtins", "__builtin__")}
_TABLE |= {
    ("torch.jit._pickle", name): Function(_container)
    for name in ("restore_type_tag", "build_intlist", "build_doublelist", "build_boollist", "build_tensorlist")
}
_TABLE |= {("torch", name): dtype for name, dtype in _DTYPES.items()}
_TABLE |= {("torch", name): value for name, value in vars(torch).items() if isinstance(value, torch.dtype)}


class _Unpickler(pickle.Unpickler):
    """Builds tensors, plain containers and :class:`_Module`; refuses every other name."""

    def __init__(self, entries: _Entries) -> None:
        _refuse_large(entries.size("data.pkl"))
        content = io.BytesIO(entries.read("data.pkl"))
        refuse_harmful_pickle(content)
        super().__init__(content)
        order = entries.read("byteorder") if entries.size("byteorder") else b"little"
        if order not in (b"little", b"big"):
            raise pickle.UnpicklingError(f"byteorder is {order[:20]!r}; allowed: little, big")
        self._entries, self._order = entries, order.decode()
        self._storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Return what the table has; every class of the archive's own code is a :class:`_Module`."""
        if module.split(".")[0] == "__torch__":
            return _Module
        if (module, name) not in _TABLE:
            raise pickle.UnpicklingError(f"it needs {module[:100]}.{name[:100]}, which no weight file needs")
        return _TABLE[module, name]

    def persistent_load(self, pid: Any) -> Tensor:
        """Return the numbers of a storage, flat: ("storage", type, entry below data/, device, count)."""
        kind, dtype, key, _, count = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype) or type(key) is not str or type(count) is not int:
            raise pickle.UnpicklingError("something else than a storage in data.pkl")
        if key not in self._storages:
            self._storages[key] = self._read(key, dtype, count)
        values = self._storages[key]
        if values.dtype != dtype or values.numel() != count:
            raise pickle.UnpicklingError(f"data/{key} is described in two ways")
        return values

    def _read(self, key: str, dtype: torch.dtype, count: int) -> Tensor:
        name, size = f"data/{key}", self._entries.size(f"data/{key}")
        if size != count * dtype.itemsize:
            raise pickle.UnpicklingError(f"{name} has {size or 0} bytes; {count} numbers of {dtype} were expected")
        if count == 0:
            return torch.empty(0, dtype=dtype)
        values = torch.frombuffer(bytearray(self._entries.read(name)), dtype=dtype)
        if self._order != sys.byteorder:
            values.untyped_storage().byteswap(dtype)
        return values


def _tensors(root: _Module) -> Iterator[tuple[str, Tensor]]:
    """Dotted name and tensor of every tensor attribute of a tree of modules."""
    waiting, seen = [("", root, 0)], 0
    while waiting:
        prefix, module, depth = waiting.pop()
        seen += 1
        if depth > _DEEPEST or seen > _MOST_MODULES:  # a module inside itself, or the same one over and over
            raise pickle.UnpicklingError(f"more than {_MOST_MODULES:,} modules, or nested over {_DEEPEST} deep")
        for name, value in module.attributes.items():
            if type(name) is not str or "." in name:
                raise pickle.UnpicklingError(f"a module has an attribute called {str(name)[:50]!r}")
            if isinstance(value, Tensor):
                yield prefix + name, value
            elif isinstance(value, _Module):
                waiting.append((f"{prefix}{name}.", value, depth + 1))
