"""Well-formed checkpoints with contents that no trainer of ours wrote: one line that names the file and the entry."""

import random
import shutil
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from dassl.engine import TrainerBase
from dassl.engine.state import newest_state, rng_state
from dassl.utils import load_checkpoint, load_pretrained_weights, resume_from_checkpoint, save_checkpoint
from dassl.utils.errors import UserError
from dassl.utils.loading import load_optimizer, load_weights
from dassl.utils.torchtools import read_pointer
from helpers.toy_world import build, toy_cfg, write_images


def refused(action, *words):
    with pytest.raises(UserError) as error:
        action()
    line = str(error.value)
    assert "\n" not in line and len(line) <= 2000 and all(word in line for word in words), line


BAD_NUMBERS = {
    "nan": (torch.tensor([1.0, float("nan")]), "holds NaN or infinite"),
    "inf": (torch.tensor([float("-inf"), 1.0]).half(), "holds NaN or infinite"),
    "complex": (torch.tensor([complex(0, float("nan"))] * 2), "holds NaN or infinite"),
    "sparse": (torch.ones(2).to_sparse(), "no plain tensor"),
}


@pytest.mark.parametrize("bias, words", BAD_NUMBERS.values(), ids=BAD_NUMBERS)
def test_tensors_that_are_no_numbers_are_named(tmp_path, bias, words):
    path = tmp_path / "model.pth.tar-1"
    torch.save({"state_dict": {"weight": torch.ones(2, 3), "bias": bias}, "epoch": 1}, path)
    refused(lambda: load_checkpoint(path), str(path), "state_dict.bias", words)
    (tmp_path / "checkpoint").write_text("model.pth.tar-1\n")
    refused(lambda: resume_from_checkpoint(str(tmp_path), nn.Linear(3, 2)), str(path), "state_dict.bias")
    if bias.layout == torch.strided and not bias.is_complex():
        refused(lambda: load_pretrained_weights(nn.Linear(3, 2), str(path)), str(path), "bias")


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool, torch.complex64])
def test_weights_of_another_kind_of_number_are_not_cast(tmp_path, dtype):
    model = nn.BatchNorm1d(2)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    load_weights(model, {**state, "bias": state["bias"].half()}, "model", "file")
    refused(lambda: load_weights(model, {**state, "bias": state["bias"].to(dtype)}, "model", "file"), "file", "bias")
    counter = state["num_batches_tracked"].float() + 0.5
    refused(lambda: load_weights(model, {**state, "num_batches_tracked": counter}, "model", "file"), "tracked")
    torch.save({**state, "weight": state["weight"].to(dtype)}, tmp_path / "x")
    refused(lambda: load_pretrained_weights(model, str(tmp_path / "x")), str(tmp_path / "x"), "weight")


ENTRIES = {
    "integer key": {"state_dict": {1: torch.ones(2)}, "epoch": 1},
    "negative epoch": {"state_dict": {}, "epoch": -1},
    "epoch in words": {"state_dict": {}, "epoch": "two"},
    "endless epoch": {"state_dict": {}, "epoch": 10**400},
}


@pytest.mark.parametrize("content", ENTRIES.values(), ids=ENTRIES)
def test_entries_that_no_trainer_writes_are_named(tmp_path, content):
    torch.save(content, tmp_path / "x")
    refused(lambda: load_checkpoint(tmp_path / "x"), str(tmp_path / "x"))


@pytest.mark.parametrize("name", ["", "../model.pth.tar-1", "/etc/passwd", "a\0b", "x" * 5000])
def test_a_pointer_names_a_file_of_its_own_folder(tmp_path, name):
    save_checkpoint({"state_dict": {}, "epoch": 1}, str(tmp_path / "model"))
    assert read_pointer(tmp_path / "model") == str(tmp_path / "model" / "model.pth.tar-1")
    (tmp_path / "model" / "checkpoint").write_bytes(name.encode() + b"\n")
    refused(lambda: resume_from_checkpoint(str(tmp_path / "model"), nn.Linear(1, 1)), str(tmp_path / "model"))


