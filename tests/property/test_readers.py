"""Whatever bytes a file has, its reader returns something sensible or says in one line what is wrong, at once."""

import io
import json
import tarfile
import time
import zipfile

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from dassl.config import get_cfg_default, merge_file
from dassl.data.download import safe_extract
from dassl.engine.state import newest_state, rng_state
from dassl.utils import load_checkpoint, read_json
from dassl.utils.errors import UserError
from dassl.utils.torchtools import load_state
from helpers.result_records import make_record
from promptshift.modeling.prototypes import load_prototypes, released_statistics
from promptshift.paths import load_plugins
from promptshift.results.collect import inspect
from promptshift.results.record import read_result
from promptshift.runs.stored_config import read_config

SECONDS = 1.0


def bounded(read, *args):
    """The reader's answer, or None after a UserError of one short line; either within a second of computing."""
    start = time.process_time()
    try:
        answer = read(*args)
    except UserError as error:
        assert "\n" not in str(error) and len(str(error)) <= 2000
        answer = None
    assert time.process_time() - start < SECONDS
    return answer


@st.composite
def mutated(draw, valid):
    """The bytes of a valid file after a few changes: overwritten, cut out, repeated, cut off, put in."""
    data = bytearray(draw(st.sampled_from(valid)))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, max(len(data) - 1, 0)))
        end = min(len(data), start + draw(st.integers(1, 40)))
        kind = draw(st.sampled_from(["overwrite", "overwrite", "delete", "repeat", "end", "insert"]))
        if kind == "overwrite":
            data[start:end] = draw(st.binary(min_size=end - start, max_size=end - start))
        elif kind == "repeat":
            data[start:start] = data[start:end] * draw(st.integers(1, 50))
        elif kind == "insert":
            data[start:start] = draw(st.binary(max_size=40))
        else:
            del data[start : end if kind == "delete" else len(data)]
    return bytes(data)


def files(*valid):
    """Bytes of any file: mutations of valid ones, and noise."""
    return st.one_of(mutated(list(valid)), mutated(list(valid)), st.binary(max_size=300))


