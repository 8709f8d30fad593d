"""A small rendered world and a way to run train.py inside the test process."""
import json

import pytest
from mini_runs import arguments

from promptshift.engine.run import main


@pytest.fixture(autouse=True)
def checkout_and_output(monkeypatch, tmp_path, request):
    monkeypatch.chdir(request.config.rootpath)
    monkeypatch.setenv("OUTPUT", str(tmp_path / "output"))


@pytest.fixture
def train(mini_root, tmp_path):
    """train(trainer, *options, folder="run") -> result.json of a run that must succeed."""
    def run(trainer, *options, folder="run", **kwargs):
        assert main(arguments(mini_root, tmp_path / folder, trainer, *options, **kwargs)) == 0
        return json.loads((tmp_path / folder / "result.json").read_text())
    return run
