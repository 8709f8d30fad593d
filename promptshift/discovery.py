"""What is found by looking: modules of a folder that register themselves, and things asked for by name."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from dassl.utils.errors import UserError, one_line, suggest
from dassl.utils.registry import DuplicateNameError, Registry

T = TypeVar("T")
# what every file of this project imports, and no public one
_OWN_IMPORT = re.compile(
    r"^\s*(?:from|import) (?:promptshift|dassl\.utils\.errors|datasets\._|trainers\.)", re.MULTILINE
)
_REGISTERED = re.compile(r"@\s*(?P<registry>\w+)_REGISTRY\.register.*?^class\s+(?P<name>\w+)", re.DOTALL | re.MULTILINE)
_left_out: set[str] = set()  # modules that could not be imported; each is said once


def import_modules(package: str) -> None:
    """Imports every module of a package whose name does not start with "_", which registers what they define."""
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        if not module.name.startswith("_"):
            importlib.import_module(f"{package}.{module.name}")


def import_open_folder(folder: Path, shipped: Collection[str], registries: Sequence[Registry]) -> None:
    """Imports the modules of a folder that users put files into, as the package of its name.

    Files are found by looking, whatever `__init__.py` says. Names of shipped files go to files of the user's that want
    them too, with a line; a file that cannot be imported is a line on stderr, and an error for who asks for its names.

    Args:
        folder: below a folder of `sys.path`.
        shipped: modules of the folder that this project brings; one that was overwritten by another file is not ours.
        registries: where the files register themselves.

    Raises:
        DuplicateNameError: two shipped files, or two of the user's, want one name.
    """
    names = [module.name for module in pkgutil.iter_modules([str(folder)]) if not module.name.startswith("_")]
    modules = [f"{folder.name}.{name}" for name in names]
    if all(module in sys.modules or module in _left_out for module in modules):
        return
    ours = {f"{folder.name}.{name}" for name in names if name in shipped and _is_ours(_source(folder, name))}
    with Registry.giving_way(ours):
        _import_package(folder)
        for module in sorted(modules, key=lambda module: module not in ours):
            if module not in sys.modules and module not in _left_out:
                _import_or_leave_out(module, _source(folder, module.partition(".")[2]), registries)


def _source(folder: Path, name: str) -> Path:
    package = folder / name / "__init__.py"
    return package if package.is_file() else folder / f"{name}.py"


def _is_ours(path: Path) -> bool:
    return bool(_OWN_IMPORT.search(path.read_text(encoding="utf-8", errors="replace")))


def _import_package(folder: Path) -> None:
    """Imports the folder itself; where its `__init__.py` fails, the files in it are still there."""
    try:
        importlib.import_module(folder.name)
    except DuplicateNameError:
        raise
    except (Exception, SystemExit) as error:
        print(f"{folder / '__init__.py'} is left out: {_reason(error)}", file=sys.stderr)
        sys.modules[folder.name] = package = ModuleType(folder.name)
        package.__path__ = [str(folder)]


def _import_or_leave_out(module: str, path: Path, registries: Sequence[Registry]) -> None:
    states = [registry.state() for registry in registries]
    try:
        importlib.import_module(module)
    except DuplicateNameError:
        raise
    except (Exception, SystemExit) as error:
        for registry, state in zip(registries, states):
            registry.restore(state)
        line = f"{path} cannot be imported: {_reason(error)}"
        for kind, name in registered_in(path):
            for registry in registries:
                if registry.kind == kind:
                    registry.broken[name] = line
        _left_out.add(module)
        print(f"left out: {line}", file=sys.stderr)


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {one_line(error)}"


def registered_in(path: Path) -> Iterator[tuple[str, str]]:
    """Yields (kind, name) of the classes that a file would register, read from its text: ("TRAINER", "CoOp")."""
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        yield from ((found["registry"], found["name"]) for found in _REGISTERED.finditer(text))
        return
    for node in ast.walk(tree):
        for call in getattr(node, "decorator_list", ()):
            function = getattr(call, "func", call)
            if isinstance(function, ast.Attribute) and function.attr == "register":
                kind = getattr(function.value, "id", getattr(function.value, "attr", "")).removesuffix("_REGISTRY")
                yield kind, node.name
                words = [part.value for part in ast.walk(call) if isinstance(part, ast.Constant)]
                yield from ((kind, word) for word in words if isinstance(word, str))


def look_up(kind: str, name: str, known: Mapping[str, T]) -> T:
    """The entry of `known` called `name`.

    Raises:
        UserError: there is none; the line says what kind of thing was asked for and lists those that exist.
    """
    if name not in known:
        raise UserError(f"unknown {kind} {name!r}, allowed: {', '.join(known)}{suggest(name, list(known))}")
    return known[name]
