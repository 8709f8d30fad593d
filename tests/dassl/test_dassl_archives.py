"""Reading the tensors of TorchScript and torch.save archives without running anything in them."""

import io
import os
import pickle
import struct
import sys
import zipfile

import pytest
import torch
from torch import nn

from dassl.utils.archives import is_archive, load_archive, refuse_harmful_file

pytestmark = pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.attn = nn.Linear(4, 12)
        self.ln = nn.LayerNorm(4)
        self.mlp = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4))

    def forward(self, x):
        return x + self.mlp(self.ln(x)) + self.attn(x)[:, :4]


class Tower(nn.Module):
    """What an archive of CLIP has: half precision, nested and numbered modules, bare parameters, buffers, views."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 2, bias=False)
        self.bn = nn.BatchNorm2d(4)
        self.blocks = nn.Sequential(Block(), Block())
        self.proj = nn.Parameter(torch.randn(4, 5).t())
        self.register_buffer("input_resolution", torch.tensor(32))
        self.register_buffer("missing", None)
        self.register_buffer("empty", torch.ones(0, 3))
        self.depth, self.sizes, self.name, self.flags = 2, [1, 2], "tower", {"a": 1.5}

    def forward(self, images):
        x = self.bn(self.conv1(images)).mean(dim=(2, 3))
        return self.blocks(x) @ self.proj.t() + torch.tensor([1.0]).to(x.dtype)


def half(module):
    """As OpenAI's: weights in float16, layer norms in float32."""
    for part in module.modules():
        if isinstance(part, (nn.Linear, nn.Conv2d)):
            part.half()
    return module.eval()


def same(a, b):
    return set(a) == set(b) and all(
        torch.equal(a[name], b[name]) and a[name].dtype == b[name].dtype and a[name].stride() == b[name].stride()
        for name in a
    )


