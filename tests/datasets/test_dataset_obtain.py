"""Missing data: download, unpacking, resuming, and the one line that says what to do."""

import http.server
import io
import threading
import zipfile
from functools import partial
from pathlib import Path

import pytest

import datasets._obtain as obtain_module
from dassl.utils.errors import UserError
from datasets._facts import Archive, DomainSet
from datasets._obtain import obtain
from helpers.dataset_trees import PACS, PNG, build, make_pacs, write_images


def zip_bytes(names: list[str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, PNG)
    return buffer.getvalue()


def pacs_zip(prefix: str) -> bytes:
    return zip_bytes([f"{prefix}{domain}/dog/{index}.png" for domain in PACS for index in range(4)])


@pytest.fixture
def fetched(monkeypatch):
    """Replaces the network: `fetched.content[source]` is what a source delivers, anything else fails."""

    def fetch(source, dst, size=None, sha256=None, gdrive=False):
        fetch.calls.append((source, gdrive))
        if source not in fetch.content:
            raise UserError(f"cannot reach {source}")
        Path(dst).write_bytes(fetch.content[source])

    fetch.calls, fetch.content = [], {}
    monkeypatch.setattr(obtain_module, "fetch", fetch)
    return fetch


PACS_ID, SPLITS_ID = "1m4X4fROCCXMO0lRLrr6Zz9Vb3974NWhE", "16kvPEcgrXLPgLTGUGMjJBiTHlIG-Ms5D"


@pytest.mark.parametrize("prefix", ["", "images/", "pacs/images/", "PACS/"])
def test_download_is_unpacked_whatever_its_nesting(tmp_path, fetched, prefix, capsys):
    fetched.content[PACS_ID] = pacs_zip(prefix)
    data = build(tmp_path, "PACS", (), ("p",), DOWNLOAD=True)
    assert len(data.test) == 4 and data.dataset_dir == str(tmp_path / "PACS")
    assert fetched.calls == [(PACS_ID, True), (SPLITS_ID, True)]
    assert not list((tmp_path / "PACS" / "download").iterdir())
    assert f"no published splits from https://drive.google.com/uc?id={SPLITS_ID}" in capsys.readouterr().out
    build(tmp_path, "PACS", (), ("p",), DOWNLOAD=True)
    assert len(fetched.calls) == 2


def test_published_splits_are_downloaded_with_the_images(tmp_path, fetched, capsys):
    fetched.content[PACS_ID] = pacs_zip("")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for index, domain in enumerate(PACS):
            archive.writestr(
                f"spg_coop_splits/{domain[0]}_train_val_split.json",
                f'{{"train": [["{domain}/dog/0.png", 0, {index}, "dog"]], "val": [], "test": []}}',
            )
    fetched.content[SPLITS_ID] = buffer.getvalue()
    assert len(build(tmp_path, "PACS", (), ("p",), DOWNLOAD=True).train_x) == 3
    assert f"{Path('PACS/spg_coop_splits')}" in capsys.readouterr().out


def test_failed_download_is_one_line_with_path_link_and_way_out(tmp_path, fetched):
    with pytest.raises(UserError) as error:
        build(tmp_path, "PACS", (), ("p",), DOWNLOAD=True)
    text = str(error.value)
    assert "\n" not in text and f"under {tmp_path / 'PACS'}" in text and "cannot reach" in text
    assert f"https://drive.google.com/uc?id={PACS_ID}" in text and "bash scripts/dpspg/main.sh mini" in text
    assert str(tmp_path / "PACS" / "download" / "PACS.zip") in text


def test_no_download_when_switched_off(tmp_path, fetched):
    with pytest.raises(UserError, match="DATASET.DOWNLOAD is False.*bash scripts/dpspg/main.sh mini"):
        build(tmp_path, "PACS", (), ("p",), DOWNLOAD=False)
    assert not fetched.calls and not (tmp_path / "PACS").exists()


def test_archive_put_there_by_hand_is_unpacked_without_network(tmp_path, fetched):
    archive = tmp_path / "PACS" / "download" / "PACS.zip"
    archive.parent.mkdir(parents=True)
    archive.write_bytes(pacs_zip(""))
    assert len(build(tmp_path, "PACS", (), ("p",), DOWNLOAD=False).test) == 4
    assert not fetched.calls and not archive.exists()


def test_extraction_that_was_cut_short_is_finished(tmp_path, fetched):
    folder = make_pacs(tmp_path, ("dog",), 1)
    (folder / "download").mkdir()
    (folder / "download" / "PACS.zip").write_bytes(
        zip_bytes([f"images/{domain}/dog/{index:03}.png" for domain in PACS for index in range(4)])
    )
    assert len(build(tmp_path, "PACS", (), ("p",), DOWNLOAD=False).test) == 4


def test_missing_domain_of_a_complete_archive_is_not_downloaded_again(tmp_path, fetched):
    write_images(tmp_path / "PACS" / "images" / "photo" / "dog", 4)
    with pytest.raises(UserError, match="PACS: no images of art_painting, cartoon, sketch under"):
        build(tmp_path, "PACS", (), ("p",), DOWNLOAD=True)
    assert not fetched.calls


def test_domainnet_fetches_only_the_domains_in_use(tmp_path, fetched):
    url = "http://csr.bu.edu/ftp/visda/2019/multi-source/"
    write_images(tmp_path / "domainnet" / "sketch" / "axe", 4, ".jpg")
    fetched.content[f"{url}groundtruth/clipart.zip"] = zip_bytes([f"clipart/axe/{i}.jpg" for i in range(4)])
    data = build(tmp_path, "DomainNet", ("c",), ("s",), DOWNLOAD=True)
    assert data.num_classes == 1 and fetched.calls[0] == (f"{url}groundtruth/clipart.zip", False)
    assert [source for source, _ in fetched.calls if source.startswith("http")] == [f"{url}groundtruth/clipart.zip"]


def test_mini_domainnet_fetches_its_lists(tmp_path, fetched):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for domain in ("clipart", "painting", "real", "sketch"):
            write_images(tmp_path / "domainnet" / domain / "axe", 2, ".jpg")
            archive.writestr(f"splits_mini/{domain}_train.txt", f"{domain}/axe/000.jpg 0\n")
            archive.writestr(f"splits_mini/{domain}_test.txt", f"{domain}/axe/001.jpg 0\n")
    fetched.content["15rrLDCrzyi6ZY-1vJar3u7plgLe4COL7"] = buffer.getvalue()
    assert len(build(tmp_path, "MiniDomainNet", (), ("r",), DOWNLOAD=True).train_x) == 3


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def test_real_download_over_http(tmp_path):
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "toy.zip").write_bytes(zip_bytes(["toy/one/cat/0.png", "toy/two/cat/0.png"]))
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(QuietHandler, directory=str(tmp_path / "served"))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    try:
        facts = DomainSet(
            "Toy", ("toy",), {"one": 1, "two": 1}, "ot", 1, archives=(Archive("toy.zip", f"{url}/toy.zip", False),)
        )
        place = obtain(facts, tmp_path / "data", ["one", "two"])
        gone = DomainSet(
            "Gone", ("gone",), {"one": 1}, "o", 1, archives=(Archive("gone.zip", f"{url}/gone.zip", False),)
        )
        with pytest.raises(UserError, match="Gone: no images of one under .*download failed.*without any data"):
            obtain(gone, tmp_path / "data", ["one"])
    finally:
        server.shutdown()
        server.server_close()
    assert place.domain_dirs["two"] == tmp_path / "data" / "toy" / "toy" / "two"


def test_broken_archive_is_named(tmp_path, fetched):
    fetched.content[PACS_ID] = b"this is a web page, not an archive"
    with pytest.raises(UserError, match="download failed .*PACS.zip"):
        build(tmp_path, "PACS", (), ("p",), DOWNLOAD=True)
