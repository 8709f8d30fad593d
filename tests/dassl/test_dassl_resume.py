"""Stopping and going on: bit for bit, after any kind of end, from either layout."""

import errno
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from dassl.utils.errors import UserError
from dassl.utils.torchtools import find_checkpoints
from helpers import toy_world
from helpers.toy_world import build, toy_cfg, weights

OPTS = ("TEST.FINAL_MODEL", "best_val")


class Killed(Exception):
    """Stands for the end of the process."""


def train(cfg, die_in=None):
    """Train; ``die_in`` = (epoch, batch), from 0, kills it before that batch."""
    trainer = build(cfg)
    if die_in is not None:
        step = trainer.forward_backward

        def dying_step(batch):
            if (trainer.epoch, trainer.batch_idx) == die_in:
                raise Killed
            return step(batch)

        trainer.forward_backward = dying_step
        with pytest.raises(Killed):
            trainer.train()
    else:
        trainer.train()
    trainer.rng = torch.get_rng_state()
    return trainer


def assert_same(one, two):
    left, right = weights(one), weights(two)
    assert left.keys() == right.keys()
    for key in left:
        assert torch.equal(left[key], right[key]), key
    for name in one._optims:
        a, b = (t._optims[name].state_dict() for t in (one, two))
        assert a["param_groups"] == b["param_groups"]
        for k, state in a["state"].items():
            assert torch.equal(state["momentum_buffer"], b["state"][k]["momentum_buffer"])
    assert one.history == two.history
    assert one.best_result == two.best_result
    assert one.last_results == two.last_results
    assert torch.equal(one.rng, two.rng)


@pytest.fixture
def straight(toy):
    """Trains in one go and leaves no trace."""

    def run(*opts):
        trainer = train(toy_cfg(toy, *(opts or OPTS)))
        shutil.rmtree(toy / "out")
        return trainer

    return run


@pytest.mark.parametrize("die_in", [(3, 0), (3, 2)])
def test_a_run_that_died_goes_on_bit_for_bit(toy, straight, die_in):
    whole = straight()
    cfg = toy_cfg(toy, *OPTS)
    train(cfg, die_in=die_in)
    torch.rand(7)  # whatever happens in between
    resumed = train(cfg)
    assert resumed.start_epoch == 3
    assert_same(whole, resumed)


def test_a_run_with_workers_goes_on_as_one_without(toy, straight):
    opts = ("OPTIM.MAX_EPOCH", 4)
    whole = straight(*opts)
    cfg = toy_cfg(toy, *opts, "DATALOADER.NUM_WORKERS", 2)
    train(cfg, die_in=(2, 1))
    resumed = train(cfg)
    assert resumed.start_epoch == 2
    assert_same(whole, resumed)


def test_the_numbered_layout_alone_is_enough(toy, straight):
    whole = straight()
    cfg = toy_cfg(toy, *OPTS, "TRAIN.CHECKPOINT_FREQ", 3)
    train(cfg, die_in=(4, 1))
    (toy / "out" / "last.pth.tar").unlink()
    assert sorted(p.name for p in (toy / "out" / "net").iterdir()) == [
        "checkpoint",
        "model-best.pth.tar",
        "model.pth.tar-3",
    ]
    resumed = train(cfg)
    assert resumed.start_epoch == 3
    assert_same(whole, resumed)


def test_resume_names_another_folder_and_takes_the_best_epoch_along(toy, straight):
    whole = straight()
    train(toy_cfg(toy, *OPTS), die_in=(4, 0))
    (toy / "elsewhere").mkdir()
    other = toy_cfg(toy, *OPTS, "OUTPUT_DIR", str(toy / "elsewhere"), "RESUME", str(toy / "out"))
    resumed = train(other)
    assert resumed.start_epoch == 4
    assert_same(whole, resumed)
    with pytest.raises(UserError, match="RESUME: no complete checkpoint in .*nothing"):
        build(toy_cfg(toy, "RESUME", str(toy / "nothing"))).train()