def saved(content):
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the files are written, one over the other; what readers import when first called is there already."""
    load_plugins()
    return tmp_path_factory.mktemp("files")


# JSON: nested values of any kind, and numbers that no float holds

LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-(10**400), 10**400), st.floats(), st.text(max_size=20)
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)
RECORD = {"schema_version": 1, **make_record()}


@given(content=files(json.dumps(RECORD).encode(), b"[" * 1000 + b"]" * 1000, b'{"a": 1e400, "b": [NaN, -Infinity]}'))
def test_json_of_any_bytes(folder, content):
    (folder / "x.json").write_bytes(content)
    bounded(read_json, folder / "x.json")


@given(name=st.sampled_from(sorted(RECORD)), value=VALUES)
def test_a_record_with_any_value(folder, name, value):
    (folder / "result.json").write_text(json.dumps({**RECORD, name: value}))
    assert bounded(inspect, folder).kind in ("complete", "corrupt")


@given(content=files(json.dumps(RECORD).encode(), json.dumps(RECORD, indent=4).encode()))
def test_records_of_any_bytes(folder, content):
    (folder / "result.json").write_bytes(content)
    record = bounded(read_result, folder)
    assert record is None or 0 <= record["metrics"]["accuracy"] <= 100 + 1e-6
    assert bounded(inspect, folder).kind in ("complete", "corrupt", "foreign")


@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"b":['])
def test_json_that_is_nested_too_deep(folder, opening):
    (folder / "result.json").write_text(opening * 200_000)
    bounded(read_json, folder / "result.json")
    assert bounded(inspect, folder).kind == "corrupt"


# Configurations

STORED = get_cfg_default().dump().encode()


@given(content=files(STORED[:1500], b"OPTIM:\n  LR: 0.1\n  NAME: sgd\nSEED: 1\nINPUT: {SIZE: (8, 8)}\n"))
def test_configurations_of_any_bytes(folder, content):
    (folder / "config.yaml").write_bytes(content)
    bounded(lambda: merge_file(get_cfg_default(), str(folder / "config.yaml")))
    bounded(read_config, folder / "config.yaml")


@given(value=VALUES)
def test_configurations_that_runs_did_not_write(folder, value):
    (folder / "config.yaml").write_text(yaml.safe_dump(value))
    bounded(read_config, folder / "config.yaml")


# Checkpoints

STATE = {
    "state_dict": {"ctx": torch.ones(4, 8), "scale": torch.tensor(2.0)},
    "epoch": 2,
    "optimizer": {"state": {0: {"momentum_buffer": torch.zeros(4, 8)}}, "param_groups": [{"lr": 0.1, "params": [0]}]},
}
LAST = {
    "epoch": 2,
    "models": {"m": STATE},
    "trainer_state": {"rng": rng_state(), "history": [], "best_result": 0.0, "scaler": None, "extra": {}},
}


@given(content=files(saved(STATE), saved({"state_dict": {}})))
def test_checkpoints_of_any_bytes(folder, content):
    (folder / "model.pth.tar-1").write_bytes(content)
    checkpoint = bounded(load_checkpoint, folder / "model.pth.tar-1")
    tensors = [] if checkpoint is None else checkpoint["state_dict"].values()
    assert all(torch.isfinite(value).all() for value in tensors if isinstance(value, torch.Tensor))


@given(content=files(saved(LAST)))
def test_training_states_of_any_bytes(folder, content):
    (folder / "last.pth.tar").write_bytes(content)
    bounded(newest_state, str(folder), ["m"])


@given(entry=st.sampled_from([*LAST, *STATE, "m"]), value=VALUES)
def test_training_states_with_any_entry(folder, entry, value):
    model = {**STATE, entry: value} if entry in STATE else STATE
    state = {**LAST, "models": {"m": value if entry == "m" else model}}
    state = {**state, entry: value} if entry in LAST else state
    torch.save(state, folder / "last.pth.tar")
    bounded(load_state, folder / "last.pth.tar", ("epoch", "models"))
    found = bounded(newest_state, str(folder), ["m"])
    assert found is None or isinstance(found["models"]["m"]["state_dict"], dict)


@given(content=files(saved(torch.ones(2, 3, 4)), saved([torch.ones(1, 3, 4)] * 2)))
def test_statistics_of_any_bytes(folder, content):
    (folder / "x.pt").write_bytes(content)
    bounded(released_statistics, str(folder / "x.pt"), str(folder / "x.pt"))


@pytest.fixture(scope="module")
def prototypes(folder):
    """The bytes of a file of prototypes."""
    names = ("means", "variances", "text", "cls", "vision")
    save_file({name: torch.ones(2, 2) for name in names}, folder / "valid", {"about": '{"classes": ["a"]}'})
    return (folder / "valid").read_bytes()


@given(data=st.data())
def test_prototypes_of_any_bytes(folder, prototypes, data):
    (folder / "p.safetensors").write_bytes(data.draw(files(prototypes)))
    bounded(load_prototypes, folder / "p.safetensors")


# Archives

MEMBERS = {"images/a.jpg": b"\xff\xd8" + bytes(range(256)) * 4, "images/b.txt": b"text " * 200, "images/c": b""}


def zipped(method):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in MEMBERS.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tarred(mode):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, content in MEMBERS.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
ARCHIVES = [*map(zipped, METHODS), *map(tarred, ("w", "w:gz", "w:bz2", "w:xz"))]


@given(content=files(*ARCHIVES))
def test_archives_of_any_bytes(folder, content):
    place = folder / "archives" / "inside"
    place.mkdir(parents=True, exist_ok=True)
    (folder / "archive").write_bytes(content)
    bounded(safe_extract, folder / "archive", place)
    assert [path.name for path in (folder / "archives").iterdir()] == ["inside"]
