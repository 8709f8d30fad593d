"""CLIP weight files: every form is read to the bit, everything else is refused in one line, nothing runs."""

import os
import pickle
import random
import zipfile
from collections import OrderedDict

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import clip
import helpers.goldens_recipe as recipe
from dassl.utils.errors import UserError
from promptshift.modeling.backbones.weights import read_state_dict
from promptshift.modeling.clip import load_clip

FORMS = ("scripted", "saved", "legacy", "safetensors")


def write(state, path, form):
    """Write a state dict in one of the forms that CLIPs come in."""
    if form == "scripted":
        torch.jit.script(as_module(state)).save(str(path))
    elif form == "safetensors":
        path = path.with_suffix(".safetensors")
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=form == "saved")
    return path


def as_module(state):
    """A scriptable module tree with the given state dict, as OpenAI's archives have it."""
    root = nn.Module()
    for key, value in state.items():
        *path, leaf = key.split(".")
        node = root
        for name in path:
            if name not in node._modules:
                node.add_module(name, nn.Module())
            node = node._modules[name]
        node.register_buffer(leaf, value)
    return root


def refused(path):
    """The message of the refusal, which is one short line and names the file."""
    with pytest.raises(UserError) as error:
        read_state_dict(path)
    message = str(error.value)
    assert "\n" not in message and os.path.basename(path)[:50] in message and len(message) < 800, message
    return message


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["vit", "rn"])
def test_every_form_gives_the_same_tensors(tmp_path, form, kind):
    state = {k: v.half() if v.ndim > 1 else v for k, v in recipe.state_dict(kind).items()}
    sizes = {"input_resolution": torch.tensor(32), "context_length": torch.tensor(77)}
    read = read_state_dict(write(state | sizes, tmp_path / "clip.pt", form))
    assert set(read) == set(state)
    assert all(torch.equal(read[k], state[k]) and read[k].dtype == state[k].dtype for k in state)


def test_a_scripted_module_that_writes_a_file_when_it_is_loaded_writes_none(tmp_path):
    class Wolf(nn.Module):
        def __init__(self, path: str):
            super().__init__()
            self.w, self.path = torch.ones(3), path

        def forward(self, x):
            return x + self.w

        @torch.jit.export
        def __getstate__(self):
            return self.w, self.path, self.training

        @torch.jit.export
        def __setstate__(self, state: tuple[torch.Tensor, str, bool]):
            self.w, self.path, self.training = state[0], state[1], state[2]
            torch.save(self.w, self.path)

    module = as_module(recipe.state_dict())
    module.visual.add_module("wolf", Wolf(str(tmp_path / "harm")))
    torch.jit.script(module).save(str(tmp_path / "wolf.pt"))
    assert "__setstate__" in refused(tmp_path / "wolf.pt")
    assert not (tmp_path / "harm").exists()


class Bomb:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("form", ["saved", "legacy", "bare pickle"])
def test_pickles_that_call_functions_run_nothing(tmp_path, form):
    content = recipe.state_dict() | {"visual.bomb": Bomb(tmp_path / "harm")}
    if form == "bare pickle":
        (tmp_path / "bad.pt").write_bytes(pickle.dumps(content))
    else:
        write(content, tmp_path / "bad.pt", form)
    refused(tmp_path / "bad.pt")
    assert not (tmp_path / "harm").exists()


def test_a_torchscript_archive_in_the_disguise_of_a_state_dict(tmp_path):
    """`torch.load` hands whatever has a constants.pkl to TorchScript; here no zip reaches it."""
    path = write(recipe.state_dict(), tmp_path / "clip.pt", "saved")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("clip/constants.pkl", b"\x80\x02).")
        archive.writestr("clip/code/__torch__.py", b"import os")
    assert set(read_state_dict(path)) == set(recipe.state_dict())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"text",
        b"PK\x03\x04",
        b"PK\x05\x06" + bytes(18),
        b"\x80\x02N.",
        b"\x80\x02]." * 5,
        b"\x80" * 1000,
        b"\x80\x02}(" + b")" + b"\x85" * 300_000 + b"Nu.",
        b"\x80\x04\x95" + b"\xff" * 8,
        b"\x80\x02\x8d" + b"\xff" * 7 + b"\x7f",
        b"(" * 100_000 + b".",
        b"I" + b"9" * 5000 + b"\n.",
        b"\x80\x02Nr\xff\xff\xff\x7f.",
    ],
    ids=range(13),
)
@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_files_that_are_no_weights_are_one_line(tmp_path, content, suffix):
    path = tmp_path / f"weights.{suffix}"
    path.write_bytes(content)
    refused(path)


