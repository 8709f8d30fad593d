"""Registered classes read from their source: the same as importing them, or a plain "cannot be read"."""

import textwrap

import pytest

from dassl.engine import TRAINER_REGISTRY
from promptshift.discovery import declared
from promptshift.paths import checkout, load_plugins

PLAIN = """\
    from dassl.engine import TRAINER_REGISTRY

    @TRAINER_REGISTRY.register()
    class Plain:
        '''One line.

        More.
        '''
"""


@pytest.fixture
def package(tmp_path):
    """package(name=source, ...) -> the folder of a package of these modules; "__" in a name is a folder."""

    def make(**modules):
        for name, source in modules.items():
            path = tmp_path.joinpath("ours", *name.split("__")).with_suffix(".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            (path.parent / "__init__.py").touch()
            path.write_text(textwrap.dedent(source))
        return tmp_path / "ours"

    return make


def test_the_project_s_trainers_are_read_as_importing_finds_them():
    found = declared(checkout() / "trainers", "TRAINER_REGISTRY")
    read = {name: (one.name, one.about) for one in found for name in (one.name, *one.aliases)}
    load_plugins()
    registered = {name: TRAINER_REGISTRY.get(name) for name in TRAINER_REGISTRY.registered_names()}
    ours = {name: cls for name, cls in registered.items() if cls.__module__.startswith("trainers.")}
    assert read == {name: (cls.__name__, (cls.__doc__ or "").partition("\n")[0]) for name, cls in ours.items()}


def test_aliases_and_docstrings_are_read(package):
    aliased = PLAIN.replace("register()", "register(aliases=('Other', 'Third'))").replace("Plain", "Aliased")
    constant = PLAIN.replace("register()", "register(aliases=tuple(NAMES))").replace("Plain", "Constant")
    folder = package(a=PLAIN, b=aliased, c=constant.replace("@", "NAMES = {'New': 1}\n\n    @"), _hidden=PLAIN)
    assert [(one.name, one.aliases, one.about) for one in declared(folder, "TRAINER_REGISTRY")] == [
        ("Plain", (), "One line."),
        ("Aliased", ("Other", "Third"), "One line."),
        ("Constant", ("New",), "One line."),
    ]


@pytest.mark.parametrize(
    "statement", ["from .folder.inner import Plain", "from ours.folder.inner import Plain", "import ours.folder.inner"]
)
def test_modules_of_the_package_are_read_where_they_are_imported(package, statement):
    folder = package(folder__inner=PLAIN, other="x = 1", top=statement)
    assert [one.name for one in declared(folder, "TRAINER_REGISTRY")] == ["Plain"]
    (folder / "top.py").write_text("def later():\n    import ours.folder.inner")
    assert declared(folder, "TRAINER_REGISTRY") == []


@pytest.mark.parametrize(
    "source",
    [
        "from dassl.engine import TRAINER_REGISTRY\nTRAINER_REGISTRY.register(int)",
        "from dassl.engine import TRAINER_REGISTRY as R\n@R.register()\nclass A: ...",
        "from dassl.engine import TRAINER_REGISTRY\n@TRAINER_REGISTRY.register(aliases=names())\nclass A: ...",
        "import dassl.engine as e\nfor c in (int, float):\n    e.TRAINER_REGISTRY.register(c)",
        "from a_library_with_trainers import SomeTrainer",
        "def broken(:",
    ],
)
def test_what_only_importing_would_tell_is_not_guessed(package, source):
    assert declared(package(a=PLAIN, b=source), "TRAINER_REGISTRY") is None