def test_an_optimizers_foreign_state_is_refused():
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()

    def changed(**settings):
        state = optimizer.state_dict()
        return {**state, "param_groups": [{**state["param_groups"][0], **settings}]}

    def load(state):
        fresh = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        load_optimizer(fresh, state, "optimizer", "the file")

    shapeless = {0: {"momentum_buffer": torch.ones(5)}, 1: {"momentum_buffer": torch.ones(2)}}
    for state in (3, [], {}, changed(momentum="much"), changed(params=[0]), {**changed(), "state": shapeless}):
        refused(partial(load, state), "the file", "optimizer")
    load(changed())


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A toy run of one epoch in <folder>/out; the folder is a data root as well."""
    folder = tmp_path_factory.mktemp("toy")
    write_images(folder / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainerBase, "init_writer", lambda self, log_dir: None)
        build(toy_cfg(folder, "OPTIM.MAX_EPOCH", 1)).train()
    return folder


def put(*keys):
    """put(a, b, value): a function that sets state[a][b] to the value."""
    *names, last, value = keys

    def change(state):
        for name in names:
            state = state[name]
        state[last] = value

    return change


FOREIGN = {
    "rng": put("trainer_state", "rng", []),
    "rng of another generator": put("trainer_state", "rng", {"python": 1, "numpy": 2, "torch": 3, "cuda": 4}),
    "history": put("trainer_state", "history", 3),
    "history of numbers": put("trainer_state", "history", [1, 2]),
    "best_result": put("trainer_state", "best_result", []),
    "nan best_result": put("trainer_state", "best_result", float("nan")),
    "trainer_state": put("trainer_state", 7),
    "scaler missing": lambda state: state["trainer_state"].pop("scaler"),
    "models": put("models", [1]),
    "model": put("models", "net", 5),
    "state_dict": put("models", "net", "state_dict", None),
    "weights": put("models", "net", "state_dict", {"weight": 3}),
    "optimizer": put("models", "net", "optimizer", {"state": 1}),
    "scheduler": put("models", "net", "scheduler", {"last_epoch": "x"}),
    "no epoch": put("epoch", None),
    "epoch": put("epoch", [1]),
    "integer key": put("models", "net", "state_dict", 5, torch.ones(1)),
}


@pytest.mark.parametrize("change", FOREIGN.values(), ids=FOREIGN)
def test_a_training_state_with_foreign_entries_is_refused(finished, tmp_path, change):
    shutil.copytree(finished / "out", tmp_path / "out")
    path = tmp_path / "out" / "last.pth.tar"
    state = torch.load(path, weights_only=True)
    change(state)
    torch.save(state, path)
    trainer = build(toy_cfg(finished, "OPTIM.MAX_EPOCH", 2))
    before = rng_state()
    refused(lambda: trainer.resume_model_if_exist(str(tmp_path / "out")), str(path))
    assert rng_state()["python"] == before["python"] and torch.equal(rng_state()["torch"], before["torch"])


def test_nan_moments_of_an_optimizer_are_not_resumed(finished, tmp_path):
    shutil.copytree(finished / "out", tmp_path / "out")
    path = tmp_path / "out" / "last.pth.tar"
    state = torch.load(path, weights_only=True)
    state["models"]["net"]["optimizer"]["state"][0] = {"momentum_buffer": torch.tensor(float("nan"))}
    torch.save(state, path)
    refused(lambda: newest_state(str(tmp_path / "out"), ["net", "head"]), "models.net.optimizer.state.0.momentum")


def test_states_of_generators_are_taken_back(finished):
    torch.manual_seed(3), random.seed(4), np.random.seed(5)
    trainer = build(toy_cfg(finished, "OPTIM.MAX_EPOCH", 2))
    assert trainer.resume_model_if_exist(str(finished / "out")) == 1
    assert trainer.resumed_from == str(finished / "out" / "last.pth.tar") and len(trainer.history) == 1