def test_a_process_killed_in_the_middle_of_an_epoch_leaves_a_folder_that_can_be_resumed(toy, straight):
    whole = straight()
    program = [sys.executable, toy_world.__file__, str(toy), *OPTS]
    process = subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not (toy / "hanging").exists():  # in its fourth epoch
            assert process.poll() is None
            time.sleep(0.05)
    finally:
        process.kill()  # SIGKILL
        process.wait()
    resumed = train(toy_cfg(toy, *OPTS))
    assert resumed.start_epoch == 3
    assert_same(whole, resumed)


@pytest.mark.parametrize("file", ["last.pth.tar", "head/model.pth.tar-4"])
def test_an_end_in_the_middle_of_a_save_leaves_the_older_state(toy, straight, monkeypatch, file):
    whole = straight()
    cfg = toy_cfg(toy, *OPTS, "TRAIN.CHECKPOINT_FREQ", 4)
    save, target = torch.save, toy / "out" / file

    def dying_save(obj, path):
        save(obj, path)
        if path.parent.parent == target.parent and path.name == target.name and obj["epoch"] == 4:
            path.write_bytes(path.read_bytes()[:50])
            raise Killed

    monkeypatch.setattr(torch, "save", dying_save)
    with pytest.raises(Killed):
        train(cfg)
    monkeypatch.setattr(torch, "save", save)
    resumed = train(cfg)
    assert resumed.start_epoch == (4 if file == "last.pth.tar" else 3)
    assert_same(whole, resumed)


@pytest.mark.parametrize("file", ["last.pth.tar", "head/checkpoint", "head/model.pth.tar-6"])
def test_a_full_disk_at_the_last_epoch_leaves_no_file_an_epoch_behind(toy, straight, monkeypatch, file):
    whole = straight()
    cfg, replace = toy_cfg(toy, *OPTS), os.replace
    refused = []

    def full(source, target):
        if Path(target) == toy / "out" / file and newest_epoch(toy / "out" / "net") == 6:
            refused.append(target)
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(UserError, match=f"cannot write .*{file}: the disk is full"):
        train(cfg)
    monkeypatch.setattr(os, "replace", replace)
    assert refused
    assert_same(whole, train(cfg))
    states = [torch.load(toy / "out" / name / "model.pth.tar-6", weights_only=True) for name in ("net", "head")]
    last = torch.load(toy / "out" / "last.pth.tar", weights_only=True)
    assert [state["epoch"] for state in (*states, last)] == [6, 6, 6]
    for name, state in zip(("net", "head"), states, strict=True):
        assert (toy / "out" / name / "checkpoint").read_text() == "model.pth.tar-6\n"
        for key, value in state["state_dict"].items():
            assert torch.equal(value, last["models"][name]["state_dict"][key])
    assert last["trainer_state"]["history"] == states[0]["trainer_state"]["history"] == whole.history


def newest_epoch(folder):
    """The newest epoch of which a model has a numbered checkpoint, 0 without one."""
    return max(find_checkpoints(str(folder)), default=0)


def test_a_finished_run_is_deployed_again_and_not_retrained(toy, capsys):
    cfg = toy_cfg(toy)
    first = train(cfg)
    capsys.readouterr()
    again = train(cfg, die_in=None)
    text = capsys.readouterr().out
    assert "epoch [" not in text and "* accuracy:" in text
    assert_same(first, again)
    with pytest.raises(UserError, match="trained for 6 epochs, but OPTIM.MAX_EPOCH is 4"):
        train(toy_cfg(toy, "OPTIM.MAX_EPOCH", 4))


def test_more_epochs_follow_the_new_configuration(toy):
    train(toy_cfg(toy, "OPTIM.MAX_EPOCH", 3))
    longer = train(toy_cfg(toy, "OPTIM.MAX_EPOCH", 6))
    reference = train(toy_cfg(toy, "OUTPUT_DIR", str(toy / "other")))
    assert [r["lr"] for r in longer.history[3:]] == [r["lr"] for r in reference.history[3:]]
    assert [r["epoch"] for r in longer.history] == [1, 2, 3, 4, 5, 6]


