"""What is found by looking: modules of a folder that register themselves, and things asked for by name."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import pkgutil
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from dassl.utils.errors import UserError, shorten, suggest
from dassl.utils.registry import DuplicateNameError, Registry

T = TypeVar("T")
# what every file of this project imports, and no public one
_OWN_IMPORT = re.compile(
    r"^\s*(?:from|import) (?:promptshift|dassl\.utils\.errors|datasets\._|trainers\.)", re.MULTILINE
)
_REGISTERED = re.compile(r"@\s*(?P<registry>\w+)_REGISTRY\.register.*?^class\s+(?P<name>\w+)", re.DOTALL | re.MULTILINE)
_left_out: set[str] = set()  # modules that could not be imported; each is said once

# Packages that register nothing here, by the name they are imported as: the standard library, ours, and setup.py's.
_SILENT = sys.stdlib_module_names | set(
    "promptshift dassl datasets clip torch torchvision open_clip yacs gdown tabulate tqdm sklearn scipy matplotlib "
    "tensorboard numpy PIL yaml safetensors filelock".split()
)


def import_modules(package: str) -> None:
    """Import every module of a package whose name does not start with "_", which registers what they define."""
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        if not module.name.startswith("_"):
            importlib.import_module(f"{package}.{module.name}")


def import_open_folder(folder: Path, registries: Sequence[Registry]) -> None:
    """Imports the modules of a folder that users put files into, as the package of its name.

    Files are found by looking, whatever `__init__.py` says. A file is ours that imports what no public file imports.
    Names of our files go to files of the user's that want them too, with a line; a file that cannot be imported is a
    line on stderr, and an error for who asks for its names.

    Args:
        folder: below a folder of `sys.path`.
        registries: where the files register themselves.

    Raises:
        DuplicateNameError: two of our files, or two of the user's, want one name.
    """
    names = [module.name for module in pkgutil.iter_modules([str(folder)]) if not module.name.startswith("_")]
    modules = [f"{folder.name}.{name}" for name in names]
    if all(module in sys.modules or module in _left_out for module in modules):
        return
    ours = {f"{folder.name}.{name}" for name in names if _is_ours(_source(folder, name))}
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
    """Import the folder itself; where its `__init__.py` fails, the files in it are still there."""
    try:
        found = list(importlib.import_module(folder.name).__path__)
        if [Path(place).resolve() for place in found] != [folder.resolve()]:
            raise UserError(f"the package {folder.name!r} of {found[0]} was imported before the one of {folder.parent}")
    except UserError:
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
    return f"{type(error).__name__}: {shorten(error)}"


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
    """Return the entry of `known` called `name`.

    Raises:
        UserError: there is none; the line says what kind of thing was asked for and lists those that exist.
    """
    if name not in known:
        raise UserError(f"unknown {kind} {name!r}, allowed: {', '.join(known)}{suggest(name, list(known))}")
    return known[name]


@dataclasses.dataclass(frozen=True)
class Declared:
    """A registered class as its source declares it: its name, its aliases, the first line of its docstring."""

    name: str
    aliases: tuple[str, ...]
    about: str


class _OnlyImportingTells(Exception):
    """A module registers something in a way that its source does not spell out."""


def declared(package: Path, registry: str) -> list[Declared] | None:
    """Return what `import_modules` of a package would register, read from the source, without importing anything.

    What stands as `@REGISTRY.register(...)` above a class with aliases written out is read, in the modules and in the
    modules of the package that they import. A registry used in any other way, or an import of a package that might
    register something itself, cannot be read.

    Args:
        package: folder of the package.
        registry: name of the registry object, such as TRAINER_REGISTRY.

    Returns:
        The classes in the order of their modules; None where only importing the modules would tell.
    """
    waiting = sorted(path for path in package.iterdir() if _is_plugin(path))
    files = [path / "__init__.py" if path.is_dir() else path for path in waiting]
    found: list[Declared] = []
    try:
        for path in files:  # grows while it is gone through
            tree = ast.parse(path.read_text(encoding="utf-8"))
            found += _classes(tree, registry)
            for other in _imported(tree, path, package, registry):
                if other not in files:
                    files.append(other)
    except (_OnlyImportingTells, SyntaxError):
        return None
    return found


def _is_plugin(path: Path) -> bool:
    is_module = path.suffix == ".py" or (path / "__init__.py").is_file()
    return is_module and not path.name.startswith("_")


def _classes(tree: ast.Module, registry: str) -> Iterator[Declared]:
    """Yield the classes of a module that register themselves under a decorator that spells everything out."""
    understood = set()
    constants = {node.targets[0].id: node.value for node in tree.body if _is_constant(node)}
    for node in tree.body:
        for decorator in getattr(node, "decorator_list", []):
            match decorator:
                case ast.Call(func=ast.Attribute(value=owner, attr="register"), args=[]) if _is(owner, registry):
                    understood.add(owner)
                    aliases = {word.arg: word.value for word in decorator.keywords}.get("aliases", ast.Tuple([]))
                    about = (ast.get_docstring(node) or "").partition("\n")[0]
                    yield Declared(node.name, _written_out(aliases, constants), about)
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=owner, attr="get" | "registered_names") if _is(owner, registry):
                understood.add(owner)  # only asked
    if any(_is(node, registry) and node not in understood for node in ast.walk(tree)):
        raise _OnlyImportingTells


def _is(node: ast.AST, registry: str) -> bool:
    """Whether an expression is the registry, by its own name or as an attribute of a module."""
    return registry in (getattr(node, "id", ""), getattr(node, "attr", ""))


def _is_constant(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)


def _written_out(aliases: ast.expr, constants: Mapping[str, ast.expr]) -> tuple[str, ...]:
    """Return aliases that stand in the source: as a tuple or list, or as a constant of the module."""
    match aliases:
        case ast.Call(func=ast.Name(id="tuple" | "list"), args=[inner], keywords=[]):
            return _written_out(inner, constants)
        case ast.Name(id=name) if name in constants:
            return _written_out(constants[name], {})
    try:
        return tuple(ast.literal_eval(aliases))
    except (ValueError, TypeError):
        raise _OnlyImportingTells from None


def _imported(tree: ast.Module, path: Path, package: Path, registry: str) -> Iterator[Path]:
    """Yield the files of the package that a module imports when it is itself imported."""
    for node in _run_at_import(tree):
        match node:
            case ast.Import(names=names):
                modules = [(name.name, True) for name in names]
            case ast.ImportFrom(module=module, names=names, level=level):
                if any(name.name == registry and name.asname for name in names):
                    raise _OnlyImportingTells
                base = ".".join(filter(None, (_anchor(path, package, level), module)))
                modules = [(base, True), *((f"{base}.{name.name}", False) for name in names)]
            case _:
                continue
        for name, must_exist in modules:
            root, *parts = name.split(".")
            if root == package.name:
                yield from _files(package, parts)
            elif must_exist and root not in _SILENT:
                raise _OnlyImportingTells


def _anchor(path: Path, package: Path, level: int) -> str:
    """Return the dotted name that a relative import of a file starts from, "" for an absolute one."""
    if not level:
        return ""
    return ".".join((package.name, *path.parents[level - 1].relative_to(package).parts))


def _files(package: Path, parts: list[str]) -> Iterator[Path]:
    """Yield the files that importing a dotted name below a package runs; none for a name that is no module."""
    for depth in range(1, len(parts) + 1):
        place = package.joinpath(*parts[:depth])
        for file in (place / "__init__.py", place.with_suffix(".py")):
            if file.is_file():
                yield file


def _run_at_import(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a module but for those within functions."""
    for node in ast.iter_child_nodes(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield node
            yield from _run_at_import(node)
