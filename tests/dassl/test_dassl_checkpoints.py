"""Reading checkpoints and pickles of other people."""

import os
import pickle
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR

from dassl.data.datasets import Datum
from dassl.utils import (
    load_checkpoint,
    load_pickle,
    load_pretrained_weights,
    resume_from_checkpoint,
    save_checkpoint,
)
from dassl.utils.errors import UserError
from dassl.utils.legacy import Dropped


class Bomb:
    """Creates a file when a careless reader unpickles it."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def upstream_payload(model):
    """What upstream's warm-up schedulers put in a checkpoint: whole objects, and numpy numbers."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    successor = CosineAnnealingLR(optimizer, 10)
    scheduler = {"successor": successor, "warmup_epoch": 1, "last_epoch": 4, "_last_lr": [0.1]}
    return {
        "state_dict": model.state_dict(),
        "epoch": 4,
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler,
        "val_result": np.float64(81.25),
    }


@pytest.mark.parametrize("new_format", [True, False])
def test_an_upstream_checkpoint_is_read_without_its_objects(tmp_path, new_format):
    model = nn.Linear(3, 2)
    torch.save(upstream_payload(model), tmp_path / "up", _use_new_zipfile_serialization=new_format)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "up", weights_only=True)
    checkpoint = load_checkpoint(tmp_path / "up")
    assert isinstance(checkpoint["state_dict"], OrderedDict)
    assert torch.equal(checkpoint["state_dict"]["weight"], model.weight)
    assert checkpoint["val_result"] == 81.25 and type(checkpoint["val_result"]) is float
    assert checkpoint["scheduler"]["last_epoch"] == 4
    successor = checkpoint["scheduler"]["successor"]
    assert type(successor) is Dropped and vars(successor) == {}
    momentum = checkpoint["optimizer"]["state"][0]["momentum_buffer"]
    assert torch.equal(momentum, torch.ones(2, 3))


def test_an_upstream_folder_is_resumed(tmp_path):
    model = nn.Linear(3, 2)
    torch.save(upstream_payload(model), tmp_path / "model.pth.tar-4")
    (tmp_path / "checkpoint").write_text("model.pth.tar-4\n")
    fresh = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(fresh.parameters(), lr=0.1, momentum=0.9)
    assert resume_from_checkpoint(str(tmp_path), fresh, optimizer) == 4
    assert torch.equal(fresh.weight, model.weight) and len(optimizer.state) == 2
    with pytest.raises(UserError, match="nothing to resume from"):
        resume_from_checkpoint(str(tmp_path / "empty"), fresh)


@pytest.mark.parametrize("new_format", [True, False])
def test_a_malicious_checkpoint_runs_nothing(tmp_path, new_format):
    payload = {"state_dict": {"w": torch.ones(2)}, "epoch": 1, "extra": Bomb(tmp_path / "harm")}
    torch.save(payload, tmp_path / "bad", _use_new_zipfile_serialization=new_format)
    checkpoint = load_checkpoint(tmp_path / "bad")
    assert torch.equal(checkpoint["state_dict"]["w"], torch.ones(2))
    assert type(checkpoint["extra"]) is Dropped
    assert not (tmp_path / "harm").exists()


def test_a_malicious_pickle_runs_nothing(tmp_path):
    (tmp_path / "bad.pkl").write_bytes(pickle.dumps({"train": [Bomb(tmp_path / "harm")]}))
    assert type(load_pickle(tmp_path / "bad.pkl")["train"][0]) is Dropped
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    "code",
    [
        b"ctorch._utils\n_rebuild_tensor\n(d(S'__call__'\ncos\nsystem\ndtb.",  # change a permitted function
        b"c_codecs\nencode\n(Vabc\nVrot13\ntR.",  # another encoding than bytes need
        b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(VO\ntRVx\ntR.",  # an object as a "number"
    ],
)
def test_permitted_names_are_not_bent_to_other_ends(tmp_path, code):
    (tmp_path / "bad.pkl").write_bytes(code)
    with pytest.raises(UserError, match="cannot read .*bad.pkl as a pickle of plain data"):
        load_pickle(tmp_path / "bad.pkl")


def test_classes_are_not_changed_by_a_pickle(tmp_path):
    path = tmp_path / "bad.pkl"
    path.write_bytes(b"cdassl.data.datasets.base_dataset\nDatum\n(N(S'impath'\nS'/outside.png'\ndtb.")
    with pytest.raises(UserError, match="cannot read .*bad.pkl"):
        load_pickle(path, {("dassl.data.datasets.base_dataset", "Datum"): Datum})
    path.write_bytes(b"cos\nsystem\n(N(S'append'\nNdtb.")  # the class that stands for all others
    load_pickle(path)
    assert Datum("a.png").impath == "a.png" and Dropped().append(1) is None