def test_a_save_that_was_cut_off_between_two_models(toy, straight, capsys):
    whole = straight()
    cfg = toy_cfg(toy, *OPTS, "TRAIN.CHECKPOINT_FREQ", 1)
    train(cfg, die_in=(3, 0))
    shutil.copy(toy / "out" / "net" / "model.pth.tar-3", toy / "out" / "net" / "model.pth.tar-4")
    resumed = train(cfg)  # the newest epoch that both have is the third
    assert resumed.start_epoch == 3
    assert_same(whole, resumed)
    for path in [*(toy / "out" / "head").iterdir(), toy / "out" / "last.pth.tar"]:
        path.unlink()
    capsys.readouterr()
    assert build(cfg).resume_model_if_exist(str(toy / "out")) == 0
    assert "No checkpoint found, train from scratch" in capsys.readouterr().out


def test_models_of_different_epochs_are_refused_by_name(toy):
    cfg = toy_cfg(toy, "TRAIN.CHECKPOINT_FREQ", 1, "OPTIM.MAX_EPOCH", 2)
    train(cfg)
    out = toy / "out"
    (out / "last.pth.tar").unlink()
    (out / "net" / "model.pth.tar-1").unlink()
    (out / "head" / "model.pth.tar-2").unlink()
    with pytest.raises(UserError, match=r"no epoch in common.*net/model.pth.tar-2.*head/model.pth.tar-1"):
        train(cfg)
    (out / "head" / "model.pth.tar-1").rename(out / "head" / "model.pth.tar-2")
    with pytest.raises(UserError, match=r"different epochs.*net/model.pth.tar-2: 2.*head/model.pth.tar-2: 1"):
        train(cfg)


@pytest.mark.parametrize(
    "spoil, words",
    [
        (lambda path: path.write_bytes(b""), r"last.pth.tar is empty \(0 bytes\)"),
        (
            lambda path: path.write_bytes(path.read_bytes()[:-100]),
            "last.pth.tar is cut off or was not written by torch",
        ),
        (lambda path: torch.save({"state_dict": {}}, path), "last.pth.tar is no training state.*'epoch'"),
        (
            lambda path: torch.save({"epoch": 1, "models": {"prompt": {}}, "trainer_state": {}}, path),
            "holds the models prompt, but this trainer has net, head",
        ),
    ],
)
def test_a_damaged_or_foreign_state_is_named(toy, spoil, words):
    cfg = toy_cfg(toy, "OPTIM.MAX_EPOCH", 1)
    train(cfg)
    spoil(toy / "out" / "last.pth.tar")
    with pytest.raises(UserError, match=words) as error:
        train(cfg)
    assert "\n" not in str(error.value)


def test_a_state_of_other_shapes_is_named(toy):
    train(toy_cfg(toy, "OPTIM.MAX_EPOCH", 1))
    trainer = build(toy_cfg(toy, "OPTIM.MAX_EPOCH", 2))
    trainer._models["head"] = torch.nn.Linear(5, 3)
    with pytest.raises(UserError, match="last.pth.tar does not fit the state_dict of model 'head'.*size mismatch"):
        trainer.train()


def test_an_upstream_folder_goes_on_from_the_file_that_its_pointer_names(toy, capsys):
    """Upstream with best_val: only model-best exists in the middle of a run, and schedules are pickled objects."""
    cfg = toy_cfg(toy)
    reference = train(toy_cfg(toy, "OUTPUT_DIR", str(toy / "reference")))
    trainer = build(cfg)
    for name in trainer.get_model_names():
        optim = trainer._optims[name]
        successor = torch.optim.lr_scheduler.CosineAnnealingLR(optim, 6)
        scheduler = {"successor": successor, "warmup_epoch": 1, "last_epoch": 2}
        (toy / "out" / name).mkdir(parents=True)
        torch.save(
            {
                "state_dict": trainer._models[name].state_dict(),
                "epoch": 2,
                "optimizer": optim.state_dict(),
                "scheduler": scheduler,
                "val_result": np.float64(50),
            },
            toy / "out" / name / "model-best.pth.tar",
        )
        (toy / "out" / name / "checkpoint").write_text("model-best.pth.tar\n")
    resumed = train(cfg)
    assert resumed.start_epoch == 2
    assert [r["lr"] for r in resumed.history] == [r["lr"] for r in reference.history[2:]]
    assert "not bit for bit" in capsys.readouterr().out