def test_paths_that_lead_to_no_file_are_one_line(tmp_path):
    os.mkfifo(tmp_path / "fifo.pt")
    for path in (
        tmp_path,
        tmp_path / "none.pt",
        tmp_path / "fifo.pt",
        "a" * 10_000,
        "~nobody-has-this-name/clip.pt",
        str(tmp_path / "new\nline.pt").replace("\n", ""),
    ):
        refused(path)
    with pytest.raises(UserError, match=r"no such file .*line\.pt") as error:
        read_state_dict(tmp_path / "a new\nline.pt")
    assert "\n" not in str(error.value)


@pytest.mark.filterwarnings("ignore:invalid escape", "ignore:Detected pickle protocol")
@pytest.mark.parametrize("form", FORMS)
def test_damaged_files_give_weights_or_one_line(tmp_path, form):
    """A byte changed, a piece cut out or put in, at 60 places each."""
    state = {"token_embedding.weight": torch.ones(2, 2), "visual.proj": torch.ones(2, 2).half()}
    data = write(state, tmp_path / "good.pt", form).read_bytes()
    path = tmp_path / ("bad.safetensors" if form == "safetensors" else "bad.pt")
    draw, outcomes = random.Random(form), set()
    for _ in range(60):
        at, length = draw.randrange(len(data)), draw.choice((1, 8, 100, len(data)))
        for changed in (
            data[:at] + bytes([draw.randrange(256)]) + data[at + 1 :],
            data[:at] + data[at + length :],
            data[:at] + draw.randbytes(length) + data[at:],
        ):
            path.write_bytes(changed)
            try:
                outcomes.add(type(read_state_dict(path)))
            except UserError as error:
                outcomes.add(UserError)
                assert "\n" not in str(error) and path.name in str(error)
    assert outcomes == {dict, UserError}


NAN, INF = float("nan"), float("inf")
PROJ, CONV, LN = "visual.proj", "visual.conv1.weight", "ln_final.weight"


def small(kind="vit"):
    """The recipe's weights with a vocabulary of 64 words, which makes files of 3 MB."""
    state = recipe.state_dict(kind)
    return state | {"token_embedding.weight": state["token_embedding.weight"][:64].clone()}


def filled(name, value, dtype=torch.float32):
    """The tensor of the recipe with one number replaced."""
    tensor = small()[name].to(dtype).clone()
    tensor.view(-1)[-1] = value
    return tensor


@pytest.mark.parametrize(
    "name, value",
    [
        (5, torch.ones(1)),
        (None, torch.ones(1)),
        (("a", "b"), torch.ones(1)),
        (PROJ, None),
        (PROJ, 1 + 2j),
        (PROJ, 3),
        (PROJ, [1.0]),
        (PROJ, "text"),
        (PROJ, {}),
        (PROJ, torch.ones(192, 64, dtype=torch.complex64)),
        (PROJ, torch.ones(192, 64, dtype=torch.int64)),
        (PROJ, torch.ones(192, 64, dtype=torch.bool)),
        (PROJ, torch.ones(192, 64, dtype=torch.int8)),
        (PROJ, filled(PROJ, NAN)),
        (PROJ, filled(PROJ, INF, torch.float16)),
        (PROJ, filled(PROJ, NAN, torch.bfloat16)),
        (PROJ, filled(PROJ, 1e300, torch.float64)),
        ("logit_scale", torch.tensor(NAN)),
        ("logit_scale", torch.ones(1)),
        (PROJ, torch.ones(192)),
        (PROJ, torch.ones(0, 0)),
        (PROJ, torch.ones(192, 65)),
        (CONV, torch.ones(192, 3, 8)),
        (CONV, torch.ones(192, 3, 0, 0)),
        (CONV, torch.ones(100, 3, 8, 8)),
        (CONV, torch.ones(192, 3, 8, 4)),
        (LN, torch.ones(100)),
        (LN, torch.ones(2**20)),
        (LN, torch.ones(2, 64)),
        ("text_projection", torch.ones(128)),
        ("visual.positional_embedding", torch.ones(19, 192)),
        ("positional_embedding", torch.ones(77)),
        ("token_embedding.weight", torch.ones(64, 3)),
        ("visual.more", torch.ones(2)),
        ("n" * 5000, torch.ones(2)),
        ("transformer.resblocks.9.ln_1.weight", torch.ones(128)),
        ("visual.ln_pre.num_batches_tracked", torch.ones(())),
    ],
)
def test_an_odd_entry_is_refused_with_its_name(tmp_path, name, value):
    path = tmp_path / "odd.pt"
    torch.save(small() | {name: value}, path)
    with pytest.raises(UserError) as error:
        load_clip("ViT-B/16", path=str(path))
    message = str(error.value)
    assert "odd.pt" in message and "MODEL.BACKBONE.PATH" in message and "\n" not in message and len(message) < 800
    assert str(name)[:40] in message or "transformer.resblocks" in message or name == LN, message
    with pytest.raises(UserError, match="odd.pt"):
        clip.load(str(path), device="cpu")


