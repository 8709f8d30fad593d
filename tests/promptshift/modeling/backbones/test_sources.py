"""Where weights come from: caches, a local imitation of the hub, and one quick line where nothing answers."""

import hashlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from huggingface_hub import constants

import helpers.goldens_recipe as recipe
from dassl.utils.errors import UserError
from helpers.clip_formats import hub_folder, to_transformers, transformers_config
from helpers.families import write
from promptshift.modeling.clip import load_clip

COMMIT = "0" * 40


class Hub(BaseHTTPRequestHandler):
    """The addresses that huggingface_hub asks for a file, of the repositories ORG/NAME below `self.server.folder`."""

    def do_HEAD(self):
        self.answer(False)

    def do_GET(self):
        self.answer(True)

    def answer(self, body):
        if "/resolve/" in self.path:  # what the client asks about itself is none of ours
            self.server.asked.append(f"{self.command} {self.path}")
        repository, _, name = self.path.strip("/").partition("/resolve/main/")
        folder = self.server.folder / repository
        if not (folder / name).is_file():
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound" if name and folder.is_dir() else "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        data = (folder / name).read_bytes()
        self.send_response(200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(tmp_path):
    """A server of the repositories below tmp_path/hub; `asked` lists what was asked for."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.folder, server.asked = tmp_path / "hub", []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def load(tmp_path, monkeypatch):
    """load(name, endpoint) -> what is said of the CLIP, or the refusal; one home and one cache for the whole test."""
    monkeypatch.setenv("HOME", str(tmp_path))

    def run(name, endpoint, offline=False):
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)  # HF_ENDPOINT is read once, and made part of the other
        template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
        for proxy in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(proxy, endpoint if endpoint == NOWHERE else "")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        try:
            return load_clip(name, cache_dir=str(tmp_path / "hub_cache")).describe()
        except UserError as error:
            return f"refused: {error}"

    return run


NOWHERE = "http://127.0.0.1:9"  # nothing listens at the discard port


@pytest.mark.parametrize("layout", ["open_clip", "transformers"])
def test_a_repository_of_the_hub_is_fetched_once_and_then_found_in_the_cache(hub, load, layout):
    folder = hub.folder / "org" / "tiny"
    folder.mkdir(parents=True)
    if layout == "open_clip":
        write("OpenAI ViT", folder)
    else:
        hub_folder(folder, to_transformers(recipe.state_dict()), "config.json", transformers_config())
    first = load("hf-hub:org/tiny", f"http://127.0.0.1:{hub.server_port}")
    assert first.startswith("CLIP hf-hub:org/tiny: image 32 px, embedding 64"), first
    asked = len(hub.asked)
    for endpoint in (f"http://127.0.0.1:{hub.server_port}", NOWHERE):
        assert load("hf-hub:org/tiny", endpoint) == first
    assert len(hub.asked) == asked  # what is in the cache is not asked for


def test_a_repository_that_is_not_there_is_one_line(hub, load):
    hub.folder.mkdir()
    (hub.folder / "org" / "empty").mkdir(parents=True)
    reasons = {"org/none": "RepositoryNotFound", "org/empty": "has no open_clip_config.json", "a/b/c": "a/b/c"}
    for name, reason in (reasons | {"x" * 200: "xxx"}).items():
        said = load(f"hf-hub:{name}", f"http://127.0.0.1:{hub.server_port}")
        assert said.startswith("refused: MODEL.BACKBONE.NAME:") and "local-dir:FOLDER" in said, said
        assert "\n" not in said and reason in said.split("downloaded")[1], said


@pytest.mark.parametrize(
    "name, words",
    [
        ("hf-hub:org/tiny", ["org/tiny", "open_clip_config.json", "local-dir:FOLDER"]),
        ("ViT-B-32:laion2b_s34b_b79k", ["laion/CLIP-ViT-B-32", "open_clip_model.safetensors", "MODEL.BACKBONE.PATH"]),
        ("ViT-B/16", [".cache/clip/ViT-B-16.pt", "MODEL.BACKBONE.PATH", "mini"]),
    ],
)
def test_without_network_one_line_says_soon_which_file_to_put_where(load, name, words):
    start = time.monotonic()
    said = load(name, NOWHERE)
    seconds = time.monotonic() - start
    assert said.startswith("refused: ") and "\n" not in said and all(word in said for word in words), said
    assert seconds < 15  # 56 s of retries once; most of it is the import of open_clip
    said = load(name, NOWHERE, offline=True)
    assert all(word in said for word in words)


@pytest.mark.parametrize("name, file", [("ViT-B/16", "ViT-B-16.pt"), ("ViT-L/14@336px", "ViT-L-14-336px.pt")])
def test_openai_s_own_cache_is_used(load, tmp_path, name, file):
    (tmp_path / ".cache" / "clip").mkdir(parents=True)
    (tmp_path / ".cache" / "clip" / file).write_bytes(b"no weights")
    said = load(name, NOWHERE)
    assert "is not a readable CLIP weight file" in said and file in said


def test_the_configuration_of_a_repository_is_data(hub, load):
    folder = hub.folder / "org" / "odd"
    folder.mkdir(parents=True)
    write("OpenAI ViT", folder)
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": {"embed_dim": "x"}}))
    said = load("hf-hub:org/odd", f"http://127.0.0.1:{hub.server_port}")
    assert said.startswith("refused: ") and "embed_dim" in said
