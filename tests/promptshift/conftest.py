"""Fixtures of the command-line tools."""
import os

import pytest

from promptshift.mini import render_world
from promptshift.mini.worlds import MINI_DG2, MINI_DG3


@pytest.fixture
def checkout_and_output(monkeypatch, tmp_path, request):
    """The root of the checkout is the current folder, and OUTPUT a folder of the test's own."""
    monkeypatch.chdir(request.config.rootpath)
    monkeypatch.setenv("OUTPUT", str(tmp_path / "output"))


@pytest.fixture(scope="session")
def worlds_root(mini_root, tmp_path_factory):
    """A data root with all three mini sets, 12 and 4 images per class and domain."""
    root = tmp_path_factory.mktemp("worlds")
    os.symlink(mini_root / "mini_dg", root / "mini_dg")
    for world in (MINI_DG2, MINI_DG3):
        render_world(world, root / world.name, per_class=4, workers=1)
    return root
