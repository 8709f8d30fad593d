"""The packed weights: complete, checked, and the same everywhere."""

import shutil

import numpy as np
import pytest
import torch

from dassl.utils.errors import UserError
from promptshift.mini import load_mini, load_mini_state_dict, mini_config
from promptshift.mini.model import CONFIG, CONFIGS, build_clip
from promptshift.mini.pretraining_set import CaptionTokens
from promptshift.mini.weights import MINI_WEIGHTS, WEIGHTS, pack, read_packed


@pytest.mark.parametrize("name", CONFIGS)
def test_state_dict_is_a_full_openai_clip(name):
    state_dict, config = load_mini(name)
    build_clip(config).load_state_dict(state_dict, strict=True)
    assert state_dict["logit_scale"].shape == ()
    assert all(value.dtype == torch.float32 and value.isfinite().all() for value in state_dict.values())
    assert state_dict["token_embedding.weight"].shape == (49408, config["text_width"])
    assert WEIGHTS[name].stat().st_size < 8e6


@pytest.mark.parametrize("name", CONFIGS)
def test_config_agrees_with_the_tensors(name):
    state_dict, config = load_mini(name)
    width, _, patch, _ = state_dict["visual.conv1.weight"].shape
    patches = state_dict["visual.positional_embedding"].shape[0] - 1
    assert (config["vision_width"], config["patch_size"]) == (width, patch)
    assert config["image_size"] == patch * round(patches**0.5)
    assert (config["context_length"], config["text_width"]) == state_dict["positional_embedding"].shape
    assert config["embed_dim"] == state_dict["text_projection"].shape[1]
    # One head per 64 channels: loaders that infer the heads from the width agree with the metadata.
    assert (config["vision_heads"], config["text_heads"]) == (width // 64, config["text_width"] // 64)
    assert {key: tuple(value) if isinstance(value, list) else value for key, value in config.items()} == CONFIGS[name]


def test_the_large_one_is_refused_by_its_own_name(tmp_path):
    with pytest.raises(UserError, match=r"CLIP mini_large are missing.*--model mini_large"):
        load_mini("mini_large", tmp_path / "absent.npz")
    with pytest.raises(UserError, match=r"mini_clip\.npz: SHA-256 is .* --model mini_large"):
        load_mini("mini_large", MINI_WEIGHTS)


def test_untrained_rows_come_from_the_fixed_stream():
    table = load_mini_state_dict()["token_embedding.weight"].numpy()
    stream = np.random.default_rng(0).standard_normal((49408, 128), dtype=np.float32) * np.float32(0.02)
    untouched = np.setdiff1d(np.arange(49408), CaptionTokens().token_ids)
    assert np.array_equal(table[untouched], stream[untouched])
    trained = CaptionTokens().token_ids
    assert (table[trained] != stream[trained]).any(axis=1).all()


def test_tampered_and_missing_files_are_refused(tmp_path):
    tampered = tmp_path / "mini_clip.npz"
    shutil.copy(MINI_WEIGHTS, tampered)
    with open(tampered, "r+b") as stream:
        stream.seek(5000)
        byte = stream.read(1)
        stream.seek(5000)
        stream.write(bytes([byte[0] ^ 1]))
    for read in (load_mini_state_dict, mini_config):
        with pytest.raises(UserError, match=r"mini_clip\.npz: SHA-256 is .* promptshift\.mini\.pretrain"):
            read(tampered)
        with pytest.raises(UserError, match=r"absent\.npz.*missing.*promptshift\.mini\.pretrain"):
            read(tmp_path / "absent.npz")


def test_pack_and_read_are_inverse(tmp_path):
    torch.manual_seed(0)
    clip, token_ids = build_clip(CONFIG, vocab_size=3), [7, 320, 49407]
    checksums = {pack(clip.state_dict(), token_ids, CONFIG, tmp_path / name) for name in ("a.npz", "b.npz")}
    assert len(checksums) == 1, "the same weights give the same bytes"
    state_dict, config = read_packed(tmp_path / "a.npz")
    assert config["vision_layers"] == CONFIG["vision_layers"]
    rows = state_dict.pop("token_embedding.weight")[token_ids]
    original = clip.state_dict()
    assert torch.equal(rows, original.pop("token_embedding.weight").half().float())
    assert all(torch.equal(state_dict[name], value.half().float()) for name, value in original.items())
