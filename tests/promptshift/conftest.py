"""Fixtures of commands and runs: small rendered worlds, and train.py inside the test process."""

import json
import os

import pytest

from helpers.mini_runs import arguments, small_mini_world
from promptshift.mini import render_world
from promptshift.mini.worlds import MINI_DG2, MINI_DG3
from promptshift.runs.run import main


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


@pytest.fixture
def train(mini_root, tmp_path):
    """train(trainer, *options, folder="run", root) -> result.json of a run that must succeed."""

    def run(trainer, *options, folder="run", root=mini_root, **kwargs):
        assert main(arguments(root, tmp_path / folder, trainer, *options, **kwargs)) == 0
        return json.loads((tmp_path / folder / "result.json").read_text())

    return run


@pytest.fixture(scope="session")
def small_world(tmp_path_factory):
    """A data root with 2 images per class and domain: 40 images a domain."""
    return small_mini_world(tmp_path_factory.mktemp("small"), per_class=2)


@pytest.fixture(scope="session")
def stage_outputs(tmp_path_factory):
    """One output root for all, so that a stage is trained once."""
    return tmp_path_factory.mktemp("output")


@pytest.fixture
def adapting(small_world, stage_outputs, tmp_path, monkeypatch):
    """adapting(trainer, *options, folder, root, flags) -> arguments of train.py: few views, stages of one epoch."""
    monkeypatch.setenv("OUTPUT", str(stage_outputs))

    def make(trainer, *options, folder="run", root=small_world, flags=()):
        few = {"VIEWS": 8, "TPT_THRESHOLD": 0.25, "START.MAX_EPOCH": 1}
        words = [word for key, value in few.items() for word in (f"TRAINER.{trainer.upper()}.{key}", value)]
        argv = arguments(root, tmp_path / folder, trainer, *words, "TEST.TTA_BATCH", 16, *options)
        return [*flags, *argv]

    return make


@pytest.fixture
def adapted(adapting, tmp_path):
    """adapted(trainer, *options, folder="run", ...) -> result.json of a run that must succeed."""

    def test(*args, folder="run", **kwargs):
        assert main(adapting(*args, folder=folder, **kwargs)) == 0
        return json.loads((tmp_path / folder / "result.json").read_text())

    return test


@pytest.fixture
def not_adapted(adapting, capsys):
    """not_adapted(trainer, *options, ...) -> the error line of a run that must be refused."""

    def test(*args, **kwargs):
        assert main(adapting(*args, **kwargs)) == 2
        line = capsys.readouterr().err.strip().splitlines()[-1]
        assert line.startswith("error: "), line
        return line

    return test