@pytest.mark.parametrize("kind", ["vit", "rn"])
def test_every_missing_tensor_is_named(tmp_path, kind):
    state = small(kind)
    path = tmp_path / "part.pt"
    for name in (
        *list(state)[::9],
        "logit_scale",
        "text_projection",
        "ln_final.weight",
        "ln_final.bias",
        "visual.conv1.weight",
        "visual.attnpool.positional_embedding",
        "positional_embedding",
    ):
        if name in state:
            torch.save({k: v for k, v in state.items() if k != name}, path)
            with pytest.raises(UserError, match="part.pt") as error:
                load_clip("RN50", path=str(path))
            assert name in str(error.value) or "holds no CLIP" in str(error.value) or "blocks" in str(error.value)


def test_blocks_by_the_hundred_are_refused_before_they_are_built(tmp_path):
    state, one = small(), torch.ones(128)
    torch.save(state | {f"transformer.resblocks.{i}.ln_1.weight": one for i in range(5000)}, tmp_path / "deep.pt")
    with pytest.raises(UserError, match="deep.pt.*5000 blocks transformer.resblocks"):
        load_clip("ViT-B/16", path=str(tmp_path / "deep.pt"))


def test_two_names_of_one_weight_are_refused(tmp_path):
    torch.save(small() | {"module.logit_scale": torch.ones(())}, tmp_path / "twice.pt")
    assert "module." in refused(tmp_path / "twice.pt")


class Tampered(OrderedDict):
    """Comes back from a pickle as an OrderedDict whose methods are texts."""

    def __reduce__(self):
        return OrderedDict, (), dict.fromkeys(("items", "keys", "get"), "no function"), None, iter(self.items())


@pytest.mark.parametrize("form", ["saved", "legacy"])
def test_a_state_dict_with_methods_of_its_own_is_read_as_a_dict(tmp_path, form):
    path = write(Tampered(state=Tampered(small())), tmp_path / "tampered.pt", form)
    refused(path)  # holds no CLIP
    path = write(Tampered(state_dict=Tampered(small())), tmp_path / "tampered.pt", form)
    assert set(read_state_dict(path)) == set(small())


def test_the_mask_that_a_scripted_clip_stores_is_no_weight(tmp_path):
    state = small() | {"attn_mask": torch.full((77, 77), -INF).triu(1)}
    torch.save(state, tmp_path / "mask.pt")
    assert "attn_mask" not in read_state_dict(tmp_path / "mask.pt")


def test_weights_that_half_precision_cannot_hold_are_named(tmp_path):
    torch.save(small() | {PROJ: filled(PROJ, 1e6)}, tmp_path / "large.pt")
    assert load_clip("ViT-B/16", path=str(tmp_path / "large.pt"), precision="bf16").dtype == torch.bfloat16
    with pytest.raises(UserError, match="visual.proj .*precision fp16"):
        load_clip("ViT-B/16", path=str(tmp_path / "large.pt"), precision="fp16")


def test_files_for_open_clips_own_models_are_looked_at_too(tmp_path):
    for value, word in ((filled(PROJ, NAN), "finite"), (torch.ones(192, 64, dtype=torch.int64), "int64")):
        torch.save(small() | {PROJ: value}, tmp_path / "odd.pt")
        with pytest.raises(UserError, match=f"odd.pt: visual.proj .*{word}"):
            load_clip("ViT-B-32-quickgelu:openai", path=str(tmp_path / "odd.pt"))


@pytest.mark.filterwarnings("ignore:Validating sparse", "ignore:TypedStorage")
@pytest.mark.parametrize("form", ["saved", "legacy"])
def test_tensors_that_are_not_dense_are_refused(tmp_path, form):
    for value in (torch.ones(192, 64).to_sparse(), torch.empty(192, 64, device="meta")):
        refused(write(small() | {PROJ: value}, tmp_path / "other.pt", form))