def repack(source, target, compression=zipfile.ZIP_STORED, **changes):
    """Write a zip again with another compression; `changes` maps an entry's last name to new bytes or to None."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", compression) as new:
        for name in old.namelist():
            data = changes.get(name.rpartition("/")[2].replace(".", "_"), old.read(name))
            if data is not None:
                new.writestr(name, data)
    return target


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archives")
    torch.manual_seed(0)
    torch.jit.script(half(Tower())).save(str(folder / "scripted.pt"))
    torch.jit.trace(Tower().eval(), torch.randn(1, 3, 4, 4)).save(str(folder / "traced.pt"))
    return folder


@pytest.mark.parametrize("name", ["scripted.pt", "traced.pt"])
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_tensors_of_torchscript_are_those_of_its_own_reader(archives, tmp_path, name, compression):
    expected = torch.jit.load(str(archives / name)).state_dict()
    path = repack(archives / name, tmp_path / "archive.pt", compression)
    assert is_archive(path)
    tensors = load_archive(path)
    assert len(expected) >= 21 and same(tensors, expected)
    assert not any(value.requires_grad for value in tensors.values())
    assert {torch.float16, torch.float32, torch.int64} <= {v.dtype for v in tensors.values()} or name == "traced.pt"


def test_shared_modules_and_tensors_have_all_their_names(tmp_path):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(2, 2)
            self.second = self.first
            self.weight = self.first.weight

        def forward(self, x):
            return self.second(self.first(x)) @ self.weight

    torch.jit.script(Tied()).save(str(tmp_path / "tied.pt"))
    assert same(load_archive(tmp_path / "tied.pt"), torch.jit.load(str(tmp_path / "tied.pt")).state_dict())


def test_archives_of_torch_save_come_back_as_saved(tmp_path):
    module = half(Tower())
    saved = {
        "state_dict": module.state_dict(),
        "epoch": 3,
        "size": torch.Size([2, 3]),
        "dtype": torch.float16,
        "parameter": nn.Parameter(torch.ones(2)),
        "raw": b"bytes",
        "bf16": torch.ones(3).bfloat16(),
    }
    torch.save(saved, tmp_path / "saved.pt")
    read = load_archive(tmp_path / "saved.pt")
    assert same(read.pop("state_dict"), saved.pop("state_dict"))
    for name in ("parameter", "bf16"):
        assert torch.equal(read.pop(name), saved.pop(name))
    assert read == saved


def test_the_code_of_an_archive_is_neither_needed_nor_opened(archives, tmp_path):
    path = tmp_path / "without.pt"
    with zipfile.ZipFile(archives / "scripted.pt") as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, b"no TorchScript" if "/code/" in name else old.read(name))
    with pytest.raises(RuntimeError):
        torch.jit.load(str(path))
    assert same(load_archive(path), load_archive(archives / "scripted.pt"))


@pytest.mark.parametrize("state", ["tensor", "dict"])
def test_an_exported_setstate_is_not_run(tmp_path, state):
    target = tmp_path / "harm.pt"

    class Harm(nn.Module):
        def __init__(self, path: str):
            super().__init__()
            self.w, self.path = torch.ones(3), path

        def forward(self, x):
            return x + self.w

    if state == "tensor":

        class Wolf(Harm):
            @torch.jit.export
            def __getstate__(self):
                return self.w, self.path, self.training

            @torch.jit.export
            def __setstate__(self, state: tuple[torch.Tensor, str, bool]):
                self.w, self.path, self.training = state[0], state[1], state[2]
                torch.save(self.w, self.path)
    else:

        class Wolf(Harm):
            @torch.jit.export
            def __getstate__(self):
                return {"w": self.w, self.path: self.w}

            @torch.jit.export
            def __setstate__(self, state: dict[str, torch.Tensor]):
                self.w, self.training = state["w"], False
                for path in state:
                    self.path = path
                    if path != "w":
                        torch.save(self.w, path)

    torch.jit.script(Wolf(str(target))).save(str(tmp_path / "wolf.pt"))
    with pytest.raises(pickle.UnpicklingError, match="__setstate__"):
        load_archive(tmp_path / "wolf.pt")
    assert not target.exists()
    torch.jit.load(str(tmp_path / "wolf.pt"))  # what is not done: PyTorch's own reader runs it
    assert target.exists()


def with_pickle(path, code):
    """An archive whose data.pkl is `code`; data/0 holds four float32."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", code)
        archive.writestr("a/constants.pkl", b"\x80\x02).")
        archive.writestr("a/data/0", struct.pack("=4f", 1, 2, 3, 4))
    return path


STORAGE = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ"


def rebuild(size, offset=b"K\x00", stride=b"K\x01"):
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + STORAGE + offset + b"(" + size + b"t(" + stride + b"t\x89}tR"


def test_one_storage_by_hand(tmp_path):
    module = b"\x80\x02c__torch__\nM\n)\x81}X\x01\x00\x00\x00w" + rebuild(b"K\x04") + b"sb."
    path = with_pickle(tmp_path / "a.pt", module)
    assert load_archive(path)["w"].tolist() == [1, 2, 3, 4]
    swapped = repack(path, tmp_path / "big.pt")
    with zipfile.ZipFile(swapped, "a") as archive:
        archive.writestr("a/byteorder", b"big" if sys.byteorder == "little" else b"little")
    assert load_archive(swapped)["w"].tolist() == [struct.unpack(">f", struct.pack("<f", x))[0] for x in (1, 2, 3, 4)]


REFUSALS = (pickle.UnpicklingError, TypeError, AttributeError, ValueError, RuntimeError, EOFError, IndexError)


