"""The `clip` drop-in: OpenAI's names and conventions, zeroshot.json's numbers, nothing lost of a float32 file."""

import functools
import hashlib
import http.server
import threading

import numpy as np
import pytest
import torch
from PIL import Image

import clip as package
import helpers.goldens_recipe as recipe
from clip import clip
from clip.model import convert_weights
from clip.simple_tokenizer import SimpleTokenizer
from dassl.utils.errors import UserError
from promptshift.mini.weights import load_mini_state_dict
from promptshift.modeling.clip import load_clip

NO_PROMPTS = dict(trainer="IVLP", vision_depth=0, language_depth=0, vision_ctx=0, language_ctx=0)


def golden_clip(kind="vit", design=None):
    return clip.build_model(recipe.state_dict(kind), design).float()


@pytest.mark.stored
@pytest.mark.parametrize("kind", ["vit", "rn"])
@pytest.mark.parametrize("design", [None, NO_PROMPTS])
def test_zero_shot_numbers_of_the_released_code(kind, design):
    golden, model = recipe.golden("zeroshot")["cases"][kind], golden_clip(kind, design)
    ids, images = clip.tokenize(golden["prompts"]), recipe.images(golden["image_tag"], res=golden["res"])
    assert [row[: eot + 1].tolist() for row, eot in zip(ids, golden["eot_index"])] == golden["token_ids"]
    with torch.no_grad():
        np.testing.assert_allclose(model.encode_image(images), golden["image_features_unnormalised"], atol=1e-4)
        np.testing.assert_allclose(model.encode_text(ids), golden["text_features_unnormalised"], atol=1e-4)
        per_image, per_text = model(images, ids)
    np.testing.assert_allclose(per_image, golden["logits"], atol=3e-4)
    torch.testing.assert_close(per_text, per_image.T)
    assert (model.visual.input_resolution, model.visual.output_dim) == (golden["res"], 64)


def test_half_precision_as_upstream_and_exact_float32_back():
    state = recipe.state_dict()
    model = clip.build_model(state | {"input_resolution": torch.tensor(32)})
    assert model.dtype == model.text_projection.dtype == model.visual.proj.dtype == torch.float16
    assert model.ln_final.weight.dtype == model.token_embedding.weight.dtype == torch.float32
    images, ids = recipe.images(), clip.tokenize(["a dog", "a house"])
    with torch.no_grad():
        half = model(images, ids)[0]
        model.text_projection.data.mul_(2)  # trained in half precision: stays as it is
        exact = model.float()(images, ids)[0]
    torch.testing.assert_close(half.float(), exact, atol=0.1, rtol=0)
    restored = {k: v for k, v in model.state_dict().items() if k != "text_projection"}
    assert set(restored) | {"text_projection"} == set(state)
    assert all(torch.equal(restored[name], state[name]) for name in restored)
    assert torch.equal(model.text_projection, 2 * state["text_projection"].half().float())
    convert_weights(model)
    assert model.dtype == model.text_projection.dtype == torch.float16


def test_the_embedded_world_loads_as_openais_files_do(tmp_path, monkeypatch):
    monkeypatch.setenv("OUTPUT", str(tmp_path))
    path = clip._download(clip._MODELS["mini"])
    with pytest.raises(RuntimeError):
        torch.jit.load(path, map_location="cpu")
    weights, expected = torch.load(path, map_location="cpu"), load_mini_state_dict()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    model, transform = package.load("mini", device="cpu")
    image = transform(Image.new("RGB", (60, 90), "red")).unsqueeze(0)
    assert model.dtype == torch.float32 and image.shape == (1, 3, 48, 48)
    ids = clip.tokenize("a photo of a dog.")
    ours = load_clip("mini")
    with torch.no_grad():
        torch.testing.assert_close(model.encode_image(image), ours.encode_image(image), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(model.encode_text(ids), ours.model.encode_text(ids), atol=1e-5, rtol=1e-5)


def test_names_and_bad_input():
    assert {"RN50", "ViT-B/16", "ViT-L/14@336px", "mini"} <= set(package.available_models())
    with pytest.raises(UserError, match="'ViT-B/61'.*did you mean 'ViT-B/16'"):
        package.load("ViT-B/61")
    with pytest.raises(UserError, match="jit True"):
        package.load("mini", jit=True)
    with pytest.raises(UserError, match="positions"):
        package.tokenize("dog " * 80)
    cut = package.tokenize(["dog " * 80, "dog"], truncate=True)
    assert cut.shape == (2, 77) and cut.dtype == torch.int64 and cut.argmax(dim=-1).tolist() == [76, 2]


def test_openais_special_tokens():
    tokenizer = SimpleTokenizer()
    assert [tokenizer.encoder[name] for name in ("<|startoftext|>", "<|endoftext|>")] == [49406, 49407]
    assert tokenizer.encode("<|startoftext|>A  dog<|endoftext|>") == [49406, 320, 1929, 49407]
    assert tokenizer.decode([320, 1929, 49407]) == "a dog <|endoftext|>" and len(tokenizer.encoder) == 49408


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path):
    """(folder, address) of a web server on this machine."""
    handler = functools.partial(Quiet, directory=str(tmp_path / "served"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield tmp_path / "served", f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()


def test_downloads_are_kept_and_checked_against_the_hash_in_their_address(server, tmp_path):
    folder, address = server
    good, bad = hashlib.sha256(b"weights").hexdigest(), "0" * 64
    for name in (good, bad):
        (folder / name).mkdir(parents=True)
        (folder / name / "Tiny.pt").write_bytes(b"weights")
    path = clip._download(f"{address}/{good}/Tiny.pt", tmp_path / "cache")
    assert open(path, "rb").read() == b"weights"
    (folder / good / "Tiny.pt").unlink()
    assert clip._download(f"{address}/{good}/Tiny.pt", tmp_path / "cache") == path
    with pytest.raises(UserError, match="SHA-256"):
        clip._download(f"{address}/{bad}/Tiny.pt", tmp_path / "other")
    assert all(len(url.split("/")[-2]) == 64 for name, url in clip._MODELS.items() if name != "mini")


def test_deep_prompts_are_replaced_block_by_block_in_both_conventions():
    """What the towers own (VPT) and what they are handed are the same computation."""
    design = dict(trainer="IVLP", vision_depth=3, language_depth=3, vision_ctx=2, language_ctx=2)
    owning, handed = golden_clip(design=design), golden_clip(design=dict(NO_PROMPTS, trainer="MaPLe", maple_length=2))
    learnt = [name for name, _ in owning.named_parameters() if "VPT" in name]
    assert learnt == [
        "visual.VPT",
        *(f"{tower}transformer.resblocks.{i}.VPT_shallow" for tower in ("visual.", "") for i in (1, 2)),
    ]
    images, x = recipe.images(), torch.randn(77, 3, 128)
    vision, text = (
        [block.VPT_shallow for block in tower.resblocks[1:3]]
        for tower in (owning.visual.transformer, owning.transformer)
    )
    with torch.no_grad():
        torch.testing.assert_close(owning.visual(images), handed.visual(images, owning.visual.VPT, vision))
        out, prompts, used = handed.transformer([x, text, 0])
        torch.testing.assert_close(owning.transformer(x), out)
        assert prompts is text and used == 2
        tokens = torch.randn(19, 2, 192)
        torch.testing.assert_close(owning.visual.transformer(tokens), handed.visual.transformer([tokens, vision, 0])[0])
        assert not torch.allclose(owning.transformer(x), golden_clip().transformer(x))
        handed.visual(images, owning.visual.VPT, vision * 9)  # more prompts than blocks: the rest is not used
