"""Trainers on class names alone: no image is looked for, and a public trainer need not know of it."""

import pytest
import torch

from dassl.data import ClassNames
from dassl.engine import TRAINER_REGISTRY, TrainerBase, TrainerX, build_trainer
from dassl.utils.errors import UserError
from helpers import toy_world

NAMES = ["circle", "square", "star"]


@pytest.fixture
def registered(monkeypatch):
    """registered(class) puts a trainer into the registry for one test."""

    def put(cls):
        monkeypatch.setitem(TRAINER_REGISTRY._obj_map, cls.__name__, cls)
        return cls

    return put


class Public(TrainerX):
    """In the manner of public files: its own __init__ takes the configuration alone."""

    def __init__(self, cfg):
        super().__init__(cfg)
        self.built = True

    def build_data_loader(self):
        raise AssertionError("class names were given")

    def build_model(self):
        self.model = torch.nn.Linear(4, len(self.dm.dataset.classnames))
        self.register_model("model", self.model)


def test_a_public_trainer_is_built_without_images(toy, registered):
    registered(Public)
    cfg = toy_world.toy_cfg(toy, "TRAINER.NAME", "Public")
    trainer = build_trainer(cfg, data=ClassNames(NAMES, num_source_domains=2))
    assert trainer.built and trainer.lab2cname == dict(enumerate(NAMES)) and trainer.dm.dataset.classnames == NAMES
    assert (trainer.num_classes, trainer.num_source_domains) == (3, 2)
    assert trainer.train_loader_x is trainer.val_loader is trainer.test_loader is None
    assert trainer.dm.dataset.train_x == [] and tuple(trainer.dm.dataset.domains) == ()
    assert trainer.model_inference(torch.zeros(2, 4)).shape == (2, 3)
    with pytest.raises(UserError, match="TEST.SPLIT test"):
        trainer.test()


def test_a_trainer_that_takes_no_data_is_refused(toy, registered):
    registered(type("Bare", (TrainerBase,), {}))
    with pytest.raises(UserError, match="TRAINER.NAME: Bare"):
        build_trainer(toy_world.toy_cfg(toy, "TRAINER.NAME", "Bare"), data=ClassNames(NAMES))