class Call:
    """Pickled as a call of any function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "code",
    [
        pickle.dumps(Call(os.system, "touch {}"), 2),
        pickle.dumps(Call(os.mkdir, "{}"), 4),
        pickle.dumps(Call(exec, "open('{}', 'w')"), 2),
        pickle.dumps(Call(torch.load, "{}"), 2),
        b"\x80\x02cdassl.utils\nmkdir_if_missing\nX\x02\x00\x00\x00{}\x85R.",
        b"\x80\x02ctorch\nsave\n(K\x01X\x02\x00\x00\x00{}tR.",
        b"\x80\x02c__torch__\nM\nN}X\x01\x00\x00\x00xK\x01s\x86b.",  # change the class that stands for modules
        b"\x80\x02ccollections\nOrderedDict\nN}X\x05\x00\x00\x00itemsK\x01s\x86b.",
        b"\x80\x02ctorch\nFloatStorage\nN}X\x05\x00\x00\x00dtypeK\x01s\x86b.",
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x05\x00\x00\x00_callK\x01sb.",
        b"\x80\x02X\x02\x00\x00\x00pidQ.",
        b"\x80\x02K\x01Q.",
        b"\x80\x02" + STORAGE.replace(b"K\x04", b"K\x05") + b".",
        b"\x80\x02" + STORAGE.replace(b"Float", b"Long") + b".",
        b"\x80\x02" + STORAGE.replace(b"\x01\x00\x00\x000", b"\x04\x00\x00\x00../0") + b".",
        b"\x80\x02" + rebuild(b"K\x05") + b".",
        b"\x80\x02" + rebuild(b"K\x02", b"K\x03") + b".",
        b"\x80\x02" + rebuild(b"J\xff\xff\xff\x7f", stride=b"K\x00") + b".",
        b"\x80\x02" + rebuild(b"X\x01\x00\x00\x00x") + b".",
        b"\x80\x02c__torch__\nM\n)\x81q\x00}X\x01\x00\x00\x00mh\x00sb.",  # a module inside itself
        b"\x80\x02c__torch__\nM\n)\x81}X\x03\x00\x00\x00a.bK\x01sb.",
        b"\x80\x02c__torch__\nM\n)\x81}K\x05K\x01sb.",
        b"\x80\x02c__torch__\nM\n)\x81)b.",
        b"\x80\x02",
        b"",
        b"\xff" * 20,
        b"\x80\x02]" * 3,
        b"\x80\x02(((.",
        b"\x80\x02}(" + b")" + b"\x85" * 300_000 + b"Nu.",  # whose hash overflows the stack of C
    ],
)
def test_any_other_pickle_is_inert_and_refused(tmp_path, code):
    (tmp_path / "run").mkdir()
    path = with_pickle(tmp_path / "bad.pt", code.replace(b"{}", b"xx"))
    here = os.getcwd()
    os.chdir(tmp_path / "run")
    try:
        with pytest.raises(REFUSALS):
            load_archive(path)
    finally:
        os.chdir(here)
    assert not list((tmp_path / "run").iterdir())
    assert load_archive(with_pickle(tmp_path / "good.pt", b"\x80\x02" + rebuild(b"K\x02") + b".")).tolist() == [1, 2]


def test_modules_that_multiply_are_refused(tmp_path):
    """Forty modules, each holding the next one twice: a trillion names."""
    module = b"c__torch__\nM\n)\x81q\x00"
    for i in range(40):
        module = module + b"0c__torch__\nM\n)\x81q%c}(X\x01\x00\x00\x00ah%cX\x01\x00\x00\x00bh%cub" % (i + 1, i, i)
    with pytest.raises(pickle.UnpicklingError, match="modules"):
        load_archive(with_pickle(tmp_path / "many.pt", b"\x80\x02" + module + b"."))


def test_deep_pickles_are_refused_before_torch_reads_them(tmp_path):
    deep = b"\x80\x02}(" + b")" + b"\x85" * 300_000 + b"Nu."
    with pytest.raises(pickle.UnpicklingError, match="tuples"):
        refuse_harmful_file(with_pickle(tmp_path / "zip", deep))
    (tmp_path / "old").write_bytes(b"\x80\x02N.\x80\x02N." + deep)
    with pytest.raises(pickle.UnpicklingError, match="tuples"):
        refuse_harmful_file(tmp_path / "old")
    for new_format in (True, False):
        torch.save({"w": torch.ones(2)}, tmp_path / "good", _use_new_zipfile_serialization=new_format)
        refuse_harmful_file(tmp_path / "good")


def damaged(source, target, how):
    """A copy of an archive with one kind of damage."""
    data = bytearray(source.read_bytes())
    with zipfile.ZipFile(source) as archive:
        info = next(i for i in archive.infolist() if i.filename.endswith("data/3"))
    if how == "cut":
        data = data[: len(data) // 2]
    elif how == "one byte of a tensor":
        data[data.index(b"data/3") + 40 + 64] ^= 1
    elif how == "encrypted":
        data[bytes(data).rindex(b"data/3") - len("scripted/") - 46 + 8] |= 1
        data[info.header_offset + 6] |= 1
    elif how == "unknown compression":
        data[bytes(data).rindex(b"data/3") - len("scripted/") - 46 + 10] = 99
    target.write_bytes(bytes(data))
    return target


@pytest.mark.parametrize("how", ["cut", "one byte of a tensor", "encrypted", "unknown compression"])
def test_damaged_zips_are_refused(archives, tmp_path, how):
    with pytest.raises((zipfile.BadZipFile, RuntimeError, NotImplementedError)):
        load_archive(damaged(archives / "scripted.pt", tmp_path / "damaged.pt", how))


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressions_that_pytorch_never_writes_are_refused(archives, tmp_path, compression):
    with pytest.raises(zipfile.BadZipFile, match="compressed"):
        load_archive(repack(archives / "scripted.pt", tmp_path / "other.pt", compression))


def test_ambiguous_and_inflated_zips_are_refused(archives, tmp_path, monkeypatch):
    for change in (dict(data_pkl=None), dict(byteorder=b"middle")):
        with pytest.raises((zipfile.BadZipFile, pickle.UnpicklingError)):
            load_archive(repack(archives / "scripted.pt", tmp_path / "a.pt", **change))
    twice = repack(archives / "scripted.pt", tmp_path / "twice.pt")
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(twice, "a") as archive:
        archive.writestr(next(n for n in archive.namelist() if n.endswith("data.pkl")), b"\x80\x02N.")
    with pytest.raises(zipfile.BadZipFile, match="same name"):
        load_archive(twice)
    monkeypatch.setattr("dassl.utils.archives._SMALL", 2**16)
    with zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", b"\x80\x02N.")
        archive.writestr("a/data/0", bytes(2**20))
    with pytest.raises(zipfile.BadZipFile, match="times its size"):
        load_archive(tmp_path / "bomb.pt")


def test_every_flipped_byte_gives_tensors_or_an_exception(tmp_path):
    """No flip ends Python, hangs, or changes a tensor: whatever a checksum covers is refused."""
    torch.jit.script(nn.Linear(1, 1)).save(str(tmp_path / "small.pt"))
    data, expected = (tmp_path / "small.pt").read_bytes(), load_archive(tmp_path / "small.pt")
    path, read = tmp_path / "flipped.pt", 0
    for position in range(0, len(data), 7):
        flipped = bytearray(data)
        flipped[position] ^= 1 << position % 8
        path.write_bytes(bytes(flipped))
        try:
            tensors = load_archive(path)
        except Exception:
            continue
        read += 1
        assert same(tensors, expected), position
    assert read > 100  # padding, code and constants may be anything


def test_a_file_that_is_no_zip(tmp_path):
    (tmp_path / "text").write_bytes(b"text")
    (tmp_path / "empty").write_bytes(b"")
    assert not is_archive(tmp_path / "text") and not is_archive(tmp_path / "empty")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a/b", b"")
    (tmp_path / "zip").write_bytes(buffer.getvalue())
    assert is_archive(tmp_path / "zip")
    with pytest.raises(zipfile.BadZipFile, match="data.pkl"):
        load_archive(tmp_path / "zip")