class ReleasedWarmup(torch.optim.lr_scheduler.LRScheduler):
    """Upstream's rule: it steps itself until the warm-up is over, its successor from then on."""

    def __init__(self, optimizer, successor, warmup_epoch):
        self.successor, self.warmup_epoch = successor, warmup_epoch
        super().__init__(optimizer)

    def get_lr(self):
        return self.successor.get_last_lr() if self.last_epoch >= self.warmup_epoch else [1e-5 for _ in self.base_lrs]

    def step(self, epoch=None):
        if self.last_epoch >= self.warmup_epoch:
            self.successor.step()
            self._last_lr = self.successor.get_last_lr()
        else:
            super().step()


@pytest.mark.parametrize("epochs", [1, 2, 4])
def test_a_released_schedule_goes_on_at_its_place_after_the_warm_up(toy, epochs):
    cfg = toy_cfg(toy)
    reference = train(toy_cfg(toy, "OUTPUT_DIR", str(toy / "reference")))
    trainer = build(cfg)
    for name in trainer.get_model_names():
        optim = torch.optim.SGD(trainer._models[name].parameters(), lr=0.005)
        schedule = ReleasedWarmup(optim, torch.optim.lr_scheduler.CosineAnnealingLR(optim, 6), 1)
        rates = []
        for _ in range(epochs):
            rates.append(optim.param_groups[0]["lr"])
            optim.step()
            schedule.step()
        state = {key: value for key, value in vars(schedule).items() if key != "optimizer"}
        assert state["last_epoch"] == 1  # whatever the epoch
        assert rates == pytest.approx([r["lr"] for r in reference.history[:epochs]])
        (toy / "out" / name).mkdir(parents=True)
        payload = {"state_dict": trainer._models[name].state_dict(), "epoch": epochs, "optimizer": optim.state_dict()}
        torch.save(payload | {"scheduler": state, "val_result": None}, toy / "out" / name / f"model.pth.tar-{epochs}")
    resumed = train(cfg)
    assert [r["epoch"] for r in resumed.history] == list(range(epochs + 1, 7))
    assert [r["lr"] for r in resumed.history] == pytest.approx([r["lr"] for r in reference.history[epochs:]])


def test_what_a_trainer_keeps_besides_its_models_comes_back(toy):
    class Averaging(toy_world.Linear):
        average = torch.zeros(())

        def after_epoch(self):
            super().after_epoch()
            self.average = self.average + self.head.bias.detach().sum() * torch.rand(())

        def extra_state(self):
            return {"average": self.average}

        def load_extra_state(self, state):
            self.average = state["average"]

    def run(folder, epochs):
        cfg = toy_cfg(
            toy,
            "OUTPUT_DIR",
            str(toy / folder),
            "OPTIM.MAX_EPOCH",
            epochs,
            "OPTIM.LR_SCHEDULER",
            "multi_step",
            "OPTIM.STEPSIZE",
            (3,),
        )
        torch.manual_seed(0)
        trainer = Averaging(cfg)
        trainer.train()
        return trainer

    whole = run("one", 4)
    run("two", 2)
    assert torch.equal(run("two", 4).average, whole.average) and whole.average != 0


def test_what_a_trainer_keeps_outside_its_models_and_does_not_save_is_said_on_resume(toy, capsys):
    """As PromptSRC's released file does with its running mean of the weights."""

    class Unsaved(toy_world.Linear):
        def build_model(self):
            super().build_model()
            self.step_counter, self.previous_mean, self.constant, self.lists = 1, None, 3.5, []

        def forward_backward(self, batch):
            result = super().forward_backward(batch)
            self.step_counter += 1
            self.lists.append(1)
            self.previous_mean = {name: value.clone() for name, value in self.head.state_dict().items()}
            return result

    def resumed(cls):
        for epochs in (1, 2):
            cls(toy_cfg(toy, "OUTPUT_DIR", str(toy / cls.__name__), "OPTIM.MAX_EPOCH", epochs)).train()
        return [line for line in capsys.readouterr().out.splitlines() if line.startswith("Not in the checkpoint")]

    (line,) = resumed(Unsaved)
    assert line.startswith("Not in the checkpoint: previous_mean, step_counter, which Unsaved keeps")
    assert resumed(toy_world.Linear) == []

    class Saved(Unsaved):
        def extra_state(self):
            return {"step_counter": self.step_counter}

    assert resumed(Saved) == []
