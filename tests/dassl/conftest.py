"""Fixtures for tests of dassl: a folder with the toy images."""

import pytest

from helpers import toy_world


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A folder with data/; tensorboard, which takes seconds to import, is left out."""
    from dassl.engine import TrainerBase

    monkeypatch.setattr(TrainerBase, "init_writer", lambda self, log_dir: None)
    toy_world.write_images(tmp_path / "data")
    return tmp_path
