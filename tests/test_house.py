"""The plan of the house: imports point down, files and folders stay small."""

import ast
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
# From the street door down; a room imports those that stand after it, and itself.
ROOMS = (
    "promptshift/cli", "promptshift/api", "promptshift/report", "promptshift/studies", "promptshift/protocols",
    "promptshift/launch",
    "trainers", "promptshift/adapting", "promptshift/bases", "promptshift/runs", "promptshift/results", "datasets",
    "clip", "promptshift/mini", "promptshift/modeling", "promptshift/paths", "promptshift/discovery",
    "promptshift/randomness", "promptshift/losses", "dassl",
)  # fmt: skip
# Doors: they lead to rooms above on purpose and hold nothing else.
DOORS = {
    "promptshift/__init__.py", "promptshift/__main__.py", "promptshift/data.py", "promptshift/list.py",
    "promptshift/predict.py", "promptshift/prototypes.py", "promptshift/protocols/__main__.py",
    "promptshift/report/__main__.py", "promptshift/figures/__main__.py", "promptshift/figures/__init__.py",
}  # fmt: skip
PACKAGES = ("promptshift", "trainers", "datasets", "dassl", "clip", "benchmarks")
FILES = sorted(path for name in PACKAGES for path in (CHECKOUT / name).rglob("*.py"))
NAMES = [str(path.relative_to(CHECKOUT)) for path in FILES]
MOST_LINES, MOST_MODULES = 300, 15


def room_of(place: str) -> str | None:
    """The room that a path or dotted name with slashes lies in; None for a stranger."""
    return next((room for room in ROOMS if f"{place}/".startswith((f"{room}/", f"{room}.py/"))), None)


def imported(path: Path) -> list[tuple[int, str]]:
    """Line number and dotted name of everything that a file imports, relative imports resolved."""
    found = []
    package = list(path.relative_to(CHECKOUT).parent.parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found += [(node.lineno, f"{module}.{alias.name}") for alias in node.names]
    return found


@pytest.mark.parametrize("name", [name for name in NAMES if name not in DOORS and not name.startswith("benchmarks/")])
def test_imports_point_down(name):
    room = room_of(name)
    assert room is not None, f"{name} lies in no room; add its place to ROOMS"
    upward = [
        f"{name}:{line} imports {target}"
        for line, target in imported(CHECKOUT / name)
        if (other := room_of(target.replace(".", "/"))) and ROOMS.index(other) < ROOMS.index(room)
    ]
    assert not upward, upward


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith(("trainers/", "datasets/"))])
def test_trainers_and_datasets_never_import_each_other(name):
    other = "datasets" if name.startswith("trainers/") else "trainers"
    assert not [f"{name}:{line}" for line, target in imported(CHECKOUT / name) if target.split(".")[0] == other]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_stays_readable(name):
    assert len((CHECKOUT / name).read_text().splitlines()) <= MOST_LINES, f"{name} wants to be two rooms"


@pytest.mark.parametrize("folder", sorted({str(Path(name).parent) for name in NAMES} - {"trainers"}))
def test_a_folder_holds_a_handful_of_modules(folder):
    modules = [path for path in (CHECKOUT / folder).glob("*.py") if not path.name.startswith("__")]
    assert len(modules) <= MOST_MODULES, f"{folder} holds {len(modules)} modules"


def test_the_old_corridor_is_gone():
    assert not (CHECKOUT / "promptshift" / "engine").exists()
