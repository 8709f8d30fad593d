"""ERM: whole runs with a tiny backbone, one forward pass of a real one from random weights; nothing is downloaded."""

import urllib.error

import pytest
import torchvision
from torch import nn

from dassl.modeling import BACKBONE_REGISTRY
from dassl.modeling.backbone import resnet


@pytest.fixture
def tiny(monkeypatch):
    """A registered backbone that trains in no time; -> the options that choose it."""

    class Tiny(nn.Sequential):
        out_features = 8

    def build(pretrained, **kwargs):
        assert not pretrained
        return Tiny(nn.Conv2d(3, 8, 4, stride=4), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())

    monkeypatch.setitem(BACKBONE_REGISTRY._obj_map, "tiny", build)
    return "MODEL.BACKBONE.NAME", "tiny"


def test_a_run_learns_and_evaluates_alone(run, tiny):
    record = run("ERM", *tiny, "OPTIM.MAX_EPOCH", 3)
    losses = [epoch["loss"] for epoch in record["history"]]
    assert losses[-1] < losses[0] and record["trainer"] == "ERM" and record["backbone"] == "tiny"
    again = run("Vanilla", *tiny, "OPTIM.MAX_EPOCH", 3, folder="eval", model_dir="run", config="ERM")
    assert again["metrics"] == record["metrics"]


def test_validation_follows_eval_freq(run, tiny):
    record = run("ERM", *tiny, "OPTIM.MAX_EPOCH", 3, "TEST.EVAL_FREQ", 2)
    assert ["val_accuracy" in epoch for epoch in record["history"]] == [False, True, True]


def test_a_resnet_s_images_stand_alone(build, assert_images_stand_alone):
    trainer = build("ERM")
    assert isinstance(trainer.model.backbone, resnet.ResNet) and trainer.model.fdim == 512
    trainer.set_model_mode("eval")
    assert_images_stand_alone(trainer, 48)


def test_clip_names_are_refused(refused):
    line = refused("ERM", "MODEL.BACKBONE.NAME", "ViT-B/16")
    assert "MODEL.BACKBONE.NAME" in line and "'ViT-B/16'" in line and "resnet50" in line


def test_weights_out_of_reach_are_one_line(refused, monkeypatch):
    def offline(*args, **kwargs):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(torchvision.models, "get_model", offline)
    line = refused("ERM", "MODEL.BACKBONE.PRETRAINED", True)
    assert "resnet18" in line and "MODEL.BACKBONE.PRETRAINED" in line
