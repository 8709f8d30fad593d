"""Files that users put beside ours: which one has a name, and what becomes of one that does not import."""

import sys

import pytest

from dassl.utils.errors import UserError
from dassl.utils.registry import DuplicateNameError, Registry
from promptshift.discovery import import_open_folder, registered_in

OURS = """from dassl.utils.errors import UserError
from things import THING_REGISTRY

@THING_REGISTRY.register(aliases=("Alias",))
class Ours: pass
"""
THEIRS = """from things import THING_REGISTRY

@THING_REGISTRY.register()
class {name}: pass
"""


@pytest.fixture
def things(tmp_path, monkeypatch):
    """things(files) -> registry after importing a folder `open_folder` with the files (name -> text)."""
    registry = Registry("THING")
    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("promptshift.discovery._left_out", set())
    (tmp_path / "things.py").write_text("THING_REGISTRY = None\n")
    import things

    things.THING_REGISTRY = registry

    def load(files):
        folder = tmp_path / "open_folder"
        folder.mkdir(exist_ok=True)
        for name, text in ({"__init__": ""} | files).items():
            (folder / f"{name}.py").write_text(text)
        import_open_folder(folder, [registry])
        return registry

    yield load
    for name in set(sys.modules) - before:
        if name == "things" or name.startswith("open_folder"):
            del sys.modules[name]


@pytest.mark.parametrize("file", ["a_file", "z_file"])
@pytest.mark.parametrize("name", ["Ours", "Alias"])
def test_a_file_of_the_users_has_its_names_whatever_it_is_called(things, file, name, capsys):
    registry = things({"ours": OURS, file: THEIRS.format(name=name)})
    assert registry.get(name).__module__ == f"open_folder.{file}"
    other = {"Ours": "Alias", "Alias": "Ours"}[name]
    assert registry.get(other).__module__ == "open_folder.ours"
    (line,) = capsys.readouterr().err.splitlines()
    assert f"'{name}'" in line and f"open_folder.{file}" in line and "open_folder.ours" in line
    things({})
    assert capsys.readouterr().err == ""  # said once


def test_a_package_file_that_imports_the_users_first_changes_nothing(things):
    files = {"__init__": "from .mine import Ours\n", "ours": OURS, "mine": THEIRS.format(name="Ours")}
    assert things(files).get("Ours").__module__ == "open_folder.mine"


@pytest.mark.parametrize("shipped", [True, False])
def test_two_files_of_one_origin_clash(things, shipped):
    second = OURS if shipped else THEIRS.format(name="Ours")
    first = OURS if shipped else THEIRS.format(name="Ours")
    with pytest.raises(DuplicateNameError, match="'Ours' is already registered in 'THING' by open_folder.ours"):
        things({"ours": first, "z": second})


def test_an_overwritten_file_of_ours_is_the_users(things):
    files = {"ours": OURS, "second": THEIRS.format(name="Ours")}
    assert things(files).get("Ours").__module__ == "open_folder.second"


@pytest.mark.parametrize(
    "trouble", ["import no_such_package\n", "raise RuntimeError('two\\nlines')\n", "def (:\n", "raise SystemExit(3)\n"]
)
def test_a_broken_file_is_one_line_and_fatal_for_its_own_names_only(things, trouble, capsys):
    broken = THEIRS.format(name="Broken") + trouble + THEIRS.format(name="Alias")
    registry = things({"ours": OURS, "broken": broken})
    shown = capsys.readouterr().err.splitlines()
    assert [line for line in shown if "broken.py" in line] == shown[-1:]
    assert registry.get("Ours").__module__ == "open_folder.ours"
    for name in ("Broken", "Alias"):  # not ours in silence: the file would have had the name
        with pytest.raises(UserError, match=f"THING '{name}': .*broken.py cannot be imported: \\w+") as error:
            registry.get(name)
        assert "\n" not in str(error.value)
    assert registry.registered_names() == ["Ours"]
    things({})
    assert capsys.readouterr().err == ""  # said once


def test_a_package_file_that_fails_leaves_the_files_in_place(things, capsys):
    registry = things({"__init__": "import no_such_package\n", "ours": OURS})
    assert registry.get("Alias").__name__ == "Ours"
    assert "__init__.py is left out: ModuleNotFoundError" in capsys.readouterr().err


def test_names_are_read_from_a_file_s_text(tmp_path):
    (tmp_path / "file.py").write_text(OURS)
    assert list(registered_in(tmp_path / "file.py")) == [("THING", "Ours"), ("THING", "Alias")]