@pytest.mark.parametrize(
    "code",
    [
        b"\x80\x02}(" + b")" + b"\x85" * 300_000 + b"Nu.",  # hashing the tuple overflows the stack of C
        b"\x80\x02Nr\xff\xff\xff\x7f.",  # a memory of 2**31 objects
    ],
)
@pytest.mark.parametrize("read", [load_pickle, load_checkpoint])
def test_pickles_that_would_end_python_are_refused(tmp_path, read, code):
    path = tmp_path / "bad"
    path.write_bytes(code)
    if read is load_checkpoint:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a/data.pkl", code)
    with pytest.raises(UserError, match="a pickle (with more than 50,000 tuples|that calls)"):
        read(path)


def test_plain_pickles_come_back_whole(tmp_path):
    content = {
        "a": [1, 2.5, None],
        "s": {1, 2},
        "t": (b"x", "y"),
        "z": frozenset({1}),
        "n": np.arange(3),
        "f": np.float32(0.5),
    }
    for protocol in (2, 4, 5):
        (tmp_path / "p.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
        read = load_pickle(tmp_path / "p.pkl")
        assert {k: v for k, v in read.items() if k != "n"} == {k: v for k, v in content.items() if k != "n"}
        if protocol < 5:
            assert read["n"].tolist() == [0, 1, 2]


def test_upstreams_few_shot_cache_is_read_when_its_class_is_allowed(tmp_path):
    (tmp_path / "shot.pkl").write_bytes(pickle.dumps({"train": [Datum("a.jpg", 3, 0, "dog")]}, protocol=4))
    key = ("dassl.data.datasets.base_dataset", "Datum")
    item = load_pickle(tmp_path / "shot.pkl", {key: Datum})["train"][0]
    assert (item.impath, item.label, item.classname) == ("a.jpg", 3, "dog")
    assert type(load_pickle(tmp_path / "shot.pkl")["train"][0]) is Dropped


@pytest.mark.parametrize(
    "content, words",
    [
        (None, "no checkpoint at"),
        (b"", r"is empty \(0 bytes\)"),
        (b"PK\x03\x04 and then nothing", "is cut off or"),
        (b"just text", "is cut off or was not written by torch.save"),
    ],
)
def test_a_damaged_or_foreign_file_is_named(tmp_path, content, words):
    path = tmp_path / "model.pth.tar-1"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=words) as error:
        load_checkpoint(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_truncated_or_different_torch_file_is_named(tmp_path):
    path = tmp_path / "model.pth.tar-1"
    torch.save({"state_dict": {"w": torch.ones(100)}}, path)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(UserError, match="is cut off"):
        load_checkpoint(path)
    torch.save([1, 2], path)
    with pytest.raises(UserError, match="is no checkpoint of a trainer: expected a dict with the key 'state_dict'"):
        load_checkpoint(path)


@pytest.mark.filterwarnings("ignore:'torch.load' received a zip file")
def test_torchscript_is_refused(tmp_path):
    torch.jit.save(torch.jit.script(nn.Linear(1, 1)), str(tmp_path / "script"))
    with pytest.raises(UserError, match="script is cut off or was not written by torch.save"):
        load_checkpoint(tmp_path / "script")


def test_saving_writes_pointer_and_best(tmp_path):
    state = {"state_dict": OrderedDict({"module.w": torch.ones(1)}), "epoch": 3}
    save_checkpoint(state, str(tmp_path), is_best=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint", "model-best.pth.tar", "model.pth.tar-3"]
    assert (tmp_path / "checkpoint").read_text() == "model.pth.tar-3\n"
    for name in ("model-best.pth.tar", "model.pth.tar-3"):
        assert list(load_checkpoint(tmp_path / name)["state_dict"]) == ["w"]
    assert list(state["state_dict"]) == ["module.w"]


def test_pretrained_weights_take_what_fits(tmp_path, capsys):
    torch.save({"state_dict": {"module.weight": torch.ones(2, 3), "bias": torch.ones(5)}}, tmp_path / "w")
    model = nn.Linear(3, 2)
    bias = model.bias.detach().clone()
    load_pretrained_weights(model, str(tmp_path / "w"))
    assert torch.equal(model.weight, torch.ones(2, 3)) and torch.equal(model.bias, bias)
    assert "['bias']" in capsys.readouterr().out
    with pytest.raises(UserError, match="no tensor in .* fits Conv2d"):
        load_pretrained_weights(nn.Conv2d(1, 1, 1), str(tmp_path / "w"))
