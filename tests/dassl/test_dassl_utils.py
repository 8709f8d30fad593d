"""Registry, meters, files, logging, seeds, parameters."""

import random
import re
import sys

import numpy as np
import pytest
import torch
from torch import nn

from dassl import utils
from dassl.utils import AverageMeter, MetricMeter, Registry, atomic_path
from dassl.utils.errors import UserError, suggest


def test_registry_finds_by_name_and_alias_and_suggests():
    registry = Registry("THING")

    @registry.register(aliases=("Old", "Older"))
    class New:
        pass

    assert registry.get("New") is registry.get("Old") is registry.get("Older") is New
    assert registry.registered_names() == ["New", "Old", "Older"]
    with pytest.raises(UserError, match=r"unknown THING 'olde'; did you mean 'Older?'\? .known: New, Old, Older"):
        registry.get("olde")


def test_registry_refuses_a_second_object_of_the_same_name():
    registry = Registry("THING")
    registry.register(Registry)
    registry.register(Registry)  # the same one again
    with pytest.raises(KeyError, match="'Registry' is already registered in 'THING'"):

        @registry.register(aliases=("Registry",))
        class Impostor:
            pass

    class Replacement:
        pass

    registry.register(Replacement, aliases=("Registry",), force=True)
    assert registry.get("Registry") is Replacement


def test_suggestions_are_near_or_absent():
    assert suggest("coop", ["CoOp", "CoCoOp"]) == "; did you mean 'CoOp'?"
    assert suggest("xyz", ["CoOp"]) == ""
    assert utils.get_most_similar_str_to_a_from_b("sgdd", ["adam", "sgd"]) == "sgd"
    assert utils.get_most_similar_str_to_a_from_b("xyz", ["sgd"]) is None
    utils.check_availability("a", ["a"])
    with pytest.raises(UserError, match="'aa' is not available"):
        utils.check_availability("aa", ["ab", "c"])


def test_meters_average_and_print():
    meter = MetricMeter()
    meter.update({"loss": torch.tensor(1.0), "acc": 50.0})
    meter.update({"loss": 2.0, "acc": 100.0})
    meter.update(None)
    assert str(meter) == "loss 2.0000 (1.5000) acc 100.0000 (75.0000)"
    with pytest.raises(TypeError):
        meter.update([1.0])
    weighted, smooth = AverageMeter(), AverageMeter(ema=True)
    weighted.update(1.0, n=3)
    weighted.update(5.0)
    smooth.update(1.0)
    smooth.update(1.0)
    assert (weighted.avg, smooth.avg) == (2.0, pytest.approx(0.19))


def test_atomic_path_replaces_at_the_end_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with atomic_path(path) as temporary:
        temporary.write_text("one")
        assert not path.exists() and temporary.parent.parent == path.parent and temporary.suffix == ".txt"
    with pytest.raises(RuntimeError), atomic_path(str(path)) as temporary:
        temporary.write_text("two")
        raise RuntimeError
    assert path.read_text() == "one" and [p.name for p in path.parent.iterdir()] == ["a.txt"]


def test_json_round_trip_and_errors(tmp_path):
    utils.write_json({"a": [1, 2.5, "é"]}, tmp_path / "x" / "a.json")
    assert utils.read_json(tmp_path / "x" / "a.json") == {"a": [1, 2.5, "é"]}
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(UserError, match="not valid JSON: .*bad.json"):
        utils.read_json(tmp_path / "bad.json")
    with pytest.raises(UserError, match="no such JSON file: .*none.json"):
        utils.read_json(tmp_path / "none.json")


def test_small_file_helpers(tmp_path):
    utils.mkdir_if_missing(tmp_path / "d" / "e")
    utils.mkdir_if_missing(tmp_path / "d" / "e")
    for name in ("b", "a", ".hidden"):
        (tmp_path / "d" / name).touch()
    assert utils.listdir_nohidden(tmp_path / "d", sort=True) == ["a", "b", "e"]
    assert utils.check_isfile(tmp_path / "d" / "a")
    with pytest.warns(UserWarning, match="No file found"):
        assert not utils.check_isfile(tmp_path / "none")
    assert utils.tolist_if_not(1) == [1] and utils.tolist_if_not([1]) == [1]
    with pytest.raises(UserError, match="no such image: .*none.png"):
        utils.read_image(tmp_path / "none.png")


def test_the_log_is_a_copy_and_a_rerun_gets_its_own(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    utils.setup_logger(str(tmp_path / "out"))
    print("first")
    assert (tmp_path / "out" / "log.txt").read_text() == "first\n"  # at once, not at the end
    utils.setup_logger(str(tmp_path / "out"))
    print("second")
    other = [p for p in (tmp_path / "out").iterdir() if p.name != "log.txt"]
    assert len(other) == 1 and re.fullmatch(r"log\.txt(-\d+){6}", other[0].name)
    assert other[0].read_text() == "second\n" and (tmp_path / "out" / "log.txt").read_text() == "first\n"
    utils.setup_logger(str(tmp_path / "named.log"))
    print("third")
    utils.setup_logger(None)
    print("fourth")
    assert (tmp_path / "named.log").read_text() == "third\nfourth\n"
    sys.stdout.close()
    assert capsys.readouterr().out == "first\nsecond\nthird\nfourth\n"


def test_every_generator_is_seeded_also_by_0():
    def draw(seed):
        utils.set_random_seed(seed)
        return random.random(), np.random.rand(), torch.rand(1).item()

    assert draw(0) == draw(0) != draw(1)


def test_the_deterministic_choice_rules_the_benchmark():
    before = torch.are_deterministic_algorithms_enabled()
    try:
        utils.set_deterministic(True)
        assert torch.backends.cudnn.deterministic and not torch.backends.cudnn.benchmark
        assert torch.are_deterministic_algorithms_enabled()
        utils.set_deterministic(False)
        assert torch.backends.cudnn.benchmark and not torch.are_deterministic_algorithms_enabled()
    finally:
        utils.set_deterministic(before)


def test_environment_names_the_versions():
    text = utils.collect_env_info()
    assert torch.__version__ in text and sys.version.split()[0] in text and "GPU" in text


def test_layers_are_opened_and_closed():
    model = nn.Sequential()
    model.add_module("trunk", nn.Linear(2, 3))
    model.add_module("head", nn.Linear(3, 1))
    utils.open_specified_layers(model, "head")
    assert not model.trunk.weight.requires_grad and model.head.weight.requires_grad
    assert (model.trunk.training, model.head.training) == (False, True)
    utils.open_all_layers(model)
    assert model.trunk.weight.requires_grad and model.trunk.training
    with pytest.raises(UserError, match="'tail' is no layer of Sequential .layers: trunk, head"):
        utils.open_specified_layers(model, ["tail"])


def test_parameters_are_counted_and_initialised():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(4, 2, bias=False))
    assert utils.count_num_param(model) == 18 + 2 + 4 + 8
    assert utils.count_num_param(params=model[2].parameters()) == 8
    assert utils.count_num_param(params=[{"params": list(model[1].parameters())}]) == 4
    for kind in ("normal", "xavier", "kaiming", "orthogonal"):
        nn.init.constant_(model[2].weight, 7.0)
        nn.init.constant_(model[0].bias, 7.0)
        utils.init_network_weights(model, kind)
        assert model[2].weight.std() > 0 and model[0].bias.abs().max() == 0 and model[1].weight.min() == 1
    with pytest.raises(UserError, match="init_type 'zeros' is not one of normal"):
        utils.init_network_weights(model, "zeros")
