"""Optimizers and schedules, against the reference numbers."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from dassl.config import get_cfg_default, merge_opts
from dassl.optim import (
    ConstantWarmupScheduler,
    LinearWarmupScheduler,
    build_lr_scheduler,
    build_optimizer,
    learning_rate,
)
from dassl.optim.lr_scheduler import EpochScheduler
from dassl.utils.errors import UserError

GOLDENS = Path(__file__).parents[1] / "goldens"


def optim_cfg(**values):
    cfg = get_cfg_default()
    merge_opts(cfg, [x for key, value in values.items() for x in (f"OPTIM.{key}", value)])
    return cfg.OPTIM


def sgd(lr=0.1):
    return torch.optim.SGD([nn.Parameter(torch.zeros(2))], lr=lr)


def cases():
    for case in json.loads((GOLDENS / "lr_schedules.json").read_text()):
        case = dict(case)
        yield case.pop("lr_used_in_each_epoch"), case, 1e-12
    for case in json.loads((GOLDENS / "lr_schedule_dassl.json").read_text())["cases"].values():
        yield case["lr"], {"LR_SCHEDULER": "cosine", **case["config"]}, 1e-10


@pytest.mark.parametrize("expected, values, rel", list(cases()))
def test_rates_equal_the_reference(expected, values, rel):
    cfg = optim_cfg(**values)
    optimizer = sgd(cfg.LR)
    scheduler = build_lr_scheduler(optimizer, cfg)
    used = []
    for _ in expected:
        used.append(optimizer.param_groups[0]["lr"])
        assert scheduler.get_last_lr() == used[-1:]
        optimizer.step()
        scheduler.step()
    assert used == pytest.approx(expected, rel=rel)
    assert [learning_rate(cfg, epoch) for epoch in range(len(expected))] == used


def test_a_resumed_schedule_keeps_its_epoch_and_follows_the_current_configuration():
    old = sgd(1.0)
    scheduler = build_lr_scheduler(old, optim_cfg(LR=1.0, LR_SCHEDULER="cosine", MAX_EPOCH=10))
    for _ in range(4):
        old.step()
        scheduler.step()
    saved = json.loads(json.dumps(scheduler.state_dict()))  # plain numbers only
    longer = optim_cfg(LR=1.0, LR_SCHEDULER="cosine", MAX_EPOCH=20)
    new = sgd(1.0)
    resumed = build_lr_scheduler(new, longer)
    new.load_state_dict(old.state_dict())
    resumed.load_state_dict(saved)
    assert new.param_groups[0]["lr"] == learning_rate(longer, 4)
    new.step()
    resumed.step()
    assert new.param_groups[0]["lr"] == learning_rate(longer, 5)


@pytest.mark.parametrize(
    "step, expected",
    [
        ((1,), [8.0, 4.0, 2.0, 1.0]),
        ((3,), [8.0, 8.0, 8.0, 4.0]),
        ((5, 2), [8.0, 8.0, 4.0, 4.0]),  # the last of several
        ((0,), [8.0, 8.0, 8.0, 8.0, 4.0]),  # MAX_EPOCH
        ((-1,), [8.0, 8.0, 8.0, 8.0, 4.0]),
    ],
)
def test_a_single_step_is_every_so_many_epochs(step, expected):
    cfg = optim_cfg(LR=8.0, LR_SCHEDULER="single_step", STEPSIZE=step, GAMMA=0.5, MAX_EPOCH=4)
    assert [learning_rate(cfg, epoch) for epoch in range(len(expected))] == expected


def test_each_group_keeps_its_own_base_rate():
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (1.0, 0.1)]
    optimizer = torch.optim.SGD(groups)
    scheduler = build_lr_scheduler(optimizer, optim_cfg(LR_SCHEDULER="multi_step", STEPSIZE=(1,), GAMMA=0.5))
    optimizer.step()
    scheduler.step()
    assert scheduler.get_last_lr() == [0.5, 0.05]


@pytest.mark.parametrize("cls, first", [(ConstantWarmupScheduler, [0.01, 0.01]), (LinearWarmupScheduler, [0.01, 0.5])])
def test_warmup_classes_wrap_another_schedule(cls, first):
    optimizer = sgd(1.0)
    scheduler = cls(optimizer, EpochScheduler(optimizer, lambda epoch, base: base / (1 + epoch)), 2, 0.01)
    used = []
    for _ in range(4):
        used += scheduler.get_last_lr()
        optimizer.step()
        scheduler.step()
    assert used == [*first, 1.0, 0.5]


@pytest.mark.parametrize(
    "values, words",
    [
        (dict(LR_SCHEDULER="cosin"), "LR_SCHEDULER 'cosin'.*did you mean 'cosine'"),
        (dict(WARMUP_EPOCH=1, WARMUP_TYPE="cubic"), "WARMUP_TYPE 'cubic'.*constant, linear"),
        (dict(MAX_EPOCH=0), "MAX_EPOCH must be at least 1, not 0"),
    ],
)
def test_a_bad_schedule_is_named(values, words):
    with pytest.raises(UserError, match=words):
        build_lr_scheduler(sgd(), optim_cfg(**values))


@pytest.mark.parametrize(
    "name, cls",
    [
        ("adam", "Adam"),
        ("amsgrad", "Adam"),
        ("sgd", "SGD"),
        ("rmsprop", "RMSprop"),
        ("radam", "RAdam"),
        ("adamw", "AdamW"),
    ],
)
def test_every_optimizer_trains(name, cls):
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    optimizer = build_optimizer(model, optim_cfg(NAME=name, LR=0.01, WEIGHT_DECAY=0.02))
    assert type(optimizer).__name__ == cls and optimizer.param_groups[0]["weight_decay"] == 0.02
    before = model.weight.detach().clone()
    model(torch.ones(4, 3)).sum().backward()
    optimizer.step()
    assert not torch.equal(before, model.weight)


def test_sgd_has_upstreams_momentum():
    group = build_optimizer(nn.Linear(1, 1), optim_cfg(NAME="sgd")).param_groups[0]
    assert (group["momentum"], group["dampening"], group["nesterov"]) == (0.9, 0, False)


def test_staged_rates_slow_down_the_base_layers():
    model = nn.Sequential()
    model.add_module("trunk", nn.Linear(2, 2))
    model.add_module("head", nn.Linear(2, 3))
    optimizer = build_optimizer(model, optim_cfg(STAGED_LR=True, NEW_LAYERS=("head",), LR=1.0, BASE_LR_MULT=0.1))
    rates = {g["params"][0].shape[0]: g["lr"] for g in optimizer.param_groups}
    assert rates == {2: 0.1, 3: 1.0}
    with pytest.raises(UserError, match="NEW_LAYERS: 'tail'"):
        build_optimizer(model, optim_cfg(STAGED_LR=True, NEW_LAYERS=("tail",)))


def test_unknown_and_empty_optimizers_are_errors():
    with pytest.raises(UserError, match="OPTIM.NAME 'sgdd'.*did you mean 'sgd'"):
        build_optimizer(nn.Linear(1, 1), optim_cfg(NAME="sgdd"))
    with pytest.raises(UserError, match="no parameters"):
        build_optimizer(nn.ReLU(), optim_cfg())


@pytest.mark.parametrize(
    "values, words",
    [
        (dict(LR=-0.1), "OPTIM.LR: -0.1 .*allowed: 0 to 3.4e"),
        (dict(LR=1e39), "OPTIM.LR: 1e\\+39"),
        (dict(LR=float("nan")), "OPTIM.LR: nan"),
        (dict(MOMENTUM=-1.0), "'sgd': Invalid momentum value: -1.0"),
    ],
)
def test_values_that_no_optimizer_takes_are_named(values, words):
    with pytest.raises(UserError, match=words):
        build_optimizer(nn.Linear(1, 1), optim_cfg(NAME="sgd", **values))
